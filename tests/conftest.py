"""Shared parts: a small data set in NIH's format, a real S3 server, a Spark context."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import yaml

from tests.faulty_s3 import FaultyS3
from xray.config.run import RunConfig, RunnerConfig
from xray.data.dataset import Subset, find_dataset
from xray.data.reader import ImageReader
from xray.local.s3 import S3Server, serve
from xray.local.synthetic import generate
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage

pytest.register_assert_rewrite("tests.emr.account")

IMAGES, SIZE = 160, 64
ROOT = Path(__file__).resolve().parent.parent

# Before anything imports TensorFlow in this process.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A dead S3 is waited for so long; tests of the patience itself set their own.
os.environ.setdefault("XRAY_S3_PATIENCE_SECONDS", "1")
# Spark's Java processes live for seconds here: compiling them well takes longer than it
# saves. `java-opts` in this folder is for all but the one that starts the others.
os.environ.setdefault("SPARK_CONF_DIR", str(ROOT / "tests" / "spark_conf"))
JAVA_OPTIONS = (ROOT / "tests" / "spark_conf" / "java-opts").read_text().strip()
os.environ.setdefault("SPARK_LAUNCHER_OPTS", JAVA_OPTIONS)


def pytest_configure() -> None:
    """Let Ctrl-C reach this process and its children, however it was started.

    What nohup or a job runner starts ignores it, and so would every program under test.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that all processes end at about one time.

    They are those whose tests may take longer than others, then those with slow tests.
    """
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker("slow")
    marked = {
        name: {item.path for item in items if item.get_closest_marker(name)}
        for name in ("timeout", "slow")
    }
    items.sort(key=lambda item: [item.path not in files for files in marked.values()])


def require(what: str, reason: str) -> NoReturn:
    """Skip the test for want of something, or fail where it is known to be there.

    Args:
        what: browser, hosts, ...; XRAY_TESTS_REQUIRE names some, with commas between.
        reason: in words.
    """
    message = f"no {what}: {reason}"
    if what in os.environ.get("XRAY_TESTS_REQUIRE", "").split(","):
        pytest.fail(f"{message}, but XRAY_TESTS_REQUIRE names it", pytrace=False)
    pytest.skip(message)


@dataclass(frozen=True)
class Bucket:
    """A served bucket `nih` with images/ and a label file, and its credentials."""

    server: S3Server
    folder: Path
    credentials: Path

    def settings(self, **sections: dict) -> dict:
        """A small, valid configuration; keyword arguments override its sections."""
        settings = {
            "data": {
                "images": "s3://nih/images/",
                "labels": "s3://nih/Data_Entry_2017_v2020.csv",
                "credentials": str(self.credentials),
                "image_size": 32,
                "min_train_positives": 0,
            },
            "model": {
                "backbone": "Tiny",
                "head_units": [8],
                "pooling": "avg",
                "batch_norm_momentum": 0.9,
            },
            "training": {
                "epochs": 2,
                "batch_size": 8,
                "optimizer": "adam",
                "learning_rate": 0.001,
            },
        }
        for name, section in sections.items():
            settings[name] = {**settings.get(name, {}), **section}
        return settings

    def config(self, **sections: dict) -> RunConfig:
        """`settings`, validated."""
        return RunConfig.model_validate(self.settings(**sections))

    def write_config(self, path: Path, **sections: dict) -> Path:
        """`settings` as a YAML file."""
        path.write_text(yaml.safe_dump(self.settings(**sections)))
        return path


@pytest.fixture(scope="session")
def bucket(tmp_path_factory) -> Bucket:
    """160 images of 64x64 pixels with labels, behind a real S3 server; read only."""
    root = tmp_path_factory.mktemp("s3")
    generate(root / "nih", images=IMAGES, size=SIZE)
    with serve(root) as server:
        credentials = root / "credentials.yaml"
        server.write_credentials(credentials)
        yield Bucket(server, root / "nih", credentials)


@pytest.fixture
def own_bucket(tmp_path) -> Bucket:
    """An empty bucket `nih` on a server of its own, for a test to fill."""
    (tmp_path / "s3" / "nih").mkdir(parents=True)
    with serve(tmp_path / "s3") as server:
        credentials = tmp_path / "credentials.yaml"
        server.write_credentials(credentials)
        yield Bucket(server, tmp_path / "s3" / "nih", credentials)


@pytest.fixture(scope="session")
def hadoop(tmp_path_factory):
    """A folder with Hadoop's jars."""
    if not shutil.which("mvn"):
        require("yarn", "Maven, which fetches Hadoop, is not installed")
    folder = tmp_path_factory.mktemp("hadoop")
    fetched = subprocess.run(
        ["mvn", "-q", "-B", "-f", "tests/yarn/pom.xml", "-DincludeScope=runtime"]
        + ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if fetched.returncode:
        require("yarn", f"Maven cannot fetch Hadoop: {fetched.stdout[-300:]}")
    return folder


@pytest.fixture
def faulty(bucket, tmp_path, monkeypatch) -> tuple[FaultyS3, Bucket]:
    """A proxy before `bucket`, and that bucket through it, with 30 s of patience."""
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "30")
    with FaultyS3(bucket.server.endpoint_url) as proxy:
        server = dataclasses.replace(bucket.server, endpoint_url=proxy.endpoint_url)
        credentials = tmp_path / "faulty.yaml"
        server.write_credentials(credentials)
        yield proxy, Bucket(server, bucket.folder, credentials)


