"""The contract that all runners keep, each run as a user runs it.

The demo trains most of them. The others train on the images that it leaves, one of them
from staged shards. One image is broken, so every run has to do without it.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import (
    ROOT,
    assert_becomes_empty,
    assert_one_line,
    held_out,
    run_script,
    scratch_environment,
)
from xray.config.file import load_config
from xray.config.runners import RUNNERS
from xray.data.labels import FINDINGS
from xray.local.s3 import serve
from xray.local.synthetic import generate
from xray.model.saved import load_model
from xray.records.reading import read_records
from xray.records.record import RunRecord, work_differences

pytestmark = pytest.mark.slow

CONFIG = ROOT / "experiments" / "configs" / "demo.yaml"
IMAGES, SIZE = 120, 64


def read_record(folder: Path) -> RunRecord:
    (path,) = folder.glob("*.json")
    return RunRecord.model_validate_json(path.read_bytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def settings(folder):
    """Of every run: two epochs, models and events kept, and Spark's event log on.

    The demo's configuration scores each epoch.
    """
    events = folder / "events"
    events.mkdir()
    spark_conf = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": str(events)}
    return (
        "data.image_size=32",
        "data.min_train_positives=0",
        "data.subgroups={Patient Gender: [F, M]}",
        "model.backbone=Tiny",  # which is traced soonest
        "model.alpha=1.0",
        "training.epochs=2",
        f"output.models={folder / 'models'}",
        f"output.tensorboard={folder / 'tensorboard'}",
        f"runner.spark_conf={json.dumps(spark_conf)}",
    )


def set_all(*settings):
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture(scope="module")
def broken(folder):
    """The name of the unreadable image that the demo will find drawn already."""
    generate(folder / "s3" / "nih-demo", IMAGES, size=SIZE)
    image = sorted(folder.glob("s3/nih-demo/images/*.png"))[0]
    image.write_bytes(image.read_bytes()[:300])
    return image.name


@pytest.fixture(scope="module")
def demo(folder, settings, broken):
    """The demo as it ended."""
    done = run_script(
        *("experiments/demo.py", "--images", IMAGES, "--size", SIZE),
        *("--folder", folder, "--results", folder / "demo", *set_all(*settings)),
    )
    assert done.returncode == 0, done.stderr
    (folder / "demo" / "output.txt").write_text(done.stdout + done.stderr)
    return done


@pytest.fixture(scope="module")
def demo_records(demo, folder):
    records, left_out = read_records(folder / "demo")
    assert not left_out
    return records


@pytest.fixture(scope="module")
def train(demo, folder, settings):
    """Trains on the demo's images, which are served again."""
    with serve(folder / "s3") as server:
        credentials = folder / "again.yaml"
        server.write_credentials(credentials)
        same = set_all(*settings, f"data.credentials={credentials}")

        def run(name, *script, more=()):
            results = folder / name
            done = run_script(
                *(*script, "--config", CONFIG, *same, *set_all(*more)),
                *("--results", results),
                scratch=folder / "scratch",
            )
            assert done.returncode == 0, done.stderr
            (results / "output.txt").write_text(done.stdout + done.stderr)
            return read_record(results)

        run.same = same
        run.config = load_config(CONFIG, same[1::2])
        yield run


@pytest.fixture(scope="module")
def sequential(demo_records):
    return demo_records[0]


@pytest.fixture(scope="module")
def gpu(train):
    """On staged images."""
    staged = "data.staged=s3://nih-demo/staged/"
    done = run_script(
        *("experiments/stage.py", "--config", CONFIG, *train.same, *set_all(staged))
    )
    assert done.returncode == 0, done.stderr
    assert f"{IMAGES - 1} images at 32x32 in 1 parquet shards" in done.stdout
    return train("gpu", "experiments/benchmarks/peers/gpu_stand_in.py", more=(staged,))


@pytest.fixture(scope="module")
def elephas(demo_records):
    return demo_records[-1]


