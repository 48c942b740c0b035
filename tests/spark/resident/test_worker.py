"""Resident workers on a real Spark context: equal to plain Keras, and hard to kill."""

import contextlib
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from tests.refusals import refused
from tests.spark.stock.test_elephas_models import small_model
from xray.common.background import in_background
from xray.common.errors import UserError
from xray.config.recipe import TrainingConfig
from xray.data.dataset import find_dataset
from xray.data.partition import cut_partitions, read_partition
from xray.data.reader import ImageReader
from xray.model.cpu_step import BFLOAT16, quicken
from xray.model.predict import predict
from xray.records.metrics import macro_auc
from xray.spark.resident.driver import train_resident
from xray.spark.resident.messages import (
    Done,
    End,
    EpochReport,
    Predicted,
    PredictSet,
    Ready,
    Recut,
    Rest,
    Share,
    Task,
    TrainEpoch,
)
from xray.spark.resident.server import WeightServer
from xray.spark.resident.weight_vector import WeightVector
from xray.spark.resident.worker import make_resident_model
from xray.storage.credentials import load_access
from xray.storage.results_folder import ResultsFolder
from xray.storage.s3 import Storage
from xray.training.batches import Feed
from xray.training.checkpoint import CheckpointFile, Tries
from xray.training.journal import Journal

pytestmark = pytest.mark.slow

EPOCHS, BATCH, SEED = 3, 8, 5
LIKE_SMALL = {"optimizer": "adam", "learning_rate": 0.001}  # what `small_model` has
# Has no state that a new try would miss.
PLAIN = {"optimizer": "sgd", "learning_rate": 0.05}


@pytest.fixture(scope="module")
def data(bucket):
    config = bucket.config().data
    access = load_access(config.credentials, config.endpoint_url)
    dataset = find_dataset(config, Storage(access))
    return dataset, ImageReader(access, config.image_size, 4)


class Handler:
    """Orders epoch after epoch from the server's rounds alone, then a prediction."""

    def __init__(self, dataset, workers, parts, on_gather, on_average):
        self.train = cut_partitions(dataset.train, workers)
        self.test = cut_partitions(dataset.test, workers)
        self.parts, self.note, self.note_average = parts, on_gather, on_average
        self.rounds = 0
        self.predicted = False
        self.rest = None  # of the first epoch
        self.images = []

    def share(self, worker):
        sets = {"train": self.train[worker], "test": self.test[worker]}
        return Share(sets, self.parts)

    def on_gather(self, messages):
        self.note(messages)
        self.predicted |= isinstance(messages[0], Predicted)
        if not isinstance(messages[0], Ready | Done):
            return None
        epoch, part = divmod(self.rounds, self.parts)
        if epoch < EPOCHS:
            rest = self.rest if epoch == 0 else None
            return TrainEpoch(epoch, part=part, rest=rest)
        return End() if self.predicted else PredictSet("test")

    def on_average(self, counts, images):
        self.rounds = counts["rounds"]
        self.images.append(images)
        self.note_average(self.rounds)

    def on_retry(self, rounds, worker):
        pass


def fit(
    data,
    cluster,
    workers,
    on_gather=lambda messages: None,
    on_average=lambda rounds: None,
    parts=1,
    optimizer_state="kept",
    recipe=LIKE_SMALL,
    share_weights=lambda values: None,
    precision="float32",
    handler=None,
):
    """The server and the trained model after a resident fit on `workers` workers."""
    dataset, reader = data
    model = small_model()
    recipe = TrainingConfig(epochs=EPOCHS, batch_size=BATCH, seed=SEED, **recipe)
    vector = WeightVector(model, optimizer_state == "averaged")
    share_weights(vector.values)
    handler = handler or Handler(dataset, workers, parts, on_gather, on_average)
    address = cluster.driver_address()
    server = WeightServer(address, workers, vector.values, handler)
    task = Task(server.address, reader, recipe, optimizer_state, workers, 0, precision)
    rdd = cluster.context.parallelize(range(workers), workers)
    try:
        make_resident_model(model, task).fit(rdd)
    finally:
        server.close()
    assert server.error is None
    vector.restore()
    return server, model


