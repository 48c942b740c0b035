"""The scaling model: exact where its formula holds, honest where it cannot know."""

import statistics

import pytest

from tests.factories import make_elephas, make_record
from tests.refusals import refused
from xray.report.forecast import (
    NIH_IMAGES,
    Predictor,
    families,
    hold_out,
    knee,
    knee_sentence,
)
from xray.report.time_model import ForecastJob, fit_model, largest_of, point_of

TRAIN, TEST, EPOCHS, WEIGHT_BYTES = 4000, 1000, 5, 10**7
FIXED, LOAD, IMAGE, EXCHANGE, EVALUATE = 20.0, (15, 0.01), 0.02, (0.1, 0.05), (2, 0.01)


def run(workers, train=TRAIN, slower=1.0, cores=64, imbalance=0.0, gap=None, scored=1):
    """A record whose seconds follow the model's formula."""
    shard = train / workers
    crowding = max(1.0, workers / cores)
    compute = crowding * IMAGE * shard
    seconds = [compute * (1 + imbalance * (i % 2 or -1)) for i in range(workers)]
    exchange = EXCHANGE[0] + EXCHANGE[1] * workers
    epochs = [
        {
            "epoch": n + 1,
            "seconds": max(seconds) + exchange,
            "images_per_second": 1.0,
            "elapsed_seconds": 1.0,
            "worker_seconds": seconds,
            "sync_gap_seconds": gap,
        }
        for n in range(EPOCHS)
    ]
    phases = {
        "startup": 14.0,
        "load": crowding * (LOAD[0] + LOAD[1] * shard),
        "warmup": 5.5,
        "fit": EPOCHS * (max(seconds) + exchange),
        "evaluate": crowding * (EVALUATE[0] + EVALUATE[1] * scored * TEST / workers),
    }
    machine = make_record().machine | {"cores": cores, "nodes": 1}
    record = make_elephas(
        workers,
        1.0,
        engine="resident",
        machine=machine,
        epochs=epochs,
        exchange={
            "rounds": EPOCHS,
            "attempts": 1,
            "bytes_received": EPOCHS * WEIGHT_BYTES,
            "bytes_between_workers": EPOCHS * 2 * (workers - 1) * WEIGHT_BYTES,
        },
        images={"train": train, "test": TEST},
        config=make_config(evaluate_every_epoch=scored > 1),
        phases={k: v * slower for k, v in phases.items()},
    )
    total = slower * (sum(phases.values()) + 0.5)
    return record.model_copy(
        update={"phases": record.phases.model_copy(update={"total": total})}
    )


def make_config(evaluate_every_epoch=False, **runner):
    return {
        "data": {"images": "s3://b/images/", "image_size": 128},
        "model": {"backbone": "MobileNet", "alpha": 1.0},
        "training": {
            "batch_size": 32,
            "optimizer": "adam",
            "epochs": EPOCHS,
            "evaluate_every_epoch": evaluate_every_epoch,
        },
        "runner": runner,
    }


def formula(workers, train=TRAIN, test=TEST):
    return (
        FIXED
        + LOAD[0]
        + LOAD[1] * train / workers
        + EPOCHS * (IMAGE * train / workers + EXCHANGE[0] + EXCHANGE[1] * workers)
        + EVALUATE[0]
        + EVALUATE[1] * test / workers
    )


def test_what_follows_the_formula_is_predicted_exactly():
    predictor = Predictor([run(1), run(2), run(4)])
    for workers in (1, 8, 16, 50):
        found = predictor.predict(predictor.job(workers))
        assert found.seconds == pytest.approx(formula(workers), rel=1e-6)
        assert found.low < found.seconds < found.high
        assert sum(found.parts.values()) == pytest.approx(found.seconds)


