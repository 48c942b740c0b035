"""A whole recipe, in this process and by two resident workers: the same course."""

import pytest

from tests.conftest import held_out
from xray.common.background import in_background
from xray.data.dataset import find_dataset
from xray.data.labels import FINDINGS
from xray.data.reader import ImageReader
from xray.model.network import build_model, weights_digest
from xray.model.saved import load_model
from xray.records.calibration import choose_thresholds
from xray.records.metrics import both_values
from xray.records.temperature import fit_temperature, scale
from xray.runners.output import save_models
from xray.spark.resident.driver import train_resident
from xray.storage.credentials import load_access
from xray.storage.results_folder import ResultsFolder
from xray.storage.s3 import Storage
from xray.training.checkpoint import CheckpointFile, Tries
from xray.training.journal import Journal
from xray.training.local import train_locally
from xray.training.recording import build_record

pytestmark = pytest.mark.slow

EPOCHS = 3
RECIPE = {
    "data": {"validation_fraction": 0.25},
    "model": {"augment": {"flip": True, "brightness": 0.1}, "head_l2": 1e-4},
    "training": {
        "epochs": EPOCHS,
        "optimizer": "adamw",
        "warmup_epochs": 0.5,
        "schedule": "cosine",
        "frozen_epochs": 1,
        "unfrozen_factor": 0.5,
        "class_weights": "balanced",
        "clip_norm": 1.0,
        "evaluate_every_epoch": True,
    },
}


