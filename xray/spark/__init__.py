"""The cluster, and what trains on it: the resident engine, the stock one, Spark ML.

May import training and what training may. Start with `cluster`, then
`resident.driver`.
"""