@pytest.fixture(scope="module")
def stock(train, folder):
    """On images in a folder, without keys to anything."""
    root = folder / "s3" / "nih-demo"
    more = (
        "runner.engine=stock",
        "runner.workers=2",
        f"data.images={root / 'images'}",
        f"data.labels={root / 'Data_Entry_2017_v2020.csv'}",
        "data.credentials=null",
    )
    return train("stock", "experiments/elephas_spark.py", more=more)


def test_demo_leaves_records_and_report(demo, demo_records, folder):
    runs = [(r.runner, r.workers, r.status) for r in demo_records]
    assert runs == [
        ("sequential", 1, "success"),
        ("gpu", 1, "failed"),
        ("elephas", 1, "success"),
        ("elephas", 2, "success"),
    ]
    assert len({r.work_id for r in demo_records if r.status == "success"}) == 1
    assert (folder / "demo" / "report" / "report.html").stat().st_size > 10_000


def test_one_resident_worker_is_the_sequential_runner(demo_records):
    """Dropout and all: the demo's network has some."""
    one, other = demo_records[0], demo_records[2]
    assert one.config["model"]["dropout"] > 0
    losses, others = ([e.loss for e in run.epochs] for run in (one, other))
    # In a MobileNet a last bit of the weights moves the next epoch's loss by 0.2%.
    assert losses == pytest.approx(others, rel=1e-12)
    assert one.scores.macro_auc == other.scores.macro_auc


def test_gpu_without_a_gpu_is_refused(demo, demo_records):
    assert "gpu: skipped" in demo.stdout  # which is exit code 3
    assert_one_line(demo.stderr, "No GPU", "make gpu")
    record = demo_records[1]
    assert (record.status, record.scores) == ("failed", None)
    assert "No GPU" in record.error


def test_a_run_says_how_far_it_is_and_java_says_nothing(demo):
    lines = demo.stderr.splitlines()
    epoch = r"\[\d\d:\d\d\] epoch [12]/2: loss [\d.]+, test AUC [\d.]+, [\d.]+ images/s"
    epochs = [line for line in lines if re.match(epoch, line)]
    assert len(epochs) == 3 * 2, lines
    assert sum("left to train" in line for line in epochs) == 3
    assert sum("images to train on are read" in line for line in lines) == 3
    assert sum("] Spark runs on local[" in line for line in lines) == 2
    assert not [line for line in lines if " WARN " in line or "log level" in line]


STOCK = pytest.param("stock", marks=pytest.mark.cluster)


