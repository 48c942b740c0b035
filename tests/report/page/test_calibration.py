"""Brier scores, thresholds and the reliability diagram in the report."""

import csv

import pytest

from experiments.report import main
from tests.factories import make_calibration, make_elephas, make_gpu, make_record
from tests.report.page.test_build import write
from tests.report.test_comparison import cells, only_group
from xray.records.wording import DASH
from xray.report.page import calibration

IMAGES = {"train": 4000, "test": 300, "validation": 300}


def make_measured(seed=0, **fields):
    found = make_calibration(seed, undefined=("Hernia",))
    return make_record(calibration=found, images=IMAGES, **fields)


@pytest.fixture(scope="module")
def group():
    other = make_calibration(1, chosen=False)
    return only_group(make_measured(), make_elephas(2, 50, calibration=other))


def test_brier_scores_stand_side_by_side(group):
    brier, *_ = calibration.tables(group)
    assert brier.columns[1:] == ["Reference", "Sequential", "Elephas 2×1"]
    found = [run.calibration for run in group.records]
    for name in ("Edema", "Pneumonia"):
        _, reference, *scores = cells(brier, name)
        assert reference == f"{found[0].findings[name].brier_reference:.3f}"
        for score, one in zip(scores, found, strict=True):
            assert score.startswith(f"{one.findings[name].brier.value:.3f} (0.")
    assert cells(brier, "Hernia")[1:3] == [DASH, DASH]
    assert cells(brier, "Macro (mean)")[2].startswith(
        f"{found[0].macro_brier.value:.3f} (0."
    )


def test_thresholds_are_shown_with_what_they_reach_on_the_test_set(group):
    (_, table) = calibration.tables(group)
    assert "Sequential, chosen on 300 validation images" in table.caption
    assert table.columns[1] == "Threshold, Youden"
    assert table.columns[4] == "Threshold, sensitivity 0.9"
    points = group.records[0].calibration.findings["Pneumonia"].thresholds
    row = cells(table, "Pneumonia")
    for start, rule in ((1, "youden"), (4, "sensitivity_0.9")):
        point = points[rule]
        assert row[start] == f"{point.threshold:.3g}"
        assert row[start + 1].startswith(f"{point.sensitivity.value:.3f} (0.")
        assert row[start + 2].startswith(f"{point.specificity.value:.3f} (0.")
    assert cells(table, "Hernia") == ["Hernia", *[DASH] * 6]


def test_what_the_temperature_brings_is_shown_beside_it(group):
    brier, *_ = calibration.tables(group)
    found = group.records[0].calibration
    after = f"{found.scaled.macro_brier.value:.3f} (0."
    _, _, cell, other = cells(brier, "Macro, at its temperature")
    assert cell.startswith(after)
    assert cell.endswith(f"[{found.temperature:.2f}]")
    assert other == DASH  # without a validation set
    assert "Guo et al." in brier.notes[-1]
    assert "Dashed" in calibration.chart(group, "r").caption
    without = only_group(make_record(calibration=make_calibration(chosen=False)))
    assert "Dashed" not in calibration.chart(without, "r").caption


def test_without_a_validation_set_the_report_says_so():
    found = make_calibration(chosen=False)
    (brier,) = calibration.tables(only_group(make_record(calibration=found)))
    assert "The test set chooses nothing." in brier.notes[-1]


def test_the_diagram_draws_the_frequent_findings_of_one_run_of_each_runner():
    runs = [make_measured(), make_gpu(calibration=make_calibration(1))]
    runs += [
        make_elephas(n, 100 / n, calibration=make_calibration(n)) for n in (1, 2, 4)
    ]
    drawn = calibration.chart(only_group(*runs), "r").svg
    for label in ("Sequential", "GPU", "Elephas 4×1", "Perfect", "Pneumothorax"):
        assert drawn.count(f">{label}<") == 1
    for label in ("Elephas 2×1", "Edema"):
        assert f">{label}<" not in drawn


def test_hostile_names_are_drawn():
    found = make_calibration()
    for name in (r"$\frac{$", "<script>"):
        found.findings[name] = found.findings["Pneumothorax"]
    chart = calibration.chart(only_group(make_record(calibration=found)), "r")
    assert r">$\frac{$<" in chart.svg
    assert "<script" not in chart.svg


def test_old_records_show_nothing_new():
    group = only_group(make_record(), make_gpu())
    assert calibration.chart(group, "r") is None
    assert calibration.tables(group) == []
    nothing = make_calibration(undefined=tuple(make_calibration().findings))
    group = only_group(make_record(calibration=nothing))
    assert calibration.chart(group, "r") is None


def test_page_and_csv_hold_them(tmp_path):
    results = write([make_measured(), make_gpu()], tmp_path / "results")
    assert main([str(results), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<summary>Calibration and thresholds</summary>" in page
    assert page.count('id="g1-reliability"') == 1
    with (tmp_path / "report.csv").open(newline="") as file:
        measured, old = csv.DictReader(file)
    assert float(measured["brier_Mass"]) > 0
    assert float(measured["sensitivity_0.9_Mass_test_specificity"]) > 0
    assert float(measured["macro_brier_at_temperature"]) > 0
    assert (measured["brier_Hernia"], old["brier_Mass"]) == ("", "")
