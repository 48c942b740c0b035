"""Elephas' synchronous training by workers that live for the whole fit.

Start with `driver` and `worker`, the two sides; `messages` is what they say.
"""
