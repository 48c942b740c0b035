"""The fastest that one process can score images with a saved model.

    python experiments/benchmarks/peers/predict_limit.py --model models/RUN_last.keras

`model.predict` on a uint8 array in memory, single-threaded on one core: nothing is
read, decoded or written. The last line is a JSON object with `images_per_second`.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from xray.common.command import command


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help=".keras file")
    parser.add_argument("--images", type=int, default=1024)
    options = parser.parse_args(arguments)

    from xray.runners.sequential import use_threads  # seconds, spared to --help

    use_threads(1)
    print(json.dumps({"images_per_second": measure(options.model, options.images)}))
    return 0


def measure(source: str, images: int) -> float:
    """Images per second of `model.predict`, which was traced before."""
    import numpy as np

    from xray.model.predict import SCORE_BATCH
    from xray.model.saved import load_model

    model, info = load_model(source)
    shape = (images, info.image_size, info.image_size, 1)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    model.predict(pixels[: 2 * SCORE_BATCH], batch_size=SCORE_BATCH, verbose=0)
    start = time.perf_counter()
    model.predict(pixels, batch_size=SCORE_BATCH, verbose=0)
    return images / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
