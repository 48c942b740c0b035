"""The card: how fast to an AUC, for how much, and whether the AUC is held."""

import pytest

from tests.factories import (
    make_elephas,
    make_record,
    make_scores,
)
from tests.report.test_comparison import cells, only_group, text_of
from tests.report.test_paired import made
from tests.report.test_to_target import run
from xray.records.predictions import find_predictions
from xray.records.record import RunRecord
from xray.records.wording import DASH
from xray.report.comparison import Accuracy, compare
from xray.report.costs import PRICES, load_prices
from xray.report.page import accuracy as accuracy_tables
from xray.report.page.verdict import verdicts


def with_predictions(folder, *records, noise):
    """Files of test probabilities, and what `compare` takes to find them."""
    for record, each in zip(records, noise, strict=True):
        made(each).write(folder, record.run_id)
    return Accuracy(predictions=find_predictions([folder]))


def test_accuracy_is_judged_on_the_same_images(tmp_path):
    runs = [make_record(), make_elephas(2, 50), make_elephas(4, 25)]
    accuracy = with_predictions(tmp_path, *runs, noise=(1.0, 1.0, 3.0))
    (group,) = compare(runs, [], load_prices(PRICES), accuracy=accuracy).groups
    assert {
        part.label: part.judged and part.judged.verdict for part in group.of("elephas")
    } == {
        "Elephas 2×1": "no worse",
        "Elephas 4×1": "worse",
    }
    text = text_of(group)["What happens to accuracy?"]
    assert (
        "on the same images −0.178, −0." in text and "against sequential: worse" in text
    )
    card = " ".join(verdicts(group))
    assert "with this seed worse in accuracy (−0." in card
    assert "overlap" not in text + card
    rows = {row[0]: row for row in accuracy_tables.accuracy(group).rows}
    assert rows["Elephas 4×1"][4] == "worse"


def test_without_probabilities_nothing_is_judged(tmp_path):
    group = only_group(make_record(), make_elephas(2, 50))
    assert "were not kept" in text_of(group)["What happens to accuracy?"]
    assert "accuracy not compared" in verdicts(group)[0]
    assert any(
        "No differences" in note for note in accuracy_tables.accuracy(group).notes
    )


def test_the_card_says_how_fast_for_how_much_to_a_target():
    """By hand: 40 against 80 s at an AUC of 0.7, on two nodes with EMR against one."""
    fast = [run(0.6, 0.8, seconds=s, workers=2) for s in (25, 26, 27)]
    slow = [run(0.6, 0.8, seconds=s) for s in (50, 52, 54)]
    group = only_group(*slow, *map(as_elephas, fast))
    (line,) = verdicts(group)
    said = "Elephas 2×1 was 2.00 ± 0.11 times as fast as Sequential to a macro AUC of "
    assert line.startswith(f"{said}0.800")
    assert "for 1.25 times the money" in line  # 2 x 0.24 against 0.192, half as long


def test_a_target_that_a_curve_fell_below_again_is_said_to_be_lucky():
    runs = [run(0.6, 0.8, 0.7, 0.75), as_elephas(run(0.6, 0.7, 0.75, 0.8, workers=2))]
    accuracy = Accuracy(target_auc=0.74)
    (group,) = compare(runs, [], load_prices(PRICES), accuracy=accuracy).groups
    (line,) = verdicts(group)
    assert "Sequential fell below it again later." in line
    table = accuracy_tables.accuracy(group)
    assert cells(table, "Sequential")[5] == "1 of 1, 1 below it again"
    assert cells(table, "Elephas 2×1")[5] == "1 of 1"


def as_elephas(record):
    fields = record.model_dump() | {
        "runner": "elephas",
        "threads_per_worker": 1,
        "mode": "synchronous",
    }
    return RunRecord.model_validate(fields)


def test_a_target_that_is_missed_is_a_dash_with_the_best_value():
    runs = [run(0.6, 0.8), as_elephas(run(0.6, 0.7, workers=2))]
    accuracy = Accuracy(target_auc=0.75)
    (group,) = compare(runs, [], load_prices(PRICES), accuracy=accuracy).groups
    row = cells(accuracy_tables.accuracy(group), "Elephas 2×1")
    assert row[5:] == ["0 of 1, best 0.700", DASH, DASH, DASH]
    (line,) = verdicts(group)
    assert "reached a macro AUC of 0.750 in 0 of 1 runs; its best: 0.700" in line


def test_macro_says_over_which_labels():
    runs = [make_record(scores=make_scores(undefined=("Hernia",)))]
    table = accuracy_tables.accuracy(only_group(*runs))
    assert any(
        "over 14 of 15 labels" in note and "left out: Hernia" in note
        for note in table.notes
    )
    values = [0.72 + (n - 7) / 100 for n in range(15) if n not in (7, 10)]
    assert table.rows[0][2] == f"{sum(values) / 13:.3f}"  # without it and No Finding


def test_keras_on_all_cores_has_a_name_of_its_own_and_is_no_baseline():
    cores = make_record(workers=1, threads_per_worker=4, phases={"fit": 30})
    group = only_group(make_record(workers=1, threads_per_worker=1), cores)
    assert [part.label for part in group.configurations] == [
        "Sequential",
        "Keras on 4 threads",
    ]
    base, part = group.configurations
    assert group.baseline is base
    assert part.speedups["fit"].value == pytest.approx(80 / 30)
    assert part.speedups["fit"].efficiency == pytest.approx(80 / 30 / 4)
    assert "Keras on 4 threads was" in verdicts(group)[0]


def test_another_baseline_is_not_compared_with_itself():
    other = {"commit": "f" * 40, "dirty": False}
    records = [make_record(), make_record(), make_record(git=other)]
    said = verdicts(only_group(*records, make_elephas(2, 40)))
    assert [line.split(" was ")[0] for line in said] == ["Elephas 2×1"]
