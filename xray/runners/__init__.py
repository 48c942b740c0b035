"""The three interchangeable runners, their one command line, and grids of runs.

May import spark and what spark may, but not inference. Start with `sequential`, the
shortest of the three, then `cli`.
"""
