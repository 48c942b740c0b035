"""Predictions in the report: dashed, marked as such, absent where none is possible."""

import pytest

from tests.factories import make_record
from tests.report.test_comparison import only_group
from tests.report.test_forecast import EPOCHS, WEIGHT_BYTES, formula, run
from xray.report.costs import PRICES, load_prices
from xray.report.forecast import hold_out
from xray.report.page import forecast
from xray.report.page.build import write_report


def group(*workers):
    runs = [run(n) for n in workers]
    return only_group(make_record(phases={"fit": 400, "total": 450}), *runs)


def free():
    """Prices of machines whose network costs no time."""
    prices = load_prices(PRICES)
    kinds = {
        name: price.model_copy(update={"network_gbps": None})
        for name, price in prices.instances.items()
    }
    return prices.model_copy(update={"instances": kinds})


def cells(table, workers):
    return next(row for row in table.rows if row[0] == str(workers))


def test_the_table_predicts_what_was_not_measured():
    table = forecast.table(group(1, 2, 4), free())
    assert [row[0] for row in table.rows] == ["1", "2", "4", "8", "16", "32", "64"]
    speedup = formula(1) / formula(16)
    assert float(cells(table, 16)[2]) == pytest.approx(speedup, abs=0.06)
    assert "min" in cells(table, 64)[3]
    notes = " ".join(table.notes)
    assert "Checked by predicting each measured count" in notes
    assert "S(N)²/N" in notes


def test_weights_travel_through_the_network_of_the_priced_machine():
    table = forecast.table(group(1, 2, 4), load_prices(PRICES))
    assert any("has 0.417 Gbit/s of its node" in note for note in table.notes)

    def seconds(workers):  # 1.25 Gbit/s for the three workers of a node
        vectors = 2 - 1 / workers
        return formula(workers) + EPOCHS * vectors * WEIGHT_BYTES * 8 * 3 / 1.25e9

    for workers in (4, 64):
        speedup = seconds(1) / seconds(workers)
        assert float(cells(table, workers)[2]) == pytest.approx(speedup, abs=0.06)


def test_the_model_that_is_checked_is_the_one_that_is_shown():
    """Both know from a sequential run what reading costs."""
    runs = [run(n) for n in (1, 2, 4)]
    base = make_record(
        phases={"fit": 400, "load": 900.0, "total": 1400}, config=runs[0].config
    )
    table = forecast.table(only_group(base, *runs), free())
    expected = ", ".join(
        f"{one.workers} workers {one.error:+.0%}".replace("-", "−")
        for one in hold_out(runs, [base])
    )
    assert expected != ", ".join(
        f"{one.workers} workers {one.error:+.0%}".replace("-", "−")
        for one in hold_out(runs)
    )
    (note,) = [note for note in table.notes if note.startswith("Checked")]
    for part in expected.split(", "):
        assert part in note


def test_an_unchecked_model_says_so():
    table = forecast.table(group(1, 2), load_prices(PRICES))
    assert any("Not checked" in note for note in table.notes)


def test_the_chart_marks_what_is_predicted_and_published():
    chart = forecast.chart(group(1, 2, 4), free(), "p")
    for label in ("Predicted Elephas", "Dell EMC, V100 GPUs, published", "BigDL"):
        assert label in chart.svg
    assert "stroke-dasharray" in chart.svg
    assert "not measured here" in chart.caption


def test_published_points_are_those_of_the_sources():
    dell, bigdl = forecast.PUBLISHED
    assert dell.speedups[-1] == pytest.approx(10.34, abs=0.01)
    assert bigdl.speedups[1] / bigdl.speedups[0] == 3


def test_without_two_worker_counts_nothing_is_predicted():
    assert forecast.table(group(2), load_prices(PRICES)) is None
    assert forecast.chart(group(2), free(), "p") is None
    alone = only_group(run(1), run(2))
    assert forecast.chart(alone, free(), "p") is None


def test_the_report_holds_the_prediction(tmp_path):
    for record in (make_record(phases={"fit": 400, "total": 450}), run(1), run(2)):
        record.write(tmp_path / "results")
    prices = load_prices(PRICES)
    report = write_report([tmp_path / "results"], tmp_path / "out", prices)
    html, markdown, _ = report.paths
    assert "Prediction, not measured" in html.read_text()
    assert "g1-predicted" in html.read_text()
    assert "Prediction, not measured" in markdown.read_text()
