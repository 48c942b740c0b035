"""The network: build, load, save, describe, and predict with it.

May import common, config, storage, records and data. Start with `network`.
"""
