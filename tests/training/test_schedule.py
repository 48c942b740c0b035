"""Learning rates by images trained, and the epochs that a validation set decides."""

from types import SimpleNamespace

import numpy as np
import pytest

from xray.config.recipe import TrainingConfig
from xray.model.learning_rate import learning_rate
from xray.model.network import make_optimizer
from xray.training.batches import Feed
from xray.training.schedule import Course, follow_schedule

COUNT, BATCH = 48, 4


def recipe(**settings):
    return TrainingConfig(**({"epochs": 10, "learning_rate": 0.5} | settings))


def steps(workers, epoch, parts=1):
    """Progress at each step of the first of `workers` workers with equal shards."""
    size = COUNT // workers
    images = np.zeros((size, 1, 1, 1), np.uint8)
    feed = Feed(images, np.zeros((size, 15)), BATCH, seed=0, parts=parts)
    feed.epoch = epoch
    found = []
    for feed.part in range(parts):
        batches = len(feed._rows())
        found += [feed.progress(batch) for batch in range(batches)]
    return found


def test_constant_by_default():
    assert {learning_rate(recipe(), 4, p) for p in (0.1, 5.0, 10.0)} == {0.5}


def test_scaled_by_the_workers():
    assert learning_rate(recipe(scale_learning_rate=True), 4, 3.0) == 2.0


def test_warmup_rises_from_zero_to_the_rate():
    rates = [learning_rate(recipe(warmup_epochs=2), 1, p) for p in (0.5, 1, 2, 3)]
    assert rates == pytest.approx([0.125, 0.25, 0.5, 0.5])


def test_cosine_falls_from_the_rate_to_zero():
    cosine = recipe(warmup_epochs=2, schedule="cosine")
    rates = [learning_rate(cosine, 1, p) for p in (1, 2, 6, 10)]
    assert rates == pytest.approx([0.25, 0.5, 0.25, 0.0])


def test_unfreezing_and_plateaus_lower_the_rate():
    staged = recipe(frozen_epochs=3, unfrozen_factor=0.1)
    assert learning_rate(staged, 1, 3.0) == 0.5
    assert learning_rate(staged, 1, 3.01) == pytest.approx(0.05)
    assert learning_rate(staged, 1, 3.0, factor=0.01) == pytest.approx(0.005)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_workers_see_the_rates_of_a_sequential_run_after_as_many_images(workers, parts):
    cosine = recipe(warmup_epochs=1.5, schedule="cosine", epochs=3)
    for epoch in range(3):
        alone = [learning_rate(cosine, 1, p) for p in steps(1, epoch)]
        shared = [
            learning_rate(cosine, workers, p) for p in steps(workers, epoch, parts)
        ]
        # After n steps of each worker, workers * n batches are trained in all.
        assert shared == pytest.approx(alone[workers - 1 :: workers])


@pytest.mark.parametrize("lost", [None, 8], ids=["whole", "begun anew"])
@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "cosine"},
        {"warmup_epochs": 1.5, "schedule": "cosine", "scale_learning_rate": True},
        {"warmup_epochs": 0.3, "frozen_epochs": 1, "unfrozen_factor": 0.1},
        {"warmup_epochs": 2, "schedule": "plateau"},
    ],
    ids=str,
)
def test_the_optimizer_follows_the_formula_step_by_step(settings, lost):
    """Over uneven batches and parts, and by a new optimizer after a lost worker."""
    training, factor = recipe(epochs=3, **settings), 0.25
    images = np.zeros((COUNT - 3, 1, 1, 1), np.uint8)
    feed = Feed(images, np.zeros((COUNT - 3, 15)), BATCH, seed=0, parts=3)
    model, step = SimpleNamespace(optimizer=make_optimizer(training)), 0
    for feed.epoch in range(3):
        for feed.part in range(3):
            if step == lost:
                model.optimizer = make_optimizer(training)
            last = follow_schedule(model, feed, training, 2, factor)
            for batch in range(len(feed._rows())):
                progress = feed.progress(batch)
                wanted = learning_rate(training, 2, progress, factor)
                found = float(model.optimizer.learning_rate)
                assert found == pytest.approx(wanted, rel=1e-5, abs=1e-7)
                model.optimizer.iterations.assign_add(1)
                step += 1
            assert last == wanted
    assert step == 3 * len(feed)
    assert lost is None or model.optimizer.iterations == step - lost


def test_a_constant_rate_is_no_schedule():
    training = recipe()
    feed = Feed(np.zeros((8, 1, 1, 1), np.uint8), np.zeros((8, 15)), 4, seed=0)
    model = SimpleNamespace(optimizer=make_optimizer(training))
    assert follow_schedule(model, feed, training, 1, 0.1) == pytest.approx(0.05)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


def test_a_worker_without_images_sets_nothing():
    training = recipe(schedule="cosine")
    feed = Feed(np.zeros((0, 1, 1, 1), np.uint8), np.zeros((0, 15)), 4, seed=0)
    model = SimpleNamespace(optimizer=make_optimizer(training))
    assert follow_schedule(model, feed, training, 2, 1.0) == 0


def follow(values, **settings):
    """The course after each epoch with these values."""
    course, training = Course(), recipe(**settings)
    found = []
    for value in values:
        course = course.after(value, training)
        found.append(course)
        if course.ended(training):
            break
    return found


def test_the_first_of_equals_is_the_best():
    found = follow([0.6, 0.7, 0.7, 0.65, None])
    assert [course.best_epoch for course in found] == [1, 2, 2, 2, 2]
    assert found[-1].best == 0.7


def test_thresholds_and_temperature_are_those_of_the_best_epoch():
    course, training = Course(), recipe()
    for epoch, auc in enumerate([0.6, 0.7, 0.65]):
        course = course.after(
            auc, training, {"Mass": {"youden": epoch / 10}}, epoch + 1
        )
    assert course.thresholds == {"Mass": {"youden": 0.1}}
    assert course.temperature == 2
    assert Course.model_validate_json(course.model_dump_json()) == course
    assert follow([0.5])[-1].thresholds is None


def test_plateau_lowers_the_rate_when_nothing_gets_better():
    values = [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7]
    found = follow(values, schedule="plateau", plateau_patience=2, plateau_factor=0.1)
    factors = [course.factor for course in found]
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_factor_stays_under_other_schedules():
    assert follow([0.5] * 8)[-1].factor == 1.0


def test_early_stopping_counts_from_the_best():
    found = follow([0.5, 0.7, 0.6, 0.6, 0.6, 0.9], early_stopping=3)
    assert (len(found), found[-1].best_epoch) == (5, 2)


def test_all_epochs_without_early_stopping():
    assert len(follow([0.5] * 20)) == 10


def test_an_undefined_start_is_replaced_by_any_number():
    found = follow([None, None, 0.4])
    assert [course.best_epoch for course in found] == [1, 1, 3]
