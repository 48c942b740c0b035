"""Batches, schedule, the epoch loop, checkpoint and journal, in any process.

May import model and what model may. Start with `loop`.
"""