@pytest.fixture(scope="session")
def cluster():
    """Two single-thread Spark workers in this machine's own local mode."""
    from xray.spark.cluster import start_cluster

    # As the stock engine needs it, which serves the resident one as well.
    cluster = start_cluster(RunnerConfig(workers=2, engine="stock"))
    yield cluster
    cluster.stop()


def held_out(config: RunConfig) -> tuple[Subset, np.ndarray]:
    """The readable test images of a configuration, and their pixels."""
    access = load_access(config.data.credentials, config.data.endpoint_url)
    test = find_dataset(config.data, Storage(access)).test
    pixels, good, _ = ImageReader.of(config.data, access).load(test.uris, test.etags)
    return test.take(good), pixels[:]


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> Path:
    """An untrained model of 32x32 pixels as a .keras file with its sidecar."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    data = {"images": "s3://nih/images/", "labels": "s3://nih/labels.csv"}
    save_untrained_model(path, {**data, "image_size": 32}, {"Mass": {"youden": 0.25}})
    return path.with_suffix(".keras")


def save_untrained_model(
    path: Path, data: dict, thresholds: dict[str, dict[str, float]] | None = None
) -> None:
    """Save a tiny model of such data under `path`, without a suffix."""
    from tests.factories import make_record
    from xray.model.network import build_model
    from xray.model.saved import save_model
    from xray.model.sidecar import ModelInfo

    model = {"backbone": "Tiny", "head_units": [8], "pooling": "avg"}
    config = RunConfig.model_validate({"data": data, "model": model})
    info = ModelInfo.of_run(make_record(config=config.to_dict()), "last", 2, True)
    info = info.model_copy(update={"thresholds": thresholds})
    save_model(build_model(config), info, path)


@pytest.fixture
def small_disk(tmp_path):
    """A folder with a disk of its own, of four MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={4 * 2**20}", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"there is no mount: {error}")
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), open(folder / "fill", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def run_script(
    *arguments: object, timeout: float = 300, scratch: Path | None = None
) -> subprocess.CompletedProcess:
    """One of the project's scripts in a process of its own, from the repository.

    Args:
        arguments: of Python.
        timeout: in seconds.
        scratch: for its temporary files, in place of the system's folder.
    """
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | (scratch_environment(scratch) if scratch else {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def scratch_environment(folder: Path) -> dict[str, str]:
    """Lets a program keep its own and Spark's temporary files in `folder`."""
    folder.mkdir(exist_ok=True)
    return {"TMPDIR": str(folder), "SPARK_LOCAL_DIRS": str(folder)}


def assert_becomes_empty(folder: Path) -> None:
    """Nothing is left there; Spark's Java ends shortly after the program does."""
    deadline = time.monotonic() + 30
    while any(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(folder.iterdir()) == []


def assert_one_line(error: str, *parts: str) -> None:
    """An error as a user gets it: one line, no traceback, every part in it."""
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, error
    assert "Traceback" not in error
    for part in parts:
        assert part in lines[0]