@pytest.fixture(scope="module")
def config(bucket, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    return bucket.config(**RECIPE, output={"models": str(models)})


@pytest.fixture(scope="module")
def local_journal(config):
    """Of a run in this process."""
    journal = Journal("sequential", config)
    journal.workers = 1
    train_locally(config, journal)
    return journal


@pytest.fixture(scope="module")
def resident_journal(config, cluster):
    """Of the same work by two workers."""
    journal = Journal("elephas", config)
    journal.workers = 2
    access = load_access(config.data.credentials, config.data.endpoint_url)
    model = build_model(config)
    journal.initial_weights = weights_digest(model.get_weights())

    dataset = in_background(find_dataset, config.data, Storage(access))
    train_resident(journal, cluster, model, access, dataset)
    return journal


@pytest.fixture(scope="module")
def local(local_journal):
    return build_record(local_journal)


@pytest.fixture(scope="module")
def resident(resident_journal):
    return build_record(resident_journal)


@pytest.fixture(params=["local", "resident"])
def record(request):
    return request.getfixturevalue(request.param)


def test_the_best_epoch_is_scored(record):
    aucs = [epoch.auc_validation for epoch in record.epochs]
    assert None not in aucs
    assert aucs[record.best_epoch - 1] == max(aucs)
    best = record.epochs[record.best_epoch - 1]
    assert best.auc_macro == record.scores.macro_auc.value


@pytest.mark.parametrize("runner", ["local", "resident"])
def test_best_and_last_are_saved_with_their_own_weights(request, runner, tmp_path):
    journal = request.getfixturevalue(f"{runner}_journal")
    record = build_record(journal)
    assert save_models(journal, record, str(tmp_path)) == (None, True)
    found = {which: load_model(saved.path) for which, saved in record.models.items()}
    (best, best_info), (last, last_info) = found["best"], found["last"]
    assert (best_info.epoch, last_info.epoch) == (record.best_epoch, EPOCHS)
    assert best_info.scores == record.scores
    assert best_info.calibration == record.calibration
    assert best_info.thresholds == record.calibration.thresholds()
    same = record.best_epoch == EPOCHS
    assert (last_info.thresholds == best_info.thresholds) == same
    assert (last_info.scores == record.scores) == same
    weights = weights_digest(best.get_weights()), weights_digest(last.get_weights())
    assert (weights[0] == weights[1]) == same
    recorded = record.calibration.macro_brier.value
    # Batches differ, and so do the last digits.
    assert brier(best, journal.config) == pytest.approx(recorded, abs=1e-4)
    if not same:
        assert abs(brier(last, journal.config) - recorded) > 3e-4


def brier(model, config):
    """The mean squared error of a model on the test images."""
    test, pixels = held_out(config)
    errors = model.predict(pixels, verbose=0) - test.labels
    return (errors[:, both_values(test.labels)] ** 2).mean()


def test_the_best_epoch_is_not_always_the_last(local, resident):
    """Else the tests above show nothing."""
    assert min(local.best_epoch, resident.best_epoch) < EPOCHS


def test_thresholds_and_temperature_are_those_of_the_validation_images(
    local_journal, config, tmp_path
):
    record = build_record(local_journal)
    save_models(local_journal, record, str(tmp_path))
    best, info = load_model(record.models["best"].path)
    access = load_access(config.data.credentials, config.data.endpoint_url)
    images = find_dataset(config.data, Storage(access)).validation
    reader = ImageReader.of(config.data, access)
    pixels, good, _ = reader.load(images.uris, images.etags)
    scores, labels = best.predict(pixels[:], verbose=0), images.take(good).labels
    expected = choose_thresholds(labels, scores, FINDINGS, config.output.sensitivity)
    assert set(info.thresholds) == set(expected) != set()
    for name, rules in info.thresholds.items():
        # Batches differ, and so do the last digits.
        assert rules == pytest.approx(expected[name], abs=1e-4)
    temperature = fit_temperature(labels, scores)
    assert info.temperature == pytest.approx(temperature, rel=1e-3) != 1
    test, pixels = held_out(config)
    defined = both_values(test.labels)
    scaled = scale(best.predict(pixels, verbose=0), info.temperature)
    errors = (scaled - test.labels)[:, defined]
    measured = record.calibration.scaled.macro_brier.value
    assert measured == pytest.approx((errors**2).mean(), abs=1e-4)
    assert abs(measured - record.calibration.macro_brier.value) > 3e-4


def test_no_image_is_in_two_sets(record, config):
    access = load_access(config.data.credentials, config.data.endpoint_url)
    found = find_dataset(config.data, Storage(access))
    sets = [set(subset.names) for subset in found.subsets()]
    assert len(set.union(*sets)) == sum(map(len, sets)) == record.images.matched
    counts = record.images.train, record.images.test, record.images.validation
    assert counts == tuple(map(len, sets))
    assert record.work["split"]["validation_images"] == record.images.validation


def test_both_do_the_same_work_from_the_same_weights(local, resident):
    assert local.work_id == resident.work_id
    assert local.initial_weights == resident.initial_weights


def test_workers_see_the_learning_rates_of_a_sequential_run(local, resident):
    rates = [epoch.learning_rate for epoch in local.epochs]
    assert rates == pytest.approx([e.learning_rate for e in resident.epochs], abs=1e-9)
    # Frozen at the full rate, then at half of it, and zero at the last step.
    assert rates[0] > 1.5 * rates[1] > 0
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_a_run_that_died_after_unfreezing_goes_on_with_the_same_best(
    config, local, tmp_path
):
    file = CheckpointFile(ResultsFolder(tmp_path), "sequential", config)
    journal = Journal("sequential", config, tries=Tries(file))
    journal.workers = 1

    class Died(Exception):
        pass

    def die_in_the_last_epoch(checkpoint):
        CheckpointFile.save(file, checkpoint)
        if len(checkpoint.progress.epochs) == EPOCHS - 1:
            raise Died

    file.save = die_in_the_last_epoch
    with pytest.raises(Died):
        train_locally(config, journal)
    resume = CheckpointFile(ResultsFolder(tmp_path), "sequential", config).load()
    journal = Journal("sequential", config, tries=Tries(resume=resume))
    journal.workers = 1
    record = train_locally(config, journal)
    assert record.best_epoch == local.best_epoch
    assert record.scores.macro_auc.value == pytest.approx(
        local.scores.macro_auc.value, abs=1e-6
    )
    temperature = local.calibration.temperature
    assert record.calibration.temperature == pytest.approx(temperature, rel=1e-4)
    for name, rules in local.calibration.thresholds().items():
        resumed = record.calibration.thresholds()[name]
        assert resumed == pytest.approx(rules, abs=1e-6)


def test_early_stopping_ends_the_run(bucket):
    config = bucket.config(
        data={"validation_fraction": 0.25},
        training={"epochs": 9, "early_stopping": 1, "learning_rate": 1e-12},
    )
    journal = Journal("sequential", config)
    journal.workers = 1
    record = train_locally(config, journal)
    assert len(record.epochs) == record.best_epoch + 1 < 9
