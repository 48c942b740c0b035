"""What the page adds to a bare forward pass, and how it bears uploads all at once.

    python experiments/benchmarks/bench_webapp.py --model results/demo/models/NAME.keras

Each repeat measures, in turn, the page's answer with heat map to a 1024x1024 PNG, and
decoding and one forward pass of the same file in this process. Then many clients upload
at the same moment: only announced refusals (429, 503) are allowed. All of it on this
machine's loopback address. Without --model, an untrained MobileNet of 128x128 pixels.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image

from experiments.benchmarks.fuzz_upload import encode
from experiments.benchmarks.harness import EXPERIMENTS, median_ratio
from xray.common.command import command
from xray.config.file import load_config
from xray.data.images import decode_image
from xray.local.phantom import draw
from xray.records.benchmark import write_benchmark
from xray.webapp.child import Page, serve_page

CONFIG = EXPERIMENTS / "configs" / "nih-sample.yaml"
PATH = "/api/v1/predictions?explain=all"  # as the page asks
ALLOWED = {"200", "429", "503"}
WARMUP = 5  # answers that are not counted
NO_LIMIT = 1_000_000  # uploads a minute
POLL_SECONDS = 0.05


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print one JSON object and write the file; 1 after a forbidden answer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help=".keras file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--answers", type=int, default=50, help="in each repeat")
    parser.add_argument("--uploads", type=int, default=200, help="at the same moment")
    parser.add_argument("--out", type=Path, default=Path("results/inference"))
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        return _bench(options, options.model or _untrained(Path(folder)))


def _bench(options: argparse.Namespace, model: str) -> int:
    picture = encode(Image.fromarray(draw((), 1024, np.random.default_rng(0))), "PNG")
    bare = _bare(model, picture)
    answers, bares = [], []
    with serve_page("--model", model, "--uploads-per-minute", NO_LIMIT) as page:
        for repeat in range(options.repeats):
            with _Client(page) as client:
                answers.append(_median(lambda: client.post(picture), options.answers))
            bares.append(_median(bare, options.answers))
            print(
                f"{repeat + 1}/{options.repeats}: answer {answers[-1] * 1000:.1f} ms, "
                f"bare {bares[-1] * 1000:.1f} ms",
                flush=True,
            )
        load = _load(page, picture, options.uploads)
    summary = {
        "answer_over_bare": median_ratio(answers, bares),
        "answer_seconds": statistics.median(answers),
        "bare_seconds": statistics.median(bares),
        **load,
    }
    settings = {
        "model": Path(options.model or CONFIG).name,
        "answers": options.answers,
        "picture_bytes": len(picture),
    }
    results = {"answers": answers, "bares": bares, **summary}
    print(write_benchmark(options.out, "webapp", settings, results))
    print(json.dumps(summary))
    return 0 if set(load["statuses"]) <= ALLOWED else 1


def _untrained(folder: Path) -> str:
    from xray.model.network import build_model
    from xray.model.saved import save_model
    from xray.model.sidecar import ImageCounts, ModelInfo
    from xray.records.record import utc_now

    config = load_config(CONFIG, ["model.weights=null"])
    info = ModelInfo(
        created=utc_now(),
        runner="sequential",
        which="last",
        image_size=config.data.image_size,
        config=config.to_dict(),
        images=ImageCounts(train=0, test=0),
    )
    save_model(build_model(config), info, folder / "untrained")
    return str(folder / "untrained.keras")


def _bare(model: str, picture: bytes) -> Callable[[], object]:
    """Decoding and one forward pass, without page, checks and heat map."""
    import tensorflow as tf

    from xray.model.saved import load_model

    network, info = load_model(model)
    forward = tf.function(lambda pixels: network(pixels, training=False))

    def run() -> np.ndarray:
        return forward(decode_image(picture, info.image_size)[np.newaxis]).numpy()

    return run


class _Client:
    """One connection to the page, kept open."""

    def __init__(self, page: Page) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(page.address).netloc)

    def __enter__(self) -> "_Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, picture: bytes) -> int:
        """The status of one upload, its answer read to the end."""
        self._connection.request("POST", PATH, picture)
        response = self._connection.getresponse()
        response.read()
        return response.status


def _median(function: Callable[[], object], times: int) -> float:
    for _ in range(WARMUP):
        function()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _load(page: Page, picture: bytes, uploads: int) -> dict[str, Any]:
    """How `uploads` at the same moment are answered, and the memory that it takes."""
    process = psutil.Process(page.pid)
    before = process.memory_info().rss
    statuses: Counter[str] = Counter()
    start = threading.Barrier(uploads + 1)

    def upload() -> None:
        start.wait()
        try:
            with _Client(page) as client:
                statuses[str(client.post(picture))] += 1
        except (OSError, http.client.HTTPException) as error:
            statuses[type(error).__name__] += 1

    threads = [threading.Thread(target=upload) for _ in range(uploads)]
    for thread in threads:
        thread.start()
    start.wait()
    started, peak = time.perf_counter(), before
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, process.memory_info().rss)
        time.sleep(POLL_SECONDS)
    return {
        "uploads": uploads,
        "load_seconds": time.perf_counter() - started,
        "statuses": dict(sorted(statuses.items())),
        "memory_mib_before": before // 2**20,
        "memory_mib_peak": peak // 2**20,
    }


if __name__ == "__main__":
    sys.exit(main())
