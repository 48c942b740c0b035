"""The import boundary: no module brings a framework before it is used."""

import json
import subprocess
import sys

import pytest

from tests.layout import CODE, modules

HEAVY = {"tensorflow", "keras", "pyspark", "elephas", "boto3", "jax", "torch"}
# Classes whose bases are PySpark's; xray.spark.ml.stages imports it when one is used.
EXCEPTION = "xray.spark.ml.classes"
IMPORT_ALL = """
import importlib, json, pkgutil, sys
names = []
for root in ("xray", "experiments", "emr"):
    package = importlib.import_module(root)
    names += [m.name for m in pkgutil.walk_packages(package.__path__, root + ".")]
names = [name for name in names if name not in sys.argv[1:]]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "loaded": sorted(sys.modules)}))
"""


def test_no_other_module_imports_a_framework():
    command = [sys.executable, "-c", IMPORT_ALL, EXCEPTION]
    found = json.loads(subprocess.check_output(command, text=True))
    assert {*found["imported"], *CODE, EXCEPTION} == set(modules())
    assert EXCEPTION not in {*found["imported"], *found["loaded"]}
    assert HEAVY & {name.split(".")[0] for name in found["loaded"]} == set()


# What takes a second or more to import, and no --help needs.
SLOW = {*HEAVY, "pandas", "sklearn", "scipy", "pyarrow", "matplotlib"}
MAIN = 'if __name__ == "__main__":'
COMMANDS = sorted(n for n, path in modules().items() if MAIN in path.read_text())
ASK_HELP = """
import json, runpy, sys
module, sys.argv[1:] = sys.argv[1], ["--help"]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""


def test_commands_are_found():
    assert {"experiments.gpu", "emr.launch", "xray.webapp.__main__"} < {*COMMANDS}


@pytest.mark.parametrize("module", COMMANDS)
def test_help_imports_nothing_slow(module):
    command = [sys.executable, "-c", ASK_HELP, module]
    *shown, loaded = subprocess.check_output(command, text=True).splitlines()
    assert any(line.startswith("usage:") for line in shown)
    assert SLOW & {name.split(".")[0] for name in json.loads(loaded)} == set()


def test_package_exports_nothing():
    code = "import xray; print([n for n in vars(xray) if not n.startswith('__')])"
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert shown.strip() == "[]"