def shards(data, workers):
    """Pixels and labels of each worker's shard, as it reads them."""
    dataset, reader = data
    for part in cut_partitions(dataset.train, workers):
        kept, pixels, _ = read_partition(reader, part)
        yield pixels, kept.labels


def train_epoch(model, pixels, labels, epoch, worker, parts=1, part=0):
    """Train one part of an epoch with Keras alone; the images in it."""
    feed = Feed(pixels, labels, BATCH, SEED, worker, parts)
    feed.epoch, feed.part = epoch, part
    for batch in feed:
        model.train_on_batch(*batch)
    return feed.count()


def assert_equal_weights(one, other, atol=2e-4):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def trained_by_hand(data, workers, parts, state, precision=None):
    """What Keras and an average by hand make of the same images."""
    models = [small_model() for _ in range(workers)]
    if precision:
        for model in models:
            quicken(model, precision)
    fresh = state_of(models[0])
    partitions = list(shards(data, workers))
    for epoch in range(EPOCHS):
        for part in range(parts):
            images = [
                train_epoch(model, *partition, epoch, worker, parts, part)
                for worker, (model, partition) in enumerate(
                    zip(models, partitions, strict=True)
                )
            ]
            weights = average([model.get_weights() for model in models], images)
            states = average([state_of(model) for model in models], images)
            for model in models:
                model.set_weights(weights)
                if state != "kept":
                    state_into(model, states if state == "averaged" else fresh)
    return models[0]


def average(lists, images):
    pairs = zip(*lists, strict=True)
    return [np.average(pair, axis=0, weights=images) for pair in pairs]


def state_of(model):
    model.optimizer.build(model.trainable_variables)
    return [np.array(variable) for variable in model.optimizer.variables]


def state_into(model, values):
    for variable, value in zip(model.optimizer.variables, values, strict=True):
        variable.assign(np.rint(value) if "int" in str(variable.dtype) else value)


@pytest.mark.parametrize(
    ("workers", "parts", "state"),
    [(1, 1, "kept"), (2, 1, "kept"), (2, 4, "averaged"), (2, 4, "reset")],
)
def test_resident_workers_equal_keras_and_an_average_by_hand(
    data, cluster, workers, parts, state
):
    _, resident = fit(data, cluster, workers, parts=parts, optimizer_state=state)
    assert_equal_weights(resident, trained_by_hand(data, workers, parts, state))


def test_workers_multiply_in_the_precision_that_is_asked_for(data, cluster):
    _, low = fit(data, cluster, workers=1, precision=BFLOAT16)
    assert_equal_weights(low, trained_by_hand(data, 1, 1, "kept", BFLOAT16))
    exact = trained_by_hand(data, 1, 1, "kept")
    pairs = zip(low.get_weights(), exact.get_weights(), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) > 5e-4


def test_parts_of_one_worker_make_an_epoch_even_where_one_is_empty(data, cluster):
    # As when the parts were counted on more images than could be read: two batches for
    # three parts. With one worker an average changes nothing, and neither do the parts.
    dataset, reader = data
    few = (replace(dataset, train=dataset.train.take(np.arange(2 * BATCH))), reader)
    _, resident = fit(few, cluster, workers=1, parts=3)
    _, expected = fit(few, cluster, workers=1, parts=1)
    assert_equal_weights(resident, expected, atol=1e-6)


def test_averages_follow_the_parts_and_are_counted(data, cluster):
    reports = []

    def note(messages):
        if isinstance(messages[0], EpochReport):
            reports.append(messages)

    server, _ = fit(data, cluster, workers=2, on_gather=note, parts=3)
    assert server.rounds == EPOCHS * 3
    for epoch, workers in enumerate(reports):
        assert [report.epoch for report in workers] == [epoch, epoch]
        assert sum(r.images for r in workers) == len(data[0].train)


