"""The contract that all runners keep, each run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, assert_one_line, run_script
from xray.record import RunRecord, work_differences

pytestmark = pytest.mark.slow

# The gpu runner with the device replaced, so that everything behind it is tested.
GPU_WITHOUT_GPU = """
import sys
from experiments import gpu
from xray import devices
from xray.cli import main
devices.find_gpus = lambda backend: [devices.Gpu("stand-in", "gpu:0", (8, 0))]
sys.exit(main("gpu", gpu.run, "test"))
"""


def read_record(folder: Path) -> RunRecord:
    (path,) = folder.glob("*.json")
    return RunRecord.model_validate_json(path.read_bytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def config(bucket, folder):
    """Two epochs, each scored."""
    training = {"evaluate_every_epoch": True}
    return bucket.write_config(folder / "run.yaml", training=training)


@pytest.fixture(scope="module")
def sequential(config, folder):
    results = folder / "sequential"
    done = run_script(
        "experiments/sequential.py", "--config", config, "--results", results
    )
    assert done.returncode == 0, done.stderr
    return read_record(results)


@pytest.fixture(scope="module")
def gpu(config, folder):
    results = folder / "gpu"
    done = run_script("-c", GPU_WITHOUT_GPU, "--config", config, "--results", results)
    assert done.returncode == 0, done.stderr
    return read_record(results)


@pytest.fixture(scope="module")
def elephas(config, folder):
    """With Spark's event log on, so that a test can search it."""
    events = folder / "events"
    events.mkdir()
    spark_conf = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": str(events)}
    setting = f"runner.spark_conf={json.dumps(spark_conf)}"
    return run_elephas(config, folder / "elephas", setting)


@pytest.fixture(scope="module")
def stock(config, folder):
    return run_elephas(config, folder / "stock", "runner.engine=stock")


def run_elephas(config, results, setting):
    done = run_script(
        *("experiments/elephas_spark.py", "--config", config, "--results", results),
        *("--set", "runner.workers=2", "--set", setting),
    )
    assert done.returncode == 0, done.stderr
    (results / "output.txt").write_text(done.stdout + done.stderr)
    return read_record(results)


@pytest.mark.parametrize("runner", ["sequential", "gpu", "elephas", "stock"])
class TestContract:
    @pytest.fixture
    def record(self, runner, request):
        return request.getfixturevalue(runner)

    def test_record_is_complete(self, record, runner):
        name = "elephas" if runner == "stock" else runner
        assert (record.status, record.runner) == ("success", name)
        assert record.images.train + record.images.test == 160
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


def test_runners_do_the_same_work_from_the_same_weights(
    sequential, gpu, elephas, stock
):
    for other in (gpu, elephas, stock):
        assert not work_differences(sequential.work, other.work)
        assert other.work_id == sequential.work_id
        assert other.initial_weights == sequential.initial_weights


def test_local_runners_end_with_the_same_scores(sequential, gpu):
    # They differ in device set-up only; here both are CPUs.
    assert gpu.epochs[0].loss == pytest.approx(sequential.epochs[0].loss, rel=0.05)


def test_gpu_tells_how_long_it_waited_for_images(sequential, gpu):
    assert gpu.machine["gpu"] == "stand-in"
    assert all(0 < epoch.data_wait_fraction < 1 for epoch in gpu.epochs)
    assert {epoch.data_wait_fraction for epoch in sequential.epochs} == {None}


def test_sequential_is_one_thread(sequential):
    assert sequential.cpu_seconds["fit"] <= 1.05 * sequential.phases.fit
    assert (sequential.workers, sequential.threads_per_worker) == (1, 1)


@pytest.mark.parametrize("engine", ["elephas", "stock"])
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
    assert elephas.exchange["bytes_received"] == elephas.exchange["bytes_sent"] > 0
    assert elephas.epochs[0].sync_gap_seconds is None
    assert elephas.epochs[1].sync_gap_seconds >= 0
    assert len(elephas.epochs[0].worker_seconds) == 2


def test_no_secret_in_event_log_output_or_record(elephas, bucket, folder):
    secret = yaml.safe_load(bucket.credentials.read_text())["aws_secret_key_id"]
    files = [*folder.glob("events/*"), *folder.glob("elephas/*")]
    assert len(files) >= 3
    for file in files:
        assert secret.encode() not in file.read_bytes()


def test_gpu_without_a_gpu_is_refused(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml")
    done = run_script("experiments/gpu.py", "--config", config, "--results", tmp_path)
    assert done.returncode == 3
    assert_one_line(done.stderr, "No GPU", "make gpu")
    record = read_record(tmp_path)
    assert (record.status, record.scores) == ("failed", None)
    assert "No GPU" in record.error


@pytest.mark.parametrize(
    ("script", "sign"),
    [("sequential", b"epoch 3/"), ("elephas_spark", b"img/s]")],
)
def test_interrupt_leaves_an_aborted_record(bucket, tmp_path, script, sign):
    config = bucket.write_config(
        tmp_path / "run.yaml", training={"epochs": 10_000}, runner={"workers": 2}
    )
    process = subprocess.Popen(
        [
            *(sys.executable, f"experiments/{script}.py", "--config", str(config)),
            *("--results", str(tmp_path)),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
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
    if script == "sequential":
        assert len(record.epochs) >= 2


def test_one_unreadable_image_is_counted(own_bucket, bucket, tmp_path):
    for path in bucket.folder.rglob("*.*"):
        target = own_bucket.folder / path.relative_to(bucket.folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    broken = sorted(own_bucket.folder.glob("images/*.png"))[0]
    broken.write_bytes(broken.read_bytes()[:300])
    config = own_bucket.write_config(
        tmp_path / "run.yaml", training={"epochs": 1}, runner={"workers": 1}
    )
    for script in ("sequential", "elephas_spark"):
        results = tmp_path / script
        done = run_script(
            f"experiments/{script}.py", "--config", config, "--results", results
        )
        assert done.returncode == 0, done.stderr
        assert "1 of 160 images skipped" in done.stderr
        record = read_record(results)
        assert [image["image"] for image in record.images.skipped] == [broken.name]
        assert record.images.train + record.images.test == 159
