"""Which module imports which, read from the source: lazy and typing imports too."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("xray", "experiments", "emr")


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name; a package by its own."""
    paths = (path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
    return {module_name(path.relative_to(ROOT)): path for path in paths}


def module_name(path: Path) -> str:
    """The dotted name of a file, whose path starts at the repository's root."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of the project that `module` imports, wherever in its text."""
    names = imported_names(modules()[module].read_text(encoding="utf-8"))
    return frozenset(found for name in names if (found := _ours(name)))


def imported_names(source: str) -> Iterator[str]:
    """What a source text imports: `a.b` for `import a.b`, `a.b.c` for one of a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"write the whole name of {node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def closure(starts: Iterable[str]) -> set[str]:
    """The modules `starts`, what they import and so on, with the packages above."""
    found: set[str] = set()
    waiting = set(starts)
    while waiting:
        module = waiting.pop()
        found.add(module)
        above = {module.rpartition(".")[0]} - {""}
        waiting |= (imports(module) | above) - found
    return found


def _ours(name: str) -> str | None:
    """The longest beginning of a dotted name that is a module of the project."""
    parts = name.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((head for head in heads if head in modules()), None)
