"""What test_jax.py asserts on: run in a process of its own, with Keras on JAX.

    python -m tests.jax_process CONFIG RESULTS STAGED BACKBONE...

CONFIG is of a run with `runner.backend: jax`; the record goes to RESULTS, and what else
is seen to RESULTS/facts/seen.json. STAGED is where the images are staged. Each BACKBONE
takes a step. Two CPU devices stand in for GPUs.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.backbones import smallest
from experiments.benchmarks.peers.gpu_stand_in import XLA_FLAGS
from xray.common.errors import UserError
from xray.config.file import load_config
from xray.config.run import RunConfig, RunnerConfig
from xray.data.dataset import find_dataset
from xray.data.reader import ImageReader
from xray.model.network import build_model, weights_digest
from xray.model.predict import predict
from xray.model.sidecar import ImageCounts, ModelInfo
from xray.records.record import utc_now
from xray.runners import devices
from xray.runners.cli import main
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.batches import Feed, training_pipeline
from xray.training.journal import Journal
from xray.training.local import train_locally
from xray.webapp.scoring import Scorer

TWO_DEVICES = "--xla_force_host_platform_device_count=2"


def see_no_gpu() -> dict[str, Any]:
    """What is said where JAX has no GPU."""
    try:
        devices.use_gpus(RunnerConfig(backend="jax"))
    except UserError as error:
        return {"exit_code": error.exit_code, "message": str(error)}
    raise AssertionError("CPU devices were taken for GPUs.")


def stand_in(backend: str) -> list[devices.Gpu]:
    """The two CPU devices."""
    return [devices.Gpu("Stand-in", f"cpu:{n}", (9, 0)) for n in range(2)]


def train_on_two(config: RunConfig) -> dict[str, Any]:
    """The same training on two devices, half of each batch on each."""
    devices.distribute(stand_in("jax"))
    size = config.training.batch_size // 2
    training = config.training.model_copy(update={"batch_size": size})
    runner = config.runner.model_copy(update={"devices": 2})
    config = config.model_copy(update={"training": training, "runner": runner})
    record = train_locally(config, Journal("gpu", config, workers=2))
    return record.model_dump(mode="json")


def train_uneven(count: int) -> list[float]:
    """Weights after batches that `count` devices cannot all share equally."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((4, 4, 1), dtype="uint8")
    scaled = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    outputs = keras.layers.Dense(3, activation="sigmoid")(scaled)
    model = keras.Model(pixels, outputs)
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (11, 4, 4, 1), np.uint8)
    labels = rng.integers(0, 2, (11, 3))
    feed = Feed(images, labels, batch_size=8, seed=0, devices=count)
    model.fit(training_pipeline(feed), shuffle=False, verbose=0)
    return np.concatenate([weight.ravel() for weight in model.get_weights()]).tolist()


def take_a_step(config: RunConfig) -> dict[str, Any]:
    """The initial weights' hash, the loss, and whether scores are probabilities."""
    model, size = build_model(config), config.data.image_size
    initial = weights_digest(model.get_weights())
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, size, size, 1), np.uint8)
    feed = Feed(images, rng.integers(0, 2, (2, 15)), batch_size=2, seed=0)
    history = model.fit(training_pipeline(feed), shuffle=False, verbose=0)
    scores = predict(model, images)
    return {
        "initial_weights": initial,
        "loss": history.history["loss"][0],
        "probabilities": bool(((scores > 0) & (scores < 1)).all()),
    }


def read_pixels(config: RunConfig, **data: object) -> list[int]:
    """A checksum of each training image, read another way."""
    data = config.data.model_copy(update=data)
    access = load_access(data.credentials, data.endpoint_url)
    train = find_dataset(data, Storage(access)).train
    pixels, _, bad = ImageReader.of(data, access).load(train.uris, train.etags)
    assert not bad
    return pixels.astype(int).sum(axis=(1, 2, 3)).tolist()


def explain(config: RunConfig) -> tuple[list[float], list[list[float]]]:
    """What the web page says of one picture: probabilities, and one heat map."""
    size = config.data.image_size
    info = ModelInfo(
        created=utc_now(),
        runner="gpu",
        which="last",
        image_size=size,
        config={},
        images=ImageCounts(train=0, test=0),
    )
    scorer = Scorer(build_model(config), info, "initial")
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 1), np.uint8)
    probabilities, features = scorer.score(pixels)
    return probabilities.tolist(), scorer.heat_maps(features)[3].tolist()


def see_mixed_precision(config: RunConfig) -> dict[str, str]:
    """The types in the model and its optimizer under mixed_float16."""
    import keras

    keras.config.set_dtype_policy("mixed_float16")
    model = build_model(config)
    return {
        "optimizer": type(model.optimizer).__name__,
        "hidden": model.get_layer("dense_0").compute_dtype,
        "outputs": model.get_layer("findings").compute_dtype,
    }


def see(config_file: str, results: str, staged: str, *backbones: str) -> None:
    """Run everything, in this order, and write what was seen."""
    os.environ["XLA_FLAGS"] = " ".join([*XLA_FLAGS, TWO_DEVICES])
    seen: dict[str, Any] = {"no_gpu": see_no_gpu()}
    devices.find_gpus = stand_in
    arguments = ["--config", config_file, "--results", results]
    seen["exit_code"] = main("gpu", "test", arguments)
    seen["backbones"] = {
        name: take_a_step(load_config(config_file, smallest(name)))
        for name in backbones
    }
    efficient_net = build_model(load_config(config_file, smallest("EfficientNetB0")))
    seen["truncated_normal"] = weights_digest(efficient_net.get_weights())
    config = load_config(config_file)
    seen["uneven"] = [train_uneven(1)]
    seen["two"] = train_on_two(config)
    seen["uneven"].append(train_uneven(2))
    cache = Path(results, "facts", "cache")
    seen["raw"] = read_pixels(config, cache_dir=cache)
    seen["cached"] = read_pixels(config, cache_dir=cache)
    seen["staged"] = read_pixels(config, staged=staged)
    seen["explained"] = explain(config)
    seen["mixed"] = see_mixed_precision(config)
    seen["imported"] = sorted({name.partition(".")[0] for name in sys.modules})
    Path(results, "facts", "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    see(*sys.argv[1:])
