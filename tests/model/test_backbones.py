"""Every backbone trained by a resident worker, and the quick ones by the others' code.

The steps are eager, at the smallest size, in one process: tracing a large network takes
10 to 25 seconds in each runner. experiments/benchmarks/backbones.py runs all of them
with graphs, in the runners' own processes.
"""

import pickle
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmarks.backbones import smallest
from xray.common.background import in_background
from xray.common.progress import progress_bar
from xray.config.backbones import BACKBONES
from xray.config.file import load_config
from xray.config.run import RunConfig
from xray.data.dataset import Dataset, Subset, find_dataset
from xray.data.partition import cut_partitions
from xray.data.reader import ImageReader
from xray.model.network import build_model, find_backbone, weights_digest
from xray.model.predict import predict
from xray.model.saved import load_model
from xray.runners.output import save_models
from xray.spark.resident.client import Link
from xray.spark.resident.coordinator import Coordinator
from xray.spark.resident.driver import run_loop
from xray.spark.resident.messages import Share, Stopped, Task
from xray.spark.resident.server import WeightServer
from xray.spark.resident.weight_vector import WeightVector
from xray.spark.resident.worker import ResidentTraining
from xray.spark.stock.test_set import score_partition
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.journal import Journal
from xray.training.local import LoadedSubset, LocalEngine
from xray.training.loop import run_epochs
from xray.training.recording import build_record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]

TRAIN, TEST = 3, 2  # normalization of a batch of two leaves hardly a gradient
TRAINING = {"epochs": 1, "batch_size": TRAIN}
QUICK = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "VGG16",
         "Tiny")  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What all runners are given."""

    config: RunConfig
    dataset: Dataset
    pixels: dict[str, np.ndarray]


def minutes(name: str) -> object:
    few = name in ("MobileNet", "Tiny")
    return name if few else pytest.param(name, marks=pytest.mark.cluster)


@pytest.fixture(scope="module", params=map(minutes, BACKBONES))
def work(request, bucket, tmp_path_factory) -> Work:
    folder = tmp_path_factory.mktemp("backbone")
    file = bucket.write_config(
        folder / "run.yaml",
        training=TRAINING,
        output={"models": str(folder / "models")},
    )
    config = load_config(file, smallest(request.param))
    access = load_access(config.data.credentials, config.data.endpoint_url)
    found = find_dataset(config.data, Storage(access))
    train, test = take_few(found.train, TRAIN), take_few(found.test, TEST)
    reader = ImageReader.of(config.data, access)
    pixels = {
        name: reader.load(subset.uris, subset.etags)[0][:]
        for name, subset in (("train", train), ("test", test))
    }
    return Work(config, Dataset(train, test, found.listed), pixels)


def take_few(subset: Subset, count: int) -> Subset:
    return subset.take(np.arange(count))


@pytest.fixture(scope="module")
def eager():
    """Whatever is a graph elsewhere is run step by step."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def model(work, eager):
    """With its initial weights, which no test changes."""
    return build_model(work.config)


