"""What a run measured: metrics, phases, machine, and its JSON.

May import common and config. Start with `record`, which documents every field.
"""
