"""Paired measurements of this project against limits and peers, each a script."""