@pytest.mark.parametrize("runner", [*RUNNERS, STOCK])
class TestContract:
    @pytest.fixture
    def record(self, runner, request, demo_records):
        if runner in ("gpu", "stock"):  # which the demo does not train
            return request.getfixturevalue(runner)
        return [record for record in demo_records if record.runner == runner][-1]

    def test_record_is_complete(self, record, runner):
        name = "elephas" if runner == "stock" else runner
        assert (record.status, record.runner) == ("success", name)
        assert record.images.train + record.images.test == IMAGES - 1
        assert record.images_trained == 2 * record.images.train
        assert record.images_per_second.overall > 0
        assert record.images_per_second.steady > 0
        assert record.driver_peak_memory_bytes > 2**26
        assert record.machine["cpu_model"]
        assert record.packages["keras"]
        assert (record.resumed, record.retries) == ([], [])
        if runner != "stock":
            assert 0 < record.first_step_seconds < record.epochs[0].elapsed_seconds
        assert record.git["commit"]

    def test_phases_add_up(self, record):
        phases = record.phases.model_dump()
        total = phases.pop("total")
        assert min(phases.values()) > 0
        assert 0.8 * total < sum(phases.values()) <= total

    def test_epochs_carry_loss_auc_and_time(self, record):
        assert [epoch.epoch for epoch in record.epochs] == [1, 2]
        for epoch in record.epochs:
            assert 0 < epoch.loss < 5
            assert 0 <= epoch.auc_macro <= 1
        assert record.epochs[0].elapsed_seconds < record.epochs[1].elapsed_seconds
        assert record.epochs[1].auc_macro == pytest.approx(
            record.scores.macro_auc.value
        )

    def test_every_finding_has_a_row(self, record):
        assert len(record.scores.findings) == 15
        for finding in record.scores.findings.values():
            assert finding.positives + finding.negatives == record.images.test

    def test_groups_of_patients_are_scored_apart(self, record):
        groups = record.scores.subgroups
        assert [(one.column, one.condition) for one in groups] == [
            ("Patient Gender", "F"),
            ("Patient Gender", "M"),
        ]
        assert sum(one.images for one in groups) == record.images.test
        for name, whole in record.scores.findings.items():
            counts = [one.findings[name].positives for one in groups]
            assert sum(counts) == whole.positives

    def test_calibration_is_measured_and_without_validation_nothing_chosen(
        self, record
    ):
        calibration = record.calibration
        assert list(calibration.findings) == list(record.scores.findings)
        assert 0 < calibration.macro_brier.value < 1
        assert calibration.thresholds() is None
        for finding in calibration.findings.values():
            images = sum(each.images for each in finding.reliability)
            assert images == (record.images.test if finding.brier.value else 0)

    def test_one_unreadable_image_is_counted(self, record, runner, broken, folder):
        assert [image["image"] for image in record.images.skipped] == [broken]
        place = runner if (folder / runner).exists() else "demo"
        output = (folder / place / "output.txt").read_text()
        assert f"1 of {IMAGES} images skipped" in output

    def test_saved_model_scores_as_recorded(self, record, train):
        model, info = load_model(record.models["last"].path)
        assert info.model_id == record.models["last"].model_id
        assert (info.run_id, info.epoch) == (record.run_id, 2)
        assert info.appearance.train_images == record.images.train
        assert info.appearance.test_images == record.images.test
        assert info.scores == record.scores
        test, pixels = held_out(train.config)
        beyond = info.appearance.unlike(pixels) > 1
        assert beyond.sum() == 1  # of so few, that which is farthest
        scores = model.predict(pixels, verbose=0)
        # Batches and threads differ, and so do the last digits. After two epochs that
        # is enough to change ranks, and with them the AUC; it moves no Brier score.
        for column, name in enumerate(FINDINGS):
            brier = record.calibration.findings[name].brier.value
            if brier is not None:
                found = ((scores[:, column] - test.labels[:, column]) ** 2).mean()
                assert found == pytest.approx(brier, abs=1e-4)

    def test_events_are_written(self, record):
        (file,) = Path(record.tensorboard).iterdir()
        content = file.read_bytes()
        for tag in (b"epoch/loss", b"epoch/auc_macro"):
            assert content.count(tag) == 2
        for tag in (b"auc/Pneumonia", b"phases/fit_seconds", b"phases/total_seconds"):
            assert content.count(tag) == 1


@pytest.mark.parametrize("other", ["gpu", "elephas", STOCK])
def test_runners_do_the_same_work_from_the_same_weights(sequential, other, request):
    other = request.getfixturevalue(other)
    assert not work_differences(sequential.work, other.work)
    assert other.work_id == sequential.work_id
    assert other.initial_weights == sequential.initial_weights


