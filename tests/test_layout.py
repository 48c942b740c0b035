"""The rooms of the house: what each package may import, and what goes with it."""

import configparser
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.layout import CODE, ROOT, imported_names, imports, modules


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
