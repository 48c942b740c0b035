"""Time to accuracy: worked by hand, censored where the target is never reached."""

import pytest

from tests.factories import make_record, make_scores
from xray.report.to_target import (
    CurvePoint,
    Until,
    curve,
    default_target,
    to_target,
    until,
)

POINTS = [CurvePoint(10, 100, 0.6), CurvePoint(20, 200, 0.7), CurvePoint(40, 300, 0.8)]


def run(*aucs, seconds=10.0, validation=False, **overrides):
    """A run of an epoch every `seconds`; None is an epoch that was not scored."""
    record = make_record(**overrides)
    record.epochs = [
        record.epochs[0].model_copy(
            update={
                "epoch": n,
                "elapsed_seconds": n * seconds,
                "auc_validation" if validation else "auc_macro": auc,
            }
        )
        for n, auc in enumerate(aucs, start=1)
    ]
    return record


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0.5, Until(10, 100)),  # at the latest: nothing is known before
        (0.6, Until(10, 100)),
        (0.65, Until(15, 150)),
        (0.775, Until(35, 275)),
        (0.8, Until(40, 300)),
        (0.81, None),
    ],
)
def test_when_a_curve_reaches_a_target(target, expected):
    found = until(POINTS, target)
    assert found == (expected and pytest.approx(expected))


def test_the_first_time_counts_even_if_the_curve_falls_again():
    points = [*POINTS, CurvePoint(50, 400, 0.5), CurvePoint(60, 500, 0.9)]
    assert until(points, 0.75).seconds == 30


def test_epochs_that_were_not_scored_are_no_points():
    points = curve(run(None, 0.6, None, 0.8))
    assert [(p.seconds, p.images, p.auc) for p in points] == [
        (20.0, 8000, 0.6),
        (40.0, 16000, 0.8),
    ]


def test_the_validation_set_comes_first():
    record = run(0.6, 0.7, validation=True)
    record.epochs[1].auc_macro = 0.9  # the epoch that is scored in the end
    assert [point.auc for point in curve(record)] == [0.6, 0.7]


def test_a_run_that_was_scored_at_its_end_alone_has_one_point():
    record = make_record(scores=make_scores(0.72))
    (point,) = curve(record)
    assert point == (record.phases.total, record.images_trained, 0.72)
    assert curve(make_record(scores=None, epochs=[])) == []


def test_the_default_target_is_what_every_run_ends_with():
    runs = [run(0.6, 0.9, 0.8), run(0.5, 0.75), make_record(scores=make_scores(0.77))]
    assert default_target(runs) == 0.75
    assert default_target([make_record(scores=None, epochs=[])]) is None


def test_repeats_have_a_median_a_range_and_a_price():
    runs = [run(0.6, 0.8, seconds=s) for s in (10, 12, 20)]
    found = to_target(runs, 3.6, 0.7)
    assert found.seconds[:4] == pytest.approx((18, 15, 30, 3))
    assert found.images.median == pytest.approx(6000)
    assert found.usd.median == pytest.approx(0.018)
    assert (found.reached, found.runs, found.best) == (3, 3, 0.8)


def test_repeats_that_never_reach_it_are_counted():
    found = to_target([run(0.6, 0.65), run(0.6, 0.8)], None, 0.7)
    assert (found.reached, found.runs) == (1, 2)
    assert found.seconds[:4] == pytest.approx((15, 15, 15, 1))
    assert found.usd is None
    none = to_target([run(0.6, 0.65)], 1.0, 0.9)
    assert (none.seconds, none.usd, none.reached, none.best) == (None, None, 0, 0.65)
