"""The rooms of the house: what each package may import, and what goes with it."""

import ast
import configparser
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.layout import CODE, ROOT, imported_names, imports, modules

# Lowest first: what each package of xray/ may import besides itself. The folders emr/
# and experiments/ may import everything, and are imported by no package.
LOWEST = {"common", "config"}
DATA = LOWEST | {"storage", "records"}
TRAINING = DATA | {"data", "model"}
TABLE = {
    "common": set(),
    "local": {"common"},
    "config": {"common"},
    "storage": LOWEST,
    "records": LOWEST,
    "report": LOWEST | {"records"},
    "data": DATA,
    "model": DATA | {"data"},
    "training": TRAINING,
    "spark": TRAINING | {"training"},
    "inference": TRAINING | {"spark"},
    "runners": TRAINING | {"training", "spark"},
    "webapp": LOWEST | {"local", "storage", "data", "model"},
}
# Modules at the top of xray/: commands, and names that others have written down.
DOORS = {
    "__main__",
    "doctor",
    "java",
    "local_cluster",
    "local_s3",
    "local_yarn",
    "saved_model",
    "spark_ml",
}


def room(module: str) -> str:
    """The part of a module's name below xray, or its first part elsewhere."""
    top, _, below = module.partition(".")
    return below.partition(".")[0] if top == "xray" else top


def test_the_table_holds_every_package_and_every_door():
    rooms = {room(name) for name in modules() if name.startswith("xray.")}
    assert rooms == {*TABLE, *DOORS}


@pytest.mark.parametrize("package", TABLE)
def test_a_package_imports_what_the_table_allows(package):
    inside = [name for name in modules() if name.startswith(f"xray.{package}")]
    wrong = [
        f"{name} imports {found}"
        for name in inside
        if room(name) == package
        for found in imports(name)
        if found != "xray" and room(found) not in {package, *TABLE[package]}
    ]
    assert wrong == []


def test_the_readme_shows_these_packages_in_this_order():
    rows = (ROOT / "xray" / "README.md").read_text().splitlines()
    shown = [row.split("[")[1].split("]")[0] for row in rows if row.startswith("| [")]
    assert shown == [*TABLE]


def test_no_package_is_lower_than_what_it_imports():
    order = [*TABLE]
    for package, allowed in TABLE.items():
        assert all(order.index(one) < order.index(package) for one in allowed)


def test_a_package_says_what_it_is_for_and_exports_nothing():
    for package in TABLE:
        tree = ast.parse(modules()[f"xray.{package}"].read_text())
        assert ast.get_docstring(tree)
        assert len(tree.body) == 1


def test_no_circle():
    graph = {name: imports(name) - {"xray"} for name in modules()}
    order = [*TopologicalSorter(graph).static_order()]  # raises on a circle
    assert len(order) == len(modules())


def test_imports_are_found_wherever_they_stand():
    source = """
import a.b
if TYPE_CHECKING:
    from c import d
def f():
    from e.f import g as h
"""
    assert [*imported_names(source)] == ["a.b", "c.d", "e.f.g"]


def test_no_two_classes_share_a_name():
    found = [
        node.name
        for name, path in modules().items()
        if name.startswith("xray.")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name, count in Counter(found).items() if count > 1] == []


LINT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]


@pytest.mark.parametrize("pattern", LINT["per-file-ignores"])
def test_a_lint_exception_is_of_a_file_that_is_there(pattern):
    assert any(ROOT.glob(pattern))


def packaged_files() -> set[Path]:
    """What setup.cfg puts beside the modules of a package."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    data = setup["options.package_data"]
    return {
        path
        for package in data
        for pattern in data[package].split()
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }


def test_every_file_that_is_no_module_is_packaged():
    files = (path for folder in CODE for path in (ROOT / folder).rglob("*.*"))
    wanted = {
        path
        for path in files
        if path.suffix not in (".py", ".pyc", ".md") and path.is_file()
    }
    assert len(wanted) > 20
    assert wanted <= packaged_files()
