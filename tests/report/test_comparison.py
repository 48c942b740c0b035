"""Grouping, medians over repeats, speedups, and what the tables say of them."""

import pytest

from tests.factories import (
    START,
    make_elephas,
    make_gpu,
    make_record,
    make_scores,
    make_work,
)
from xray.records.record import Resume, Retry, RunRecord
from xray.records.scores import Interval
from xray.records.wording import DASH, interval, number
from xray.report.comparison import compare
from xray.report.configurations import key_of, unique_labels
from xray.report.costs import PRICES, load_prices
from xray.report.group import cpu_per_wall
from xray.report.page import accuracy as accuracy_tables
from xray.report.page import notes, resources, tables
from xray.report.page.summary import answers
from xray.report.page.wording import times


def compared(*records):
    return compare(records, [], load_prices(PRICES))


def only_group(*records):
    (group,) = compared(*records).groups
    return group


def cells(table, label):
    return next(row for row in table.rows if row[0] == label)


def text_of(group):
    return {answer.question: answer.text for answer in answers(group)}


def test_repeats_give_median_and_range():
    group = only_group(*(make_record(phases={"fit": s}) for s in (80, 90, 70, 85)))
    (part,) = group.configurations
    assert part.seconds("fit")[:4] == (82.5, 70, 90, 4)
    assert part.seconds("other").median == pytest.approx(0.5)
    assert "82.5 (70.0–90.0)" in cells(tables.headline(group), "Sequential")


def test_speedup_is_median_over_median():
    slow = [make_record(phases={"fit": 80, "total": t}) for t in (100, 90, 200)]
    fast = [make_elephas(4, 25, phases={"fit": f, "total": 50}) for f in (20, 40, 30)]
    part = only_group(*slow, *fast).of("elephas")[0]
    assert part.speedups["total"].value == pytest.approx(2.0)
    assert part.speedups["total"].efficiency == pytest.approx(0.5)
    assert part.speedups["total"].karp_flatt == pytest.approx(1 / 3)
    fit = part.speedups["fit"]
    assert (fit.low, fit.value, fit.high) == pytest.approx((2.0, 80 / 30, 4.0))


def test_works_never_share_a_group_and_their_difference_is_named():
    other = make_work(epochs=10)
    runs = [make_record(), make_gpu(), make_elephas(2, 9, work=other)]
    first, second = compared(*runs).groups
    assert {part.key.runner for part in first.configurations} == {"sequential", "gpu"}
    assert second.differences == ["training.epochs"]
    assert second.baseline is None
    assert not second.configurations[0].speedups


def test_without_sequential_run_no_speedup_is_shown():
    group = only_group(make_gpu(), make_elephas(2, 50))
    table = tables.headline(group)
    assert not any("Speedup" in name for name in table.columns)
    assert any("no successful sequential run" in note for note in table.notes)
    assert tables.scaling(group) is None


def test_failed_and_aborted_runs_stay_apart():
    failed = make_record(status="failed", error="S3 answered 403", phases={"fit": 1})
    aborted = make_record(status="aborted", error="interrupted")
    nameless = make_record(work_id=None)
    result = compared(make_record(), failed, aborted, nameless)
    assert result.apart == [failed, aborted, nameless]
    assert len(result.groups[0].records) == 1
    assert "S3 answered 403" in notes.missing(result)[0]
    assert "no work_id" in notes.missing(result)[2]


def test_another_cpu_model_is_marked():
    group = only_group(make_record(), make_gpu())
    gpu = cells(tables.headline(group), "GPU")
    assert any(notes.OTHER_CPU in cell for cell in gpu)
    assert notes.OTHER_CPU in notes.other_cpu(group)
    assert "another CPU model" in text_of(group)["On one GPU?"]


def test_baseline_of_the_same_cpu_model_is_preferred():
    machine = make_record().machine | {"cpu_model": "Slow CPU"}
    slow = make_record(machine=machine, phases={"fit": 200})
    run = make_elephas(2, 100, machine=machine)
    group = only_group(make_record(), make_record(), slow, run)
    assert group.of("elephas")[0].speedups["fit"].value == pytest.approx(2.0)
    assert group.of("elephas")[0].same_cpu


