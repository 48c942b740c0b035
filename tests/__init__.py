"""One test file per module; `factories` makes plausible records."""
