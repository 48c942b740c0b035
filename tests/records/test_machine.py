"""What a record tells of the machine."""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil

from tests.conftest import ROOT
from xray.records.machine import (
    describe_machine,
    git_state,
    package_versions,
    peak_memory_bytes,
)


def test_machine_without_its_name():
    machine = describe_machine()
    assert set(machine) == {
        "cpu_model", "cores", "physical_cores", "bfloat16", "memory_bytes", "gpu",
        "nodes", "instance_type", "os",
    }  # fmt: skip
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["memory_bytes"] > 2**28
    assert machine["cpu_model"]
    flags = re.search(r"^flags\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)[1]
    able = any(word in flags.split() for word in ("avx512_bf16", "amx_bf16"))
    assert machine["bfloat16"] is able
    assert platform.node() not in str(machine).split()


def test_versions_are_those_installed():
    versions = package_versions()
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == np.__version__
    assert {"keras", "elephas", "pyspark", "boto3"} <= set(versions)
    assert "tensorflow" in versions or "tensorflow-cpu" in versions


def test_state_of_the_checkout():
    state = git_state()
    assert re.fullmatch("[0-9a-f]{40}", state["commit"])
    assert state["dirty"] in (True, False)


def test_dirty_is_of_the_whole_checkout_but_results(tmp_path):
    """In a checkout that holds nothing but our package, a note and a record."""
    shutil.copytree(ROOT / "xray", tmp_path / "xray")
    (tmp_path / "results").mkdir()
    for name in ("note.txt", "results/run.json"):
        (tmp_path / name).write_text("first")
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)

    def dirty() -> bool:
        code = f"from {git_state.__module__} import git_state; print(git_state())"
        shown = subprocess.check_output(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            text=True,
        )
        return ast.literal_eval(shown)["dirty"]

    assert dirty() is False
    (tmp_path / "results" / "run.json").write_text("second")
    assert dirty() is False
    (tmp_path / "note.txt").write_text("second")
    assert dirty() is True


def test_no_checkout_has_no_state(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    assert git_state() == {"commit": None, "dirty": None}


def test_no_git_has_no_state(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == {"commit": None, "dirty": None}


def test_peak_memory_is_no_less_than_what_is_in_use():
    now = psutil.Process().memory_info().rss
    # Half: the kernel counts both in its own time.
    assert now // 2 < peak_memory_bytes() < psutil.virtual_memory().total


def test_peak_memory_does_not_begin_with_that_of_the_parent():
    code = (
        "from xray.records.machine import peak_memory_bytes; print(peak_memory_bytes())"
    )
    held = bytearray(b"x") * 2**28
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < len(held)
