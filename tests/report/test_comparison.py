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
from tests.report.test_paired import made
from tests.report.test_to_target import run
from xray.records.predictions import find_predictions
from xray.records.record import Resume, Retry, RunRecord, Source
from xray.records.scores import Interval
from xray.records.wording import DASH, interval, number
from xray.report.comparison import Accuracy, compare
from xray.report.configurations import key_of, pixel_source, unique_labels
from xray.report.costs import PRICES, load_prices
from xray.report.group import cpu_per_wall
from xray.report.page import accuracy as accuracy_tables
from xray.report.page import notes, resources, tables
from xray.report.page.summary import answers
from xray.report.page.verdict import verdicts
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


def test_nodes_and_instance_tell_configurations_apart():
    on_emr = make_record().machine | {"nodes": 3, "instance_type": "m5.xlarge"}
    group = only_group(make_elephas(4, 30), make_elephas(4, 30, machine=on_emr))
    labels = [part.label for part in group.configurations]
    assert labels == ["Elephas 4×1, 1 node", "Elephas 4×1, 3 nodes, m5.xlarge"]


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


def test_where_the_pixels_came_from_tells_configurations_apart():
    """A warm cache, staged shards and an S3 beside the program read 32 times faster."""
    raw, staged, warm, cold, local = (make_record(phases={"load": s}) for s in range(5))
    staged.config["data"]["staged"] = "s3://bucket/staged/"
    warm.config["data"]["cache_dir"] = cold.config["data"]["cache_dir"] = "/cache"
    warm.source, cold.source = Source(cached=4000), Source(cached=0)
    local.source = Source(store="this machine", cached=0)
    group = only_group(raw, staged, warm, cold, local)
    assert {part.label for part in group.configurations} == {
        "Sequential",
        "Sequential, staged shards",
        "Sequential, warm cache folder",
        "Sequential, empty cache folder",
        "Sequential, S3 on this machine",
    }
    old = make_record()
    old.config["data"]["endpoint_url"] = "http://127.0.0.1:9000"
    assert pixel_source(old) == "S3 on this machine"


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


def test_another_commit_is_another_configuration_unless_told_otherwise():
    other = {"commit": "f" * 40, "dirty": False}
    dirty = {"commit": "f" * 40, "dirty": True}
    records = [make_record(), make_record(git=other), make_record(git=dirty)]
    labels = {part.label for part in only_group(*records).configurations}
    assert labels == {
        "Sequential, commit 0123456",
        "Sequential, commit fffffff",
        "Sequential, commit fffffff with changes",
    }
    (group,) = compare(records, [], load_prices(PRICES), any_commit=True).groups
    assert [len(part.records) for part in group.configurations] == [3]


def test_an_interrupted_run_is_marked_and_no_baseline_and_enters_no_law():
    broken = Resume(epoch=2, earlier_seconds=40.0, resumed=START)
    lost = Retry(epoch=2, rounds=2)
    slow = make_record(phases={"fit": 300}, resumed=[broken])
    times = {p: make_elephas(p, 80 / p, engine="resident") for p in (2, 4)}
    three = make_elephas(3, 70, engine="resident", retries=[lost])
    group = only_group(slow, slow, make_record(), *times.values(), three)
    assert group.baseline.label == "Sequential"
    assert {part.label for part in group.configurations if part.key.course} == {
        "Sequential, interrupted",
        "Elephas 3×1 resident, interrupted",
    }
    assert fits(group)["Elephas resident"].serial_fraction == pytest.approx(0)
    table = tables.headline(group)
    (row,) = [row for row in table.rows if row[0].endswith("resident, interrupted")]
    assert row[3].endswith("§")
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
        "on the same images −0.178 (−0." in text and "against sequential: worse" in text
    )
    card = " ".join(verdicts(group))
    assert "worse in accuracy (−0." in card
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


def test_sync_every_is_named_and_sorted_by_its_number():
    runs = [make_elephas(2, 40, engine="resident") for _ in range(4)]
    for record, every in zip(runs, (10, 1, "epoch", 5), strict=True):
        record.config["runner"] = {"sync_every": every}
    assert [part.label for part in only_group(*runs).configurations] == [
        "Elephas 2×1 resident every 1 step",
        "Elephas 2×1 resident every 5 steps",
        "Elephas 2×1 resident every 10 steps",
        "Elephas 2×1 resident",
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


def test_crowding_cpu_and_type_are_those_of_the_machines_that_trained():
    """A driver of 4 cores beside nodes of 36: 70 workers have a core each."""
    host = {"cpu_model": "Node CPU", "cores": 36, "instance_type": "c5.9xlarge"}
    driver = make_record().machine | {"cores": 4, "nodes": 3}
    fits = driver | {"executors": [host | {"workers": 35}] * 2}
    full = driver | {"executors": [host | {"workers": 30}, host | {"workers": 40}]}
    group = only_group(*(make_elephas(70, 8, machine=m) for m in (fits, full)))
    keys = [part.key for part in group.of("elephas")]
    assert {key.crowding for key in keys} == {None, "oversubscribed"}
    (crowded,) = [part for part in group.of("elephas") if part.key.crowding]
    assert crowded.records[0].machine == full
    assert {(key.cpu_model, key.instance_type) for key in keys} == {
        ("Node CPU", "c5.9xlarge")
    }


def test_settings_that_an_older_version_did_not_write_are_no_differences():
    old = make_work(epochs=10)
    new = make_work(epochs=12)
    new["training"] |= {"schedule": "constant", "clip_norm": None}
    new["model"] |= {"augment": {"flip": False}}
    records = [make_record(work=old), make_record(work=old), make_record(work=new)]
    _, other = compared(*records).groups
    assert other.differences == ["training.epochs"]


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


def test_throughput_is_told_over_one_thread_and_per_processor():
    runs = [make_record(phases={"fit": 80}), make_elephas(4, 25)]
    row = cells(resources.resources(only_group(*runs)), "Elephas 4×1")
    assert row[3:5] == ["3.20", "0.80"]
