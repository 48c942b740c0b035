"""Every setting of a run, its limits and its YAML.

May import common. Start with `run`, where a RunConfig is put together; the recipe of
model and training is in `recipe`.
"""