def test_amdahl_uses_synchronous_points_only():
    times = {p: 80 * (0.25 + 0.75 / p) for p in (2, 4, 8)}
    runs = [make_elephas(p, seconds) for p, seconds in times.items()]
    stray = make_elephas(4, 500, mode="asynchronous")
    group = only_group(make_record(), *runs, stray)
    assert fits(group)["Elephas"].serial_fraction == pytest.approx(0.25)
    assert "Elephas f = 0.250" in notes.amdahl_fits(group, "fit")


def fits(group):
    """Curve to Amdahl's law of its fit, where there is one."""
    found = {curve.label: curve.amdahl("fit") for curve in group.curves()}
    return {label: fit for label, fit in found.items() if fit}


def test_each_engine_has_its_own_serial_fraction():
    """Pooled, 0.006 and 0.6 would give neither."""
    known = {"resident": 0.006, "stock": 0.6}
    runs = [
        make_elephas(p, 80 * (f + (1 - f) / p), engine=engine)
        for engine, f in known.items()
        for p in (2, 3, 4)
    ]
    group = only_group(make_record(), *runs)
    for engine, fraction in known.items():
        fit = fits(group)[f"Elephas {engine}"]
        assert fit.serial_fraction == pytest.approx(fraction, abs=1e-6)
        assert fit.points == 3
    said = notes.amdahl_fits(group, "fit")
    assert "Elephas resident f = 0.006 from 3 points" in said
    assert "Elephas stock f = 0.600 from 3 points" in said


def test_a_speedup_is_over_the_baseline_that_read_its_pixels_alike():
    staged = make_record(phases={"load": 1})
    run = make_elephas(2, 40)
    for record in (staged, run):
        record.config["data"]["staged"] = "s3://bucket/staged/"
    group = only_group(make_record(), make_record(), staged, run)
    (part,) = group.of("elephas")
    assert part.baseline.records == [staged]
    assert part.other_baseline == []
    (part,) = only_group(make_record(), run).of("elephas")
    assert part.other_baseline == ["read its pixels from elsewhere"]


def test_an_interrupted_run_is_marked_and_no_baseline_and_enters_no_law():
    broken = Resume(epoch=2, earlier_seconds=40.0, resumed=START)
    lost = Retry(epoch=2, rounds=2)
    slow = make_record(phases={"fit": 300}, resumed=[broken])
    times = {p: make_elephas(p, 80 / p, engine="resident") for p in (2, 4)}
    three = make_elephas(3, 70, engine="resident", retries=[lost])
    elastic = make_elephas(4, 70, engine="resident")
    fewer = elastic.epochs[0].model_copy(update={"worker_seconds": [1.0] * 3})
    elastic = elastic.model_copy(update={"epochs": [fewer, *elastic.epochs[1:]]})
    group = only_group(slow, slow, make_record(), *times.values(), three, elastic)
    assert group.baseline.label == "Sequential"
    assert {part.label for part in group.configurations if part.key.course} == {
        "Sequential, interrupted",
        "Elephas 3×1 resident, interrupted",
        "Elephas 4×1 resident, interrupted",
    }
    assert fits(group)["Elephas resident"].serial_fraction == pytest.approx(0)
    table = tables.headline(group)
    rows = [row for row in table.rows if row[0].endswith("resident, interrupted")]
    assert [row[3][-1] for row in rows] == ["§", "§"]
    assert any(note.startswith("§") for note in table.notes)
    (note,) = [a.text for a in answers(group) if "Spark" in a.question]
    assert "Elephas 4×1 resident took" in note


