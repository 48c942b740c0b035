"""A saved model over an archive of X-rays, and in SQL.

May import spark and what spark may, but not training. Start with `predict`, then
`scoring`.
"""
