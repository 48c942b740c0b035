"""Reads records and never trains: speedup, cost, forecast, and one page.

May import common, config and records. Start with `comparison`; `page.build` writes
what people read.
"""