@pytest.mark.parametrize(
    ("repeats", "said"),
    [
        ((1, 1), "Each was run once"),
        ((1, 2), "Elephas 2×1 was run once"),
        ((2, 1), "Sequential was run once"),
        ((2, 3), "Fewer than 3 repeats"),
        ((3, 3), None),
    ],
)
def test_few_repeats_are_said(repeats, said):
    elephas, sequential = repeats[0], repeats[1]
    runs = [make_elephas(2, 40 + n) for n in range(elephas)]
    runs += [make_record(phases={"fit": 80 + n}) for n in range(sequential)]
    text = " ".join(answer.text for answer in answers(only_group(*runs)))
    for words in ("Each was run once", "was run once", "Fewer than 3 repeats"):
        assert (words in text) == (bool(said) and words in said)


def test_too_few_points_are_said():
    group = only_group(make_record(), make_elephas(2, 50))
    assert "too few points" in notes.amdahl_fits(group, "total")


def test_slower_than_one_thread_is_said():
    group = only_group(make_record(), make_elephas(2, 160))
    assert text_of(group)["Will it go faster on Spark?"].startswith("No:")
    assert "times as long" in text_of(group)["Will it go faster on Spark?"]


def test_what_was_not_measured_is_said():
    text = text_of(only_group(make_record()))
    assert text["Will it go faster on Spark?"].startswith("Not measured")
    assert text["On one GPU?"].startswith("Not measured")
    assert "On several machines it was not measured" in text["Is one machine enough?"]


def test_overlapping_ranges_are_no_clear_difference():
    slow = [make_record(phases={"total": t}) for t in (100, 140)]
    fast = [make_elephas(2, 40, phases={"fit": 9, "total": t}) for t in (80, 110)]
    text = text_of(only_group(*slow, *fast))["Will it go faster on Spark?"]
    assert text.startswith("No clear difference")


def test_undefined_auc_is_a_dash():
    scores = make_scores(undefined=("Hernia",))
    (table,) = accuracy_tables.findings(only_group(make_record(scores=scores)))
    assert cells(table, "Hernia") == ["Hernia", "0", DASH]
    assert cells(table, "Macro (mean)")[2] == "0.720 (0.700–0.740)"


def test_many_configurations_split_the_auc_table():
    runs = [make_elephas(n, 50) for n in range(1, 7)]
    found = accuracy_tables.findings(only_group(*runs))
    assert [len(table.columns) - 2 for table in found] == [4, 2]


def test_cpu_seconds_per_second_of_fit():
    assert cpu_per_wall(make_record()) == pytest.approx(0.98)
    assert cpu_per_wall(make_elephas(4, 50)) == pytest.approx(3.6)
    assert cpu_per_wall(make_record(cpu_seconds={})) is None


def test_other_differences_are_warned_of():
    other = make_gpu(initial_weights="dddd", packages={"keras": "3.16.0"})
    found = " ".join(notes.warnings(only_group(make_record(), other)))
    assert "initial weights" in found
    assert "keras 3.15.1 and 3.16.0" in found


def test_resumed_and_restarted_runs_are_marked():
    resume = {"epoch": 2, "earlier_seconds": 30.0, "resumed": "2026-03-01T12:00:00Z"}
    retry = {"epoch": 2, "rounds": 1, "worker": 0, "reason": "executor lost"}
    records = [make_record(resumed=[resume]), make_elephas(2, 50, retries=[retry])]
    found = " ".join(notes.warnings(only_group(*records)))
    assert "1 run died and went on with --resume" in found
    assert "1 run lost a worker" in found

    assert "--resume" not in " ".join(notes.warnings(only_group(make_record())))


def test_the_page_says_whose_weights_are_scored():
    records = [make_record(best_epoch=epoch) for epoch in (4, 2)]
    found = " ".join(notes.warnings(only_group(*records)))
    assert "epoch with the best validation AUC, not of the last: epoch 2, 4." in found
    found = " ".join(notes.warnings(only_group(make_record())))
    assert "validation" not in found


def test_numbers_as_written():
    assert number(-0.0001) == "0.00"
    assert number(None) == DASH
    assert interval(Interval()) == DASH
    assert times(2.0) == "2.00 times as fast"
    assert times(0.5) == "2.00 times as long"


