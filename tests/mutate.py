"""Which of the listed mutations of important lines the tests do not notice.

    python -m tests.mutate                   # all of tests/mutations.yaml
    python -m tests.mutate --only AUC --list

Each entry changes one line that a promise rests on, in a copy of this checkout, and
runs the tests that should fail then. One after the other: a timeout counts as noticed,
as mutation testers do. The tests run without a mutation first; where they fail already,
nothing would be shown. Exit code 1 when a mutation survives.

Tools that mutate every operator (mutmut, cosmic-ray) run all tests for each of some
10,000 mutants; with tests that start Spark that takes weeks.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
LISTED = ROOT / "tests" / "mutations.yaml"
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Mutation:
    """One changed line, the promise that rests on it, and the tests to notice it."""

    promise: str
    file: str
    line: str
    becomes: str
    tests: str

    def apply(self, folder: Path) -> str:
        """Change the line; returns the text before. ValueError unless found once."""
        path = folder / self.file
        before = path.read_text()
        if before.count(self.line) != 1:
            found = before.count(self.line)
            raise ValueError(f"{self.file} holds {self.line!r} {found} times, not once")
        path.write_text(before.replace(self.line, self.becomes))
        return before


def listed(path: Path = LISTED) -> list[Mutation]:
    """The mutations of the list, in its order."""
    return [Mutation(**entry) for entry in yaml.safe_load(path.read_text())]


def copy_checkout(folder: Path) -> None:
    """Copy what git tracks or would track, as it stands now, into `folder`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def run_tests(folder: Path, tests: list[str]) -> tuple[bool, str]:
    """Whether the tests pass in the copy, and the last line that pytest printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS * len(tests),
        )
    except subprocess.TimeoutExpired:
        return False, "timed out"
    return done.returncode == 0, (done.stdout.strip().splitlines() or ["no output"])[-1]


def survives(mutation: Mutation, folder: Path) -> bool:
    """Whether the mutation's tests pass in spite of it; prints a line of what came."""
    before, began = mutation.apply(folder), time.monotonic()
    try:
        survived, said = run_tests(folder, mutation.tests.split())
    finally:
        (folder / mutation.file).write_text(before)
    word, seconds = "SURVIVED" if survived else "killed", time.monotonic() - began
    print(f"{word:8} {seconds:5.0f} s  {mutation.promise}: {said}", flush=True)
    return survived


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen mutations: 0 when all were noticed, 1 for survivors, else 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="those with this in promise or file")
    parser.add_argument("--list", action="store_true", help="print them, run nothing")
    options = parser.parse_args(arguments)
    chosen = [m for m in listed() if options.only in f"{m.promise} {m.file}"]
    if not chosen:
        print(f"error: no promise or file holds {options.only!r}", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{m.file}: {m.promise}" for m in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="xray-mutate-") as name:
        copy_checkout(Path(name))
        tests = sorted({test for m in chosen for test in m.tests.split()})
        passed, said = run_tests(Path(name), tests)
        if not passed:
            print(f"error: the tests fail without a mutation: {said}", file=sys.stderr)
            return 2
        survivors = [m for m in chosen if survives(m, Path(name))]
    print(f"{len(survivors)} of {len(chosen)} mutations survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
