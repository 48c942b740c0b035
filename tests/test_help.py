"""What --help prints is the module's text, its commands to be copied whole."""

import ast

import pytest

from tests.conftest import ROOT

SOURCES = sorted(
    path
    for folder in ("xray", "experiments", "emr")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_loses_the_end_of_a_line(path):
    """A backslash there would be swallowed by Python, and the lines run together."""
    text = path.read_text(encoding="utf-8")
    first = ast.parse(text).body[:1]
    if not (first and isinstance(first[0], ast.Expr)):
        return
    source = ast.get_source_segment(text, first[0])
    lines = [line.rstrip("\n") for line in source.splitlines()]
    raw = source.startswith("r")
    for line in lines:
        if line.endswith("\\"):
            assert raw or line.endswith("\\\\"), line
