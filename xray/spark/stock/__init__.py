"""Elephas as it comes: a Spark job an epoch, or a parameter server.

Start with `driver`.
"""