def test_other_numbers_of_images_are_predicted():
    predictor = Predictor([run(1), run(2), run(4)])
    job = predictor.job(8, NIH_IMAGES)
    assert (job.train, job.test) == (89696, 22424)
    expected = formula(8, 89696, 22424)
    assert predictor.predict(job).seconds == pytest.approx(expected, rel=1e-6)


def test_weights_take_their_time_through_a_network():
    predictor = Predictor([run(1), run(2), run(4)])
    slow = predictor.job(16, bytes_per_second=10**8)
    # Of its 16 parts each worker sends 15 twice to the others, and one to the driver.
    expected = formula(16) + EPOCHS * 31 / 16 * WEIGHT_BYTES / 10**8
    assert predictor.predict(slow).seconds == pytest.approx(expected, rel=1e-6)


def test_weights_of_older_records_went_through_the_driver_once_a_worker():
    record = run(4)
    record.exchange["bytes_received"] *= 4
    del record.exchange["bytes_between_workers"]
    assert point_of(record).weight_bytes == point_of(run(4)).weight_bytes


def test_the_gap_before_an_epoch_is_part_of_its_seconds_and_counts_once():
    gaps = [run(n, gap=EXCHANGE[0] + EXCHANGE[1] * n) for n in (1, 2, 4)]
    predictor = Predictor(gaps)
    for workers in (8, 16):
        found = predictor.predict(predictor.job(workers))
        assert found.seconds == pytest.approx(formula(workers), rel=1e-6)


def test_scoring_every_epoch_grows_with_the_epochs():
    predictor = Predictor([run(n, scored=EPOCHS) for n in (1, 2, 4)])
    job = predictor.job(8)._replace(epochs=2 * EPOCHS)
    expected = EVALUATE[0] + EVALUATE[1] * 2 * EPOCHS * TEST / 8
    assert predictor.predict(job).parts["evaluate"] == pytest.approx(expected)
    once = Predictor([run(n) for n in (1, 2, 4)])
    seconds = once.predict(once.job(8)._replace(epochs=2 * EPOCHS)).parts["evaluate"]
    assert seconds == pytest.approx(EVALUATE[0] + EVALUATE[1] * TEST / 8)


def test_what_is_scored_is_told_apart():
    """By family: the seconds of one kind say nothing of the other."""
    kinds = [run(1), run(2), run(1, scored=EPOCHS), run(4, scored=EPOCHS)]
    kinds.append(run(2))
    kinds[-1].config["data"]["validation_fraction"] = 0.1
    assert [len(found) for found in families(kinds)] == [2, 2, 1]


def test_validation_images_are_scored_every_epoch():
    records = [run(n, scored=1) for n in (1, 2, 4)]
    for record in records:
        record.images.validation = 400
    predictor = Predictor(records)
    assert predictor.job(8).scored == TEST + 400 * EPOCHS
    whole = predictor.job(8, 54_000)
    assert (whole.train, whole.validation, whole.test) == (40_000, 4_000, 10_000)


def test_held_out_counts_are_found_again():
    found = hold_out([run(1), run(2), run(4), run(4)])
    assert [(one.workers, one.runs) for one in found] == [(1, 1), (2, 1), (4, 2)]
    assert all(abs(one.error) < 1e-6 and one.inside for one in found)


def test_a_wrong_formula_shows_in_the_held_out_error():
    found = hold_out([run(1), run(2), run(4, slower=3.0)])
    assert found[2].error < -0.6
    assert not found[2].inside


def test_more_workers_than_cores_slow_each_other():
    crowded = run(4, cores=2)
    assert point_of(crowded).job.crowding == 2
    assert point_of(crowded).image == pytest.approx(IMAGE)
    found = hold_out([run(1, cores=2), run(2, cores=2), crowded])
    assert abs(found[2].error) < 1e-6


def test_the_interval_grows_beyond_what_was_measured():
    predictor = Predictor([run(1), run(2), run(4)])

    def width(workers, images=None):
        found = predictor.predict(predictor.job(workers, images))
        return (found.high - found.low) / found.seconds

    assert width(4) < width(8) < width(64)
    assert width(4) < width(4, 10 * (TRAIN + TEST)) < width(4, NIH_IMAGES)


