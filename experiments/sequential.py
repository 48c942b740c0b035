"""Train on one CPU thread of this machine: the baseline of every speedup."""

import sys

from xray.runners.cli import main

if __name__ == "__main__":
    sys.exit(main("sequential", __doc__))
