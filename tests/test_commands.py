"""`python -m xray` names every command, in the words of each."""

import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.layout import modules
from tests.test_imports import COMMANDS
from xray.__main__ import list_commands, main


def test_every_command_has_a_line(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sum(".peers." not in name for name in COMMANDS)
    for line in lines:
        typed, _, said = line.partition("  ")
        assert len(said.strip()) > 10, typed


def test_what_is_named_can_be_typed():
    for typed in list_commands(ROOT):
        *_, target = typed.split()
        if typed.startswith("python -m "):
            assert {target, f"{target}.__main__"} & {*modules()}, typed
        else:
            assert (ROOT / target).is_file(), typed


def test_its_version_is_the_packages():
    command = [sys.executable, "-m", "xray", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    (version,) = (
        line.partition("=")[2].strip()
        for line in (ROOT / "setup.cfg").read_text().splitlines()
        if line.startswith("version")
    )
    assert done.stdout == f"xray {version}\n"


def test_setup_says_which_machines_it_is_for(tmp_path):
    """Before anything is installed, on a machine of another kind."""
    for name in ("Makefile", "requirements.lock", "setup.cfg", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    uname = tmp_path / "bin" / "uname"
    uname.parent.mkdir()
    uname.write_text("#!/bin/sh\necho Darwin arm64\n")
    uname.chmod(0o755)
    path = f"{uname.parent}:{os.environ['PATH']}"
    outside = {name: v for name, v in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", "setup"],
        cwd=tmp_path,
        env={**outside, "PATH": path},  # not as a part of the make that runs this
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stdout.splitlines()
    assert line.startswith("requirements.lock is for Linux on x86-64. Got Darwin arm64")
    assert not (tmp_path / ".venv").exists()