def test_local_runners_end_alike_from_raw_and_staged_images(sequential, gpu):
    # They differ in device set-up only; here both are one thread.
    for one, other in zip(sequential.epochs, gpu.epochs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.auc_macro == pytest.approx(other.auc_macro, abs=1e-3)


def test_gpu_tells_how_long_it_waited_for_images(sequential, gpu):
    assert gpu.machine["gpu"] == "stand-in"
    assert all(0 < epoch.data_wait_fraction < 1 for epoch in gpu.epochs)
    assert {epoch.data_wait_fraction for epoch in sequential.epochs} == {None}


def test_sequential_is_one_thread(sequential):
    assert sequential.cpu_seconds["fit"] <= 1.05 * sequential.phases.fit
    assert (sequential.workers, sequential.threads_per_worker) == (1, 1)


@pytest.mark.parametrize("engine", ["elephas", STOCK])
def test_elephas_reports_its_workers(engine, request):
    elephas = request.getfixturevalue(engine)
    assert elephas.engine == ("resident" if engine == "elephas" else "stock")
    assert [worker.worker for worker in elephas.per_worker] == [0, 1]
    assert sum(w.images for w in elephas.per_worker) == elephas.images.train
    assert elephas.global_batch_size == 16
    assert (elephas.mode, elephas.workers) == ("synchronous", 2)


def test_resident_run_records_its_exchange(elephas):
    assert elephas.exchange["rounds"] == 2
    assert elephas.exchange["attempts"] == 1
    received = elephas.exchange["bytes_received"]  # one mean a round, of two workers
    assert elephas.exchange["bytes_between_workers"] == 2 * received > 0
    assert elephas.epochs[0].sync_gap_seconds is None
    assert elephas.epochs[1].sync_gap_seconds >= 0
    assert len(elephas.epochs[0].worker_seconds) == 2


@pytest.mark.parametrize("engine", ["elephas", STOCK])
def test_no_secret_in_event_log_output_or_record(engine, request, folder):
    request.getfixturevalue(engine)
    places = ["events/*", "demo/*.*" if engine == "elephas" else "stock/*.*"]
    secrets = [
        yaml.safe_load(file.read_text())["aws_secret_key_id"].encode()
        for file in (folder / "credentials.yaml", folder / "again.yaml")
        if file.exists()
    ]
    files = [file for place in places for file in folder.glob(place)]
    assert secrets
    assert len(files) >= (7 if engine == "elephas" else 5)
    for file in files:
        assert not any(secret in file.read_bytes() for secret in secrets)


@pytest.mark.parametrize("engine", ["gpu", STOCK])
def test_a_run_leaves_no_temporary_file(engine, request, folder):
    request.getfixturevalue(engine)
    assert_becomes_empty(folder / "scratch")


@pytest.mark.parametrize(
    ("script", "sign"),
    [("sequential", b"epoch 3/"), ("elephas_spark", b"epoch 2/")],
)
def test_interrupt_leaves_an_aborted_record(bucket, tmp_path, script, sign):
    scratch = tmp_path / "scratch"
    config = bucket.write_config(
        tmp_path / "run.yaml", training={"epochs": 10_000}, runner={"workers": 1}
    )
    process = subprocess.Popen(
        [
            *(sys.executable, f"experiments/{script}.py", "--config", str(config)),
            *("--results", str(tmp_path)),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | scratch_environment(scratch),
    )
    read = b""
    while sign not in read:
        chunk = os.read(process.stderr.fileno(), 4096)
        assert chunk, read
        read += chunk
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=90)
    assert process.returncode == 130, rest
    assert b"Traceback" not in rest
    record = read_record(tmp_path)
    assert record.status == "aborted"
    assert len(record.epochs) >= 2
    assert_becomes_empty(scratch)


@pytest.mark.cluster
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_while_java_starts_leaves_a_record_and_no_java(
    bucket, tmp_path, number
):
    """Java would stay for good if its port was not taken from it."""
    config = bucket.write_config(tmp_path / "run.yaml", runner={"workers": 1})
    command = ["experiments/elephas_spark.py", "--config", config, "--results"]
    process = subprocess.Popen(
        [sys.executable, *map(str, command), str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | scratch_environment(tmp_path / "scratch"),
    )
    java = None
    while java is None:  # as spark-class, a shell, before it is Java
        assert process.poll() is None
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has ended
                java = child if "pyspark-shell" in child.cmdline() else java
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    assert "Traceback" not in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert read_record(tmp_path).status == "aborted"
    java.wait(20)


def test_a_program_of_nohup_does_not_end_with_its_terminal():
    code = "from xray.common.processes import interrupt_on_termination as i; i(); "
    code += "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('lives')"
    done = subprocess.run(
        ["nohup", sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "lives\n"
