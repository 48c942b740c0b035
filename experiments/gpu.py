"""Train on the GPUs of this machine, by default on one."""

import sys

from xray.runners.cli import main

if __name__ == "__main__":
    sys.exit(main("gpu", __doc__))
