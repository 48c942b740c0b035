"""Commands, errors, files, processes, progress, Java: what any program needs.

Knows nothing of X-rays and imports nothing else of ours. Start with `errors`, whose
UserError is how every refusal reaches the user.
"""
