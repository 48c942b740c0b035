"""Train on the GPUs of this machine, by default on one."""

import sys

from xray.runners.cli import main
from xray.runners.gpu import run

if __name__ == "__main__":
    sys.exit(main("gpu", run, __doc__))