def test_scattered_repeats_widen_the_interval():
    steady = Predictor([run(1), run(1), run(2), run(2)])
    scattered = Predictor([run(1), run(1, slower=1.5), run(2), run(2, slower=1.5)])
    assert scattered.error > 2 * steady.error


def test_stragglers_count_more_with_more_workers():
    model = fit_model([point_of(run(n, imbalance=0.1)) for n in (1, 2, 4)])
    assert model.spread == pytest.approx(0.125, abs=0.02)
    assert largest_of(1) == 0
    # Exact for two: 1 / sqrt(pi).
    assert largest_of(2) == pytest.approx(0.5642, abs=0.03)
    assert largest_of(50) == pytest.approx(2.249, abs=0.02)  # tables of normal scores


def test_one_worker_count_is_not_enough():
    with refused("two worker counts at least. Got 2"):
        Predictor([run(2), run(2)])
    with refused("three worker counts are needed. Got 1, 2"):
        hold_out([run(1), run(2)])


def test_only_like_runs_share_a_model():
    other = run(1)
    other.config["data"]["image_size"] = 64
    stock = make_elephas(2, 30, engine="stock")
    failed = run(4).model_copy(update={"status": "failed"})
    odd = run(4)
    odd.epochs[2].worker_seconds = []
    odd_ones = [other, stock, failed, odd, make_record()]
    found = families([run(1), run(2), run(2), *odd_ones])
    assert [len(group) for group in found] == [3, 1]


def test_the_knee_is_where_efficiency_over_time_is_largest():
    ideal = {n: 100 / n for n in (1, 2, 4, 8)}
    assert knee(ideal) == 8
    amdahl = {n: 20 + 80 / n for n in (1, 2, 4, 8, 16, 32)}
    assert knee(amdahl) == 4
    assert knee({n: 100.0 for n in (1, 2, 4)}) == 1
    assert knee_sentence(amdahl).startswith("Beyond 4 worker(s)")
    assert knee_sentence(ideal).startswith("Up to 8 workers")


def test_rounds_follow_the_steps_of_a_shard():
    record = run(2)
    record.exchange["rounds"] = EPOCHS * 10
    predictor = Predictor([run(1), record])
    assert predictor.job(4).rounds == 5
    assert predictor.job(4) == ForecastJob(4, TRAIN, TEST, EPOCHS, 5)


def test_epochs_beyond_the_first_are_what_counts():
    record = run(2)
    record.epochs[0].worker_seconds = [1000.0, 1000.0]
    assert point_of(record).image == pytest.approx(IMAGE)
    assert statistics.fmean([point_of(record).exchange]) == pytest.approx(0.2)


def sequential(load, train=TRAIN, **data):
    """A sequential run of the same data that reads it in `load` seconds."""
    config = make_config()
    return make_record(
        phases={"load": load},
        images={"train": train, "test": TEST},
        config=config | {"data": config["data"] | data},
    )


def test_reading_is_that_of_a_sequential_run_where_small_runs_hide_it():
    hidden = [run(1, train=100), run(2, train=100)]
    known = Predictor(hidden, [*hidden, sequential(load=200.0, train=100)])
    assert known.model.load[1] == 2.0
    job = known.job(10, images=10**6)
    assert known.model.parts(job)["load"] > job.train / 10 * 2.0
    assert known.predict(job).seconds > Predictor(hidden).predict(job).seconds


@pytest.mark.parametrize(
    "other",
    [
        sequential(200.0, image_size=64),
        sequential(200.0, staged="s3://b/staged/"),
        make_elephas(1, 1.0, config=make_config()),
    ],
)
def test_reading_of_other_data_is_not_used(other):
    assert Predictor([run(1), run(2)], [other]).reading is None
