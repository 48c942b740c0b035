"""The driver or one worker of averages alone, without Spark or training.

    python averaging.py serve HOST WORKERS MEGABYTES
    python averaging.py average NUMBER MEGABYTES ROUNDS < what the first prints

The driver prints its address, as JSON, and ends with its standard input. Each worker
averages a vector of so many megabytes so many times, once more before that, and prints
the seconds of each time. It uses nothing of the code but what all versions of it have.
"""

import argparse
import json
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def serve(host: str, workers: str, megabytes: str) -> None:
    """Be the driver until standard input ends."""
    from xray.spark.resident.server import WeightServer

    handler = SimpleNamespace(on_average=lambda counts, images: False)
    server = WeightServer(host, int(workers), _vector(megabytes), handler)
    address = server.address
    print(json.dumps([address.host, address.port, address.key.hex()]), flush=True)
    sys.stdin.read()


def average(number: str, megabytes: str, rounds: str) -> None:
    """Be a worker."""
    from xray.spark.resident.client import Link
    from xray.spark.resident.messages import ServerKey

    host, port, key = json.loads(sys.stdin.readline())
    link = Link(ServerKey(host, port, bytes.fromhex(key)), int(number), 1)
    values, seconds = _vector(megabytes) + int(number), []
    for _ in range(1 + int(rounds)):
        began = time.perf_counter()
        link.average(values, 1)
        seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds[1:]))


def _vector(megabytes: str) -> "np.ndarray":
    import numpy as np

    return np.zeros(int(float(megabytes) * 1e6 / 4), np.float32)


def main() -> None:
    """Be one of the two, as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("role", choices=("serve", "average"))
    parser.add_argument("numbers", nargs=3)
    options = parser.parse_args()
    {"serve": serve, "average": average}[options.role](*options.numbers)


if __name__ == "__main__":
    main()
