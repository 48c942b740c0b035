"""Every command of the project, a line each."""

import argparse
import ast
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

from xray.common.command import command

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("xray", "experiments", "emr", "experiments/benchmarks")
MAIN = 'if __name__ == "__main__":'


def list_commands(root: Path) -> dict[str, str]:
    """Each command as it is typed, and the first line of what it says of itself.

    Scripts that lie beside the package are found where it is a checkout's.
    """
    found = {}
    for folder in FOLDERS:
        inside = "**/*.py" if folder == "xray" else "*.py"
        for path in sorted((root / folder).glob(inside)):
            text = path.read_text(encoding="utf-8")
            if MAIN in text:
                said = ast.get_docstring(ast.parse(text)) or ""
                found[_typed(path.relative_to(root))] = said.partition("\n")[0]
    return found


def _typed(path: Path) -> str:
    if path.parts[0] == "experiments":
        return f"python {path}"
    name = ".".join(path.with_suffix("").parts).removesuffix(".__main__")
    return f"python -m {name}"


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the commands; 0."""
    parser = argparse.ArgumentParser(
        prog="python -m xray",
        description="List every command, which all have --help.",
    )
    version = importlib.metadata.version("xray")
    parser.add_argument("--version", action="version", version=f"xray {version}")
    parser.parse_args(arguments)
    commands = list_commands(ROOT)
    width = max(map(len, commands))
    for typed, said in commands.items():
        print(f"{typed:{width}}  {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