def test_the_rest_of_an_epoch_is_trained_alone_and_the_next_one_whole(data, cluster):
    rest = np.arange(3, 3 + 8 * BATCH)
    handler = Handler(data[0], 2, 4, lambda messages: None, lambda rounds: None)
    handler.rest = Rest(rest, 4)
    fit(data, cluster, workers=2, parts=4, handler=handler)
    assert len(handler.images) == EPOCHS * 4
    assert sum(handler.images[:4]) == len(rest)
    assert min(handler.images[:4]) > 0, "in four parts"
    assert sum(handler.images[4:8]) == len(data[0].train)


def test_another_share_is_trained_whole_and_alone(data, cluster):
    """As after `runner.balance`: one worker takes three quarters of the images."""
    dataset = data[0]
    handler = Handler(dataset, 2, 1, lambda messages: None, lambda rounds: None)
    seen = []

    def on_gather(messages):
        if isinstance(messages[0], EpochReport):
            seen.append([report.images for report in messages])
        if isinstance(messages[0], Done) and handler.rounds == 1 and not handler.cut:
            handler.cut = True
            handler.train = cut_partitions(dataset.train, 2, weights=[3, 1])
            return Recut()
        return answer(messages)

    handler.cut, answer, handler.on_gather = False, handler.on_gather, on_gather
    fit(data, cluster, workers=2, handler=handler)
    images = len(dataset.train)
    assert seen[0] == [images - images // 2, images // 2]
    assert seen[1] == [round(images * 0.75), images - round(images * 0.75)]


def test_a_shard_smaller_than_a_batch_trains(data, cluster):
    dataset, reader = data
    few = dataset.train.take(np.arange(5))
    small = (type(dataset)(few, dataset.test, 5), reader)
    _, resident = fit(small, cluster, workers=2)
    before = small_model().get_weights()
    assert any(
        (a != b).any() for a, b in zip(before, resident.get_weights(), strict=True)
    )


@pytest.mark.cluster
def test_a_worker_killed_in_mid_epoch_costs_a_round_and_nothing_else(data, cluster):
    killed = threading.Event()

    def kill_one(rounds):
        if rounds == 6 and not killed.is_set():  # of four an epoch
            killed.set()
            os.kill(python_workers()[0], signal.SIGKILL)

    server, survived = fit(
        data, cluster, workers=2, parts=4, on_average=kill_one, recipe=PLAIN
    )
    assert killed.is_set()
    assert server.attempts == 2
    assert server.rounds == 4 * EPOCHS
    _, undisturbed = fit(data, cluster, workers=2, parts=4, recipe=PLAIN)
    # One round of another order or part moves weights by more than a thousandth.
    assert_equal_weights(survived, undisturbed, atol=1e-6)


def test_the_test_set_is_scored_with_the_weights_that_the_driver_sets(data, cluster):
    """As those of the best epoch, which need not be the last."""
    dataset, reader = data
    other, predicted = small_model(), {}
    other.set_weights([weight + 0.1 for weight in other.get_weights()])

    def note(messages):
        if isinstance(messages[0], EpochReport) and messages[0].epoch == EPOCHS - 1:
            predicted["swap"] = True
        if isinstance(messages[0], Done) and predicted.pop("swap", None):
            server_weights[0][:] = WeightVector(other, False).values
        if isinstance(messages[0], Predicted):
            predicted["scores"] = np.concatenate([m.probabilities for m in messages])
            predicted["rows"] = np.concatenate([m.rows for m in messages])

    server_weights = []
    fit(data, cluster, workers=2, on_gather=note, share_weights=server_weights.append)
    pixels, _, _ = reader.load(dataset.test.uris, dataset.test.etags)
    expected = predict(other, pixels)[predicted["rows"]]
    np.testing.assert_allclose(predicted["scores"], expected, atol=1e-4)


def lose_a_worker_after(journal, epochs):
    """Kill one that has the last average and has not scored its test images."""
    advance = journal.advance

    def deadly(*arguments):
        if len(journal.log.epochs) == epochs:  # the workers still wait
            worker = python_workers()[0]
            os.kill(worker, signal.SIGSTOP)
            threading.Timer(0.5, os.kill, (worker, signal.SIGKILL)).start()
        return advance(*arguments)

    journal.advance = deadly


@pytest.mark.cluster
def test_a_worker_killed_in_the_last_scoring_costs_no_image(
    data, bucket, cluster, tmp_path
):
    dataset, reader = data
    config, model = bucket.config(runner={"workers": 2}), small_model()
    file = CheckpointFile(ResultsFolder(tmp_path), "elephas", config)
    journal = Journal("elephas", config, workers=2, tries=Tries(file))
    lose_a_worker_after(journal, config.training.epochs)
    found = in_background(lambda: dataset)
    train_resident(journal, cluster, model, reader.access, found)
    epochs = config.training.epochs
    assert (journal.exchange["rounds"], journal.exchange["attempts"]) == (epochs, 2)
    (retry,) = journal.log.retries
    assert (retry.epoch, retry.rounds) == (epochs, epochs)
    assert len(journal.log.epochs) == epochs
    pixels, _, _ = reader.load(dataset.test.uris, dataset.test.etags)
    expected = macro_auc(dataset.test.labels, predict(model, pixels))
    assert journal.scores.macro_auc.value == pytest.approx(expected)
    for finding in journal.scores.findings.values():
        assert finding.positives + finding.negatives == len(dataset.test)


def test_a_straggler_shows_in_the_seconds_of_its_epochs(data, cluster):
    reports, done = [], threading.Event()

    def slow_one_down():
        worker = psutil.Process(python_workers()[0])
        with contextlib.suppress(psutil.NoSuchProcess):  # it has done its work
            while not done.is_set():
                worker.suspend()
                time.sleep(0.2)
                worker.resume()
                time.sleep(0.02)

    slower = threading.Thread(target=slow_one_down)

    def note(messages):
        if isinstance(messages[0], Ready):
            slower.start()
        if isinstance(messages[0], EpochReport):
            reports.append([report.fit_seconds for report in messages])

    try:
        fit(data, cluster, workers=2, on_gather=note)
    finally:
        done.set()
        slower.join()
    one, other = np.sum(reports, axis=0)
    assert max(one, other) > 2 * min(one, other)


def python_workers() -> list[int]:
    """Process ids of the Spark Python workers that this process's weight server holds.

    Those of earlier jobs may live on beside them; killing one costs nobody anything.
    """
    ports = {
        connection.laddr.port
        for connection in psutil.Process().net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            joined = process.net_connections() if is_python_worker(process) else []
            if any(each.raddr and each.raddr.port in ports for each in joined):
                found.append(process.pid)
    return found


def is_python_worker(process: psutil.Process) -> bool:
    return "pyspark.daemon" in process.cmdline()


def test_workers_start_before_the_listing_ends_and_end_when_it_fails(bucket, cluster):
    config = bucket.config(runner={"workers": 2})
    journal = Journal("elephas", config)
    journal.workers = 2

    def fail():
        while "nodes" not in journal.machine:  # the workers have not said hello yet
            time.sleep(0.05)
        raise UserError("No image.")

    access = load_access(config.data.credentials, config.data.endpoint_url)
    dataset = in_background(fail)
    with refused("No image."):
        train_resident(journal, cluster, small_model(), access, dataset)
    assert journal.log.epochs == []
    assert cluster.context.statusTracker().getActiveStageIds() == []


def test_a_worker_that_cannot_read_ends_the_job_at_once(data, cluster):
    dataset, reader = data
    closed = type(reader)(
        type(reader.access)("a" * 20, "b" * 20, endpoint_url="http://127.0.0.1:9"),
        *(reader.image_size, reader.threads, reader.cache_dir),
    )
    with pytest.raises(AssertionError) as caught:
        fit((dataset, closed), cluster, workers=2)
    assert "does not answer" in str(caught.value)