def test_engines_are_configurations_of_their_own():
    stock = make_elephas(2, 60, engine="stock")
    resident = make_elephas(2, 30, engine="resident")
    often = make_elephas(2, 40, engine="resident")
    often.config["runner"] = {"sync_every": 10, "optimizer_state": "reset"}
    labels = unique_labels([key_of(record) for record in (stock, resident, often)])
    assert list(labels.values()) == [
        "Elephas 2×1 stock",
        "Elephas 2×1 resident",
        "Elephas 2×1 resident every 10 steps optimizer reset",
    ]


def test_ways_to_use_a_gpu_are_configurations_of_their_own():
    settings = [
        {},
        {"precision": "mixed_float16"},
        {"backend": "jax"},
        {"backend": "jax", "devices": 2},
        {"xla": False},
    ]
    runs = [make_gpu(workers=one.get("devices", 1)) for one in settings]
    for record, one in zip(runs, settings, strict=True):
        record.config["runner"] = one
    labels = list(unique_labels([key_of(run) for run in runs]).values())
    assert labels[1] == "GPU mixed_float16"
    assert labels[3] == "2 GPUs"
    assert [label for label in labels if label not in (labels[1], labels[3])] == [
        "GPU, tensorflow",
        "GPU, jax",
        "GPU, tensorflow, XLA off",
    ]


def test_workers_that_share_cores_are_marked_and_left_out_of_amdahls_law():
    two = {**make_record().machine, "cores": 2, "nodes": 1}
    records = [make_record(machine=two)]
    records += [make_elephas(n, 80 / n, machine=two) for n in (1, 2, 4)]
    group = only_group(*records)
    labels = [part.label for part in group.of("elephas")]
    assert [("oversubscribed" in label) for label in labels] == [False, False, True]
    assert fits(group) == {}  # one point is left
    spread = [{**run.model_dump(), "machine": {**two, "nodes": 2}} for run in records]
    group = only_group(*map(RunRecord.model_validate, spread))
    assert not any("oversubscribed" in part.label for part in group.of("elephas"))
    assert fits(group)["Elephas"].points == 2


def test_settings_that_an_older_version_did_not_write_are_no_differences():
    old = make_work(epochs=10)
    new = make_work(epochs=12)
    new["training"] |= {"schedule": "constant", "clip_norm": None}
    new["model"] |= {"augment": {"flip": False}}
    records = [make_record(work=old), make_record(work=old), make_record(work=new)]
    _, other = compared(*records).groups
    assert other.differences == ["training.epochs"]


def test_throughput_is_told_over_one_thread_and_per_processor():
    runs = [make_record(phases={"fit": 80}), make_elephas(4, 25)]
    row = cells(resources.resources(only_group(*runs)), "Elephas 4×1")
    assert row[3:5] == ["3.20", "0.80"]


def test_a_shorter_sequential_run_serves_the_throughput_of_a_longer_job():
    short = make_record(phases={"fit": 16}, work=make_work(epochs=2))
    long = make_elephas(4, 25, work=make_work(epochs=20))
    groups = compared(short, long, make_elephas(2, 50, work=long.work)).groups
    group = next(group for group in groups if group.work["training"]["epochs"] == 20)
    (base,) = (found for found in groups if found is not group)
    table = resources.resources(group)
    ratio = long.images_per_second.steady / short.images_per_second.steady
    assert cells(table, "Elephas 4×1")[3] == f"{ratio:.2f}"
    assert f"that of work {base.number}, the same but for" in table.notes[-1]
    assert not group.configurations[0].speedups
    # Not of another machine, nor of another training.
    for other in (
        {"machine": {**short.machine, "cpu_model": "another"}},
        {"work": make_work(epochs=2, learning_rate=0.5)},
    ):
        changed = RunRecord.model_validate(
            {**short.model_dump(), **other, "run_id": "x", "work_id": "y"}
        )
        groups = compared(changed, long).groups
        group = next(found for found in groups if long in found.records)
        assert cells(resources.resources(group), "Elephas 4×1")[3] == DASH