def assert_trained(before, after) -> None:
    assert all(np.isfinite(weight).all() for weight in after)
    changed = [(a != b).any() for a, b in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.5


def test_it_takes_grey_bytes_and_gives_a_probability_a_finding(work, model):
    size = work.config.data.image_size
    assert model.input_shape == (None, size, size, 1)
    assert model.input.dtype == "uint8"
    assert model.output_shape == (None, 15)
    scores = np.asarray(model(work.pixels["test"]))
    assert scores.dtype == np.float32
    assert ((scores > 0) & (scores < 1)).all()


def test_its_initial_weights_are_what_tensorflow_draws(model):
    import keras

    scaling = keras.initializers.VarianceScaling
    for layer in [*model.layers, *find_backbone(model).layers]:
        if isinstance(layer, keras.Model):
            continue
        drawn = [value for value in vars(layer).values() if isinstance(value, scaling)]
        kernels = [w for w in layer.weights if w.name.endswith("kernel")]
        for kernel, initializer in zip(kernels, drawn, strict=True):
            expected = np.asarray(initializer(kernel.shape))
            tolerance = 0 if initializer.distribution == "uniform" else 1e-6
            np.testing.assert_allclose(kernel, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("work", map(minutes, QUICK), indirect=True, scope="module")
def test_sequential_and_gpu_train_score_and_save_it(work, model, tmp_path):
    journal = Journal("sequential", work.config, workers=1, dataset=work.dataset)
    sets = [
        LoadedSubset(getattr(work.dataset, name), work.pixels[name])
        for name in ("train", "test")
    ]
    before = model.get_weights()
    engine = LocalEngine(journal, model, *sets)
    try:
        run_epochs(journal, engine, (), None)
        assert_trained(before, model.get_weights())
        journal.keep_models(model)
        record = build_record(journal)
        assert record.initial_weights == weights_digest(before)
        assert 0 < record.epochs[0].loss < 5
        assert save_models(journal, record, str(tmp_path)) == (None, True)
        saved, info = load_model(record.models["last"].path)
        assert info.config["model"] == work.config.to_dict()["model"]
        expected = np.asarray(model(work.pixels["test"]))
        np.testing.assert_allclose(saved(work.pixels["test"]), expected, atol=1e-5)
    finally:
        model.set_weights(before)


def elephas_worker(model, weights, **train_config):
    """Elephas' worker as the driver sends it."""
    from elephas.worker import SparkWorker
    from keras import optimizers

    return SparkWorker(
        model.to_json(),
        SimpleNamespace(value=weights),  # of Spark's broadcast
        train_config,
        optimizers.serialize(model.optimizer),
        model.loss,
        None,
        None,
    )


def test_a_resident_worker_trains_exchanges_and_scores_it(work, model):
    from pyspark import cloudpickle

    config, dataset = work.config, work.dataset
    reader = ImageReader.of(
        config.data, load_access(config.data.credentials, config.data.endpoint_url)
    )
    (train,), (test,) = (
        cut_partitions(dataset.train, 1),
        cut_partitions(dataset.test, 1),
    )
    journal = Journal("elephas", config, workers=1, dataset=dataset)
    vector = WeightVector(model, False)
    before = model.get_weights()
    shares = in_background(lambda: [Share({"train": train, "test": test}, 1)])
    with progress_bar(None, "fit") as bar:
        coordinator = Coordinator(journal, vector.values, shares, bar)
        server = WeightServer("127.0.0.1", 1, vector.values, coordinator)
        state = config.runner.optimizer_state
        task = Task(server.address, reader, config.training, state, 1)
        loop = in_background(run_loop, journal, coordinator, (), None)
        try:
            link = Link(server.address, 0, 1)
            pickled = cloudpickle.dumps(elephas_worker(model, None))
            unpickling = in_background(pickle.loads, pickled)
            with suppress(Stopped):  # the server knows why
                ResidentTraining(link, 0, task).run(unpickling)
        finally:
            server.close()
    assert server.error is None
    assert loop.result(60) is None
    assert server.rounds == 1
    assert_trained(before, vector.weights(vector.values))
    assert 0 < journal.log.epochs[0].loss < 5
    for finding in journal.scores.findings.values():
        assert finding.positives + finding.negatives == TEST


@pytest.mark.parametrize("work", map(minutes, QUICK), indirect=True, scope="module")
def test_a_stock_worker_trains_and_scores_it(work, model):
    from elephas.utils import average_and_subtract

    before = model.get_weights()
    worker = elephas_worker(model, before, batch_size=TRAIN, epochs=1, verbose=0)
    labels = work.dataset.train.labels.astype(np.float32)
    rows = [*zip(work.pixels["train"], labels, strict=True)] * 2  # more than a batch
    ((deltas, history),) = worker.train(iter(rows))
    assert 0 < history["loss"][0] < 5
    after = average_and_subtract(before, [deltas])
    assert_trained(before, after)
    shared = SimpleNamespace(value=after)
    rows = [(row, pixels, None) for row, pixels in enumerate(work.pixels["test"])]
    ((numbers, scores),) = score_partition(model.to_json(), shared, iter(rows))
    assert numbers.tolist() == [0, 1]
    model.set_weights(after)
    expected = predict(model, work.pixels["test"])
    model.set_weights(before)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
