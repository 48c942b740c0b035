"""The GPU runner with Keras on JAX: one process, whose record and findings are checked.

No GPU is needed: the CPU takes its place, as two devices where several are the matter.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks.backbones import smallest
from tests import jax_process
from tests.conftest import Bucket, run_script
from tests.model.test_backbones import QUICK
from tests.runners.test_runners import read_record
from xray.config.file import load_config
from xray.config.run import RunConfig
from xray.data.staging import plan_staging
from xray.model.network import build_model, weights_digest
from xray.records.record import RunRecord, work_differences
from xray.storage.credentials import load_access
from xray.training.journal import Journal
from xray.training.local import train_locally

pytestmark = pytest.mark.cluster

NEEDLESS = {"tensorflow", "tensorboard", "torch", "pyspark", "elephas"}
STAGED = "s3://jax-staged/all/"
# No dropout, whose random numbers are the backend's; plain gradients, since Adam makes
# whole steps of what is left of a gradient after rounding.
SETTINGS = {
    "data": {"limit": 90},
    "model": {"backbone": "MobileNet", "alpha": 0.25, "dropout": 0.0},
    "training": {
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "warmup_epochs": 0.5,
        "schedule": "cosine",
        "evaluate_every_epoch": True,
    },
}


@dataclass(frozen=True)
class Shown:
    """What the process with JAX leaves.

    Attributes:
        record: of its run.
        seen: what else it saw, see tests/jax_process.py.
        config: the same work for TensorFlow.
        file: of the configuration.
    """

    record: RunRecord
    seen: dict[str, Any]
    config: RunConfig
    file: Path


@pytest.fixture(scope="module")
def shown(bucket: Bucket, tmp_path_factory) -> Shown:
    folder = tmp_path_factory.mktemp("jax")
    config = bucket.config(**SETTINGS)
    stage(bucket, config)
    file = bucket.write_config(
        folder / "run.yaml", **SETTINGS, runner={"backend": "jax"}
    )
    done = run_script(
        *("-m", "tests.jax_process", file, folder / "results", STAGED, *QUICK)
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads((folder / "results" / "facts" / "seen.json").read_text())
    return Shown(read_record(folder / "results"), seen, config, file)


def stage(bucket: Bucket, config: RunConfig) -> None:
    (bucket.folder.parent / "jax-staged").mkdir()
    data = config.data.model_copy(update={"staged": STAGED})
    staging = plan_staging(
        data, load_access(data.credentials, data.endpoint_url), "parquet"
    )
    for plan in staging.missing:
        staging.write(plan)
    staging.finish()


@pytest.fixture(scope="module")
def tensorflow(shown) -> RunRecord:
    """The same run with TensorFlow, in this process."""
    return train_locally(shown.config, Journal("gpu", shown.config, workers=1))


def losses(epochs: list[Any]) -> list[float]:
    return [epoch.loss for epoch in epochs]


def test_run_leaves_a_record(shown):
    record = shown.record
    assert shown.seen["exit_code"] == 0
    assert (record.status, record.runner, record.workers) == ("success", "gpu", 1)
    assert record.config["runner"]["backend"] == "jax"
    assert record.machine["gpu"] == "Stand-in"
    assert record.packages["jax"]
    assert record.scores.findings_scored > 0
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]
    assert all(0 < epoch.data_wait_fraction < 1 for epoch in record.epochs)


def test_tensorflow_is_never_imported(shown):
    assert {"jax", "keras"} <= set(shown.seen["imported"])
    assert NEEDLESS & set(shown.seen["imported"]) == set()


def test_both_backends_start_from_the_same_weights(shown, tensorflow):
    assert shown.record.initial_weights == tensorflow.initial_weights
    assert not work_differences(shown.record.work, tensorflow.work)


def test_both_backends_train_the_same(shown, tensorflow):
    # Twenty-odd batch normalizations blow rounding up to a percent within a few steps.
    assert losses(shown.record.epochs) == pytest.approx(
        losses(tensorflow.epochs), rel=0.03
    )
    assert all(0 < epoch.data_wait_fraction < 1 for epoch in tensorflow.epochs)


def test_a_network_of_truncated_normal_numbers_starts_from_the_same_weights(shown):
    model = build_model(load_config(shown.file, smallest("EfficientNetB0")))
    assert shown.seen["truncated_normal"] == weights_digest(model.get_weights())


@pytest.mark.parametrize("backbone", QUICK)
def test_quick_backbones_take_a_step_from_the_same_weights(shown, backbone):
    step = shown.seen["backbones"][backbone]
    model = build_model(load_config(shown.file, smallest(backbone)))
    assert step["initial_weights"] == weights_digest(model.get_weights())
    assert 0 < step["loss"] < 5
    assert step["probabilities"]


def test_two_devices_train_as_one_with_twice_the_batch(shown):
    two = RunRecord.model_validate(shown.seen["two"])
    assert (two.workers, two.global_batch_size) == (2, 8)
    # The last batch is smaller, and both devices have the same share of it.
    assert two.images.train % 8 in (2, 4, 6)
    assert two.initial_weights == shown.record.initial_weights
    # To rounding, as above; a network without normalization follows to float tolerance.
    assert losses(two.epochs) == pytest.approx(losses(shown.record.epochs), rel=0.03)


def test_last_batch_that_cannot_be_shared_equally_counts_as_it_is(shown):
    one, two = shown.seen["uneven"]
    assert two == pytest.approx(one, abs=1e-6)


def test_every_way_to_read_gives_the_same_pixels(shown):
    seen = shown.seen
    assert seen["raw"] == seen["cached"] == seen["staged"]
    assert len(seen["raw"]) == shown.record.images.train


def test_web_page_explains_a_picture_as_with_tensorflow(shown):
    probabilities, heat = jax_process.explain(shown.config)
    assert shown.seen["explained"][0] == pytest.approx(probabilities, abs=1e-5)
    np.testing.assert_allclose(shown.seen["explained"][1], heat, atol=1e-3)
    assert np.max(heat) == 1


def test_loss_is_scaled_in_float16_and_the_outputs_are_float32(shown):
    assert shown.seen["mixed"] == {
        "optimizer": "LossScaleOptimizer",
        "hidden": "float16",
        "outputs": "float32",
    }


def test_without_a_gpu_nothing_starts(shown):
    found = shown.seen["no_gpu"]
    assert found["exit_code"] == 3
    assert found["message"].startswith("No GPU is visible to JAX")
