"""The import boundary: no module brings a framework before it is used."""

import json
import subprocess
import sys

from tests.layout import CODE, modules

HEAVY = {"tensorflow", "keras", "pyspark", "elephas", "boto3", "jax", "torch"}
IMPORT_ALL = """
import importlib, json, pkgutil, sys
names = []
for root in ("xray", "experiments", "emr"):
    package = importlib.import_module(root)
    names += [m.name for m in pkgutil.walk_packages(package.__path__, root + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "loaded": sorted(sys.modules)}))
"""


def test_no_module_imports_a_framework():
    shown = subprocess.check_output([sys.executable, "-c", IMPORT_ALL], text=True)
    found = json.loads(shown)
    assert {*found["imported"], *CODE} == set(modules())
    assert HEAVY & {name.split(".")[0] for name in found["loaded"]} == set()


def test_package_exports_nothing():
    code = "import xray; print([n for n in vars(xray) if not n.startswith('__')])"
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert shown.strip() == "[]"
