"""From a bucket to pixels: list, label, split, decode, stage.

May import common, config, storage and records. Start with `dataset`, then `reader`.
"""
