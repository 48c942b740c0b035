"""Which pictures are told to look unlike a model's training pictures.

    python experiments/benchmarks/bench_unlike.py \\
        --config experiments/configs/nih-sample.yaml --model models/RUN_last.keras

What `predict.py` writes as `unlike` (xray/data/appearance.py) is found for the test
images, for the same turned, inverted, mirrored and in other light, and for pictures
that are no X-rays of a chest; each kind gets the share that is above the bound. Beside
it the Mahalanobis distance of the network's pooled features (Lee et al., NeurIPS 2018,
of one class), with a bound of its own that keeps as many test images. About a minute.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from xray.common.command import command, log_warnings
from xray.common.errors import UserError
from xray.common.processes import exit_on_termination
from xray.config.file import load_config
from xray.config.options import add_config_options
from xray.config.run import RunConfig
from xray.data.appearance import BORNE, LEAST_IMAGES, find_appearance
from xray.records.benchmark import write_benchmark

ROOT = Path(__file__).resolve().parents[2]
Unlike = Callable[[np.ndarray], np.ndarray]
TEXT = "A page of a letter, which is no picture of anything. " * 3


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line a kind of picture, and write the record."""
    log_warnings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_options(parser)
    parser.add_argument("--model", required=True, help=".keras file of that run")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results" / "bench", help="%(default)s"
    )
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set)
    train, test, looks = _read(config)
    methods = {"looks": looks, "features": _by_features(options.model, train, test)}
    shares: dict[str, dict[str, Any]] = {}
    for kind, pixels in {**_changed(test), **_others(config.data.image_size)}.items():
        shares[kind] = {"pictures": len(pixels)}
        for name, unlike in methods.items():
            shares[kind][name] = float((unlike(pixels) > 1).mean())
        print(
            "{:<28}{pictures:>4}  {looks:.2f}  {features:.2f}".format(
                kind, **shares[kind]
            )
        )
    settings = {"train_images": len(train), "test_images": len(test), "borne": BORNE}
    print(write_benchmark(options.results, "unlike", settings, shares))
    return 0


def _read(config: RunConfig) -> tuple[np.ndarray, np.ndarray, Unlike]:
    """Training and test images, uint8 (N, S, S, 1), and what predict.py would tell."""
    from xray.data.dataset import find_dataset
    from xray.data.reader import ImageReader
    from xray.storage.credentials import data_access
    from xray.storage.s3 import Storage

    access = data_access(config.data)
    dataset = find_dataset(config.data, Storage(access, config.data.read_threads))
    reader = ImageReader.of(config.data, access)
    train, test = (
        reader.load(s.uris, s.etags)[0][:] for s in (dataset.train, dataset.test)
    )
    appearance = find_appearance(dataset.train, dataset.test, reader)
    if appearance is None:
        raise UserError(
            f"{LEAST_IMAGES} different images are needed to train and to test. Got "
            f"{len(train)} and {len(test)}. Use more images."
        )
    return train, test, appearance.unlike


def _by_features(source: str, train: np.ndarray, test: np.ndarray) -> Unlike:
    """The distance of pooled features, as a share of what test images keep."""
    import keras
    from sklearn.covariance import LedoitWolf

    from xray.model.network import find_backbone
    from xray.model.saved import load_model

    model, _ = load_model(source)
    pooled = model.layers[model.layers.index(find_backbone(model)) + 1]
    features = keras.Model(model.input, pooled.output)

    def extract(pixels: np.ndarray) -> np.ndarray:
        return features.predict(pixels, verbose=0).astype(float)

    fitted = LedoitWolf().fit(extract(train))
    bound = np.quantile(fitted.mahalanobis(extract(test)), BORNE)
    return lambda pixels: fitted.mahalanobis(extract(pixels)) / bound


def _changed(test: np.ndarray) -> dict[str, np.ndarray]:
    """The test images, and what may have become of them on their way."""
    side = test.shape[1]
    inner = slice(side // 16, side - side // 16)
    return {
        "test images": test,
        "mirrored": test[:, :, ::-1],
        "half as bright": test // 2,
        "brighter by 0.4": np.clip(test * 1.4, 0, 255).astype(np.uint8),
        "without an eighth of border": _at(test[:, inner, inner], side),
        "upside down": test[:, ::-1],
        "turned by 90 degrees": np.rot90(test, 1, (1, 2)),
        "inverted": 255 - test,
    }


def _others(side: int) -> dict[str, np.ndarray]:
    """Pictures of something else, from packages that are here, or drawn."""
    import pydicom
    from pydicom.data import get_testdata_file
    from sklearn.datasets import load_sample_images

    slices = [get_testdata_file(f"{kind}_small.dcm") for kind in ("CT", "MR")]
    rng = np.random.default_rng(0)
    page = Image.new("L", (4 * side, 4 * side), 255)
    for line in range(2 * side // 8):
        ImageDraw.Draw(page).text((8, 16 * line), TEXT, fill=0)
    drawn = [page, Image.fromarray(rng.integers(0, 256, (side, side), np.uint8))]
    photographs = [Image.fromarray(one) for one in load_sample_images().images]
    return {
        "slices of CT and MR": _grey(
            [Image.fromarray(_levels(pydicom.dcmread(s).pixel_array)) for s in slices],
            side,
        ),
        "photographs": _grey(photographs, side),
        "a page of text, noise": _grey(drawn, side),
    }


def _levels(values: np.ndarray) -> np.ndarray:
    values = values.astype(float) - values.min()
    return (255 * values / values.max()).astype(np.uint8)


def _grey(pictures: Sequence[Image.Image], side: int) -> np.ndarray:
    from xray.data.images import shrink

    return np.stack([shrink(picture.convert("L"), side) for picture in pictures])


def _at(images: np.ndarray, side: int) -> np.ndarray:
    return _grey([Image.fromarray(image[..., 0]) for image in images], side)


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
