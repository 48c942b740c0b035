"""Notebooks, cell by cell, in a process of their own."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from xray.common.java import find_java_home
from xray.local.synthetic import generate
from xray.records.reading import read_records

pytestmark = pytest.mark.slow

NOTEBOOKS = ROOT / "experiments" / "notebooks"
SESSION = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[2]").appName("theirs").getOrCreate()
"""
STAYS = """
assert spark.sparkContext.appName == "theirs"
assert spark.range(3).count() == 3
assert scored.where("found.status = 'ok'").count() == 8
"""


def cells(name: str) -> list[str]:
    content = json.loads((NOTEBOOKS / name).read_text())
    assert not any(cell.get("outputs") for cell in content["cells"])
    return [
        "".join(cell["source"])
        for cell in content["cells"]
        if cell["cell_type"] == "code"
    ]


def test_from_a_folder_to_a_report_in_a_session_that_is_there(tmp_path):
    generate(tmp_path / "nih", 60, size=64)
    script = "\n\n".join([SESSION, *cells("folder_to_report.ipynb"), STAYS])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAVA_HOME": find_java_home(),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ok|") == 8, done.stdout
    (record,), left_out = read_records(tmp_path / "notebook" / "results")
    assert not left_out
    assert (record.status, record.workers, len(record.epochs)) == ("success", 2, 2)
    assert record.source.store == "a folder"
    assert (tmp_path / "notebook" / "report" / "report.html").is_file()
    assert (tmp_path / record.models["last"].path).is_file()
