"""Runners, benchmarks and the report, each a script and an importable module."""
