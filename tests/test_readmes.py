"""What the READMEs name is there: links, files, modules, commands and their options."""

import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
LISTED = subprocess.check_output(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    text=True,
).splitlines()
PAGES = [
    name
    for name in LISTED
    if Path(name).name in ("README.md", "CONTRIBUTING.md") and (ROOT / name).exists()
]
FRONT_PAGE_LINES = 150

# A file of the repository, from its top: experiments/stage.py; <name> and * match any.
PATH = re.compile(
    r"(?<![\w./:@-])(?:xray|experiments|emr|tests|results|\.ci)/[\w.*/<>-]*"
)
# A file by its name alone: stage.py, demo.yaml, requirements.lock.
NAME = re.compile(r"(?<![\w./<>*:-])\.?[\w-]+\.(?:py|yaml|sh|lock|cfg|toml)(?![\w/*])")
MADE_BY_RUNS = (
    *("results/demo/", "results/gpu/", "results/rehearsal/", "results/report/"),
    "results/spark_ml/",
)
OF_THE_READER = {"my.yaml", "my-cluster.yaml", "credentials.yaml"}

MODULE = re.compile(r"(?<![\w./-])(?:xray|emr|experiments)(?:\.\w+)+")
IMPORT = re.compile(r"from ((?:xray|emr|experiments)[\w.]*) import (.+)")
COMMAND = re.compile(
    r"python -m (?P<module>(?:xray|emr)(?:\.\w+)+)(?P<sub> [a-z]+)?"
    r"|python (?P<script>experiments/[\w/]+\.py)"
    r"|spark-submit (?:.*?)(?P<submitted>experiments/[\w/]+\.py)"
    r"|(?P<shell>emr/\w+\.sh)"
    r"|make (?P<target>\w+)"
)
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
WITH_SUB_COMMANDS = "emr.launch"


@cache
def tokens(page: str) -> list[Token]:
    """Every token of a page, those inside paragraphs and tables too."""
    parsed = MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text())
    return [inner for token in parsed for inner in (token, *(token.children or ()))]


def links(page: str) -> list[str]:
    """Where its links and images point, but for other sites."""
    found = [token.attrGet("href") or token.attrGet("src") for token in tokens(page)]
    return [target for target in found if target and "://" not in target]


def anchors(page: str) -> set[str]:
    """Its headings as GitHub makes anchors of them."""
    pairs = zip(tokens(page), tokens(page)[1:], strict=False)
    titles = [inner.content for token, inner in pairs if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def code(page: str) -> list[str]:
    """Its lines of code, blocks and words in backticks; long lines are joined."""
    kinds = ("code_block", "fence", "code_inline")
    texts = [token.content for token in tokens(page) if token.type in kinds]
    return [
        line for text in texts for line in re.sub(r"\\\n\s*", " ", text).splitlines()
    ]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    wrong = [target for target in links(page) if not leads_somewhere(page, target)]
    assert not wrong, " ".join(wrong)


def leads_somewhere(page: str, target: str) -> bool:
    place, _, anchor = target.partition("#")
    path = (ROOT / page).parent / place if place else ROOT / page
    if not path.exists():
        return False
    return not anchor or anchor in anchors(str(path.resolve().relative_to(ROOT)))


@pytest.mark.parametrize("page", PAGES)
def test_files_are_there(page):
    named = [name.rstrip(".") for line in code(page) for name in PATH.findall(line)]
    wrong = [name for name in named if not is_there(name)]
    known = {Path(name).name for name in LISTED} | OF_THE_READER
    alone = {name for line in code(page) for name in NAME.findall(line)}
    assert not wrong and alone <= known, " ".join([*wrong, *(alone - known)])


def is_there(name: str) -> bool:
    """Whether a file has this name, or a run makes one."""
    made = f"{name}/".startswith(MADE_BY_RUNS)
    return made or any(ROOT.glob(re.sub(r"<\w+>", "*", name)))


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_names_can_be_imported(page):
    lines = code(page)
    named = {name for line in lines for name in MODULE.findall(line)}
    for module, names in (found for line in lines for found in IMPORT.findall(line)):
        named |= {f"{module}:{name.strip()}" for name in names.split(",")}
    wrong = [name for name in sorted(named) if not can_be_imported(name)]
    assert not wrong, " ".join(wrong)


def can_be_imported(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def commands(page: str) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Each command that it shows, and the options shown with it."""
    for line in code(page):
        line = re.sub(r"(^|\s)#.*", "", line)
        matches = list(COMMAND.finditer(line))
        for match, following in zip_longest(matches, matches[1:]):
            end = following.start() if following else len(line)
            own = re.split(r"\s--\s", line[match.end() : end])[0]
            yield arguments_of(match), set(OPTION.findall(own))


def arguments_of(match: re.Match[str]) -> tuple[str, ...]:
    found = match.groupdict()
    if found["target"]:
        return ("make", found["target"])
    if found["shell"]:
        return ("bash", found["shell"])
    if script := found["script"] or found["submitted"]:
        return (sys.executable, script)
    sub = found["sub"] if found["module"] == WITH_SUB_COMMANDS else None
    return (sys.executable, "-m", found["module"], *(sub or "").split())


def shown_commands() -> dict[tuple[str, ...], set[str]]:
    """Every command of all pages with all options shown with it."""
    together: dict[tuple[str, ...], set[str]] = {}
    for command, options in (found for page in PAGES for found in commands(page)):
        together.setdefault(command, set()).update(options)
    return together


def test_make_has_the_targets():
    makefile = (ROOT / "Makefile").read_text()
    targets = {command[1] for command in shown_commands() if command[0] == "make"}
    assert {"demo", "test"} <= targets <= set(re.findall(r"^(\w+):", makefile, re.M))


@pytest.mark.slow
def test_commands_answer_help_and_know_their_options():
    programs = {c: o for c, o in shown_commands().items() if c[0] != "make"}
    assert len(programs) > 25
    with ThreadPoolExecutor(2) as pool:
        wrong = list(pool.map(what_is_wrong, programs, programs.values()))
    assert not any(wrong), "".join(wrong)


def what_is_wrong(command: tuple[str, ...], options: set[str]) -> str:
    """What keeps a reader from using the command as it is shown; empty if nothing."""
    done = subprocess.run(
        [*command, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    text, program = done.stdout + done.stderr, " ".join(command[1:])
    # The shell scripts take no options of their own: they say how they are used.
    asked = 2 if command[0] == "bash" and text.startswith("usage:") else 0
    if done.returncode != asked:
        return f"{program}: exit code {done.returncode}: {text[-300:]}\n"
    unknown = [o for o in sorted(options) if not re.search(rf"{o}(?![\w-])", text)]
    return f"{program}: no option {', '.join(unknown)}\n" if unknown else ""


def test_front_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= FRONT_PAGE_LINES


def test_every_room_has_a_readme():
    rooms = [file.parent for file in (ROOT / "xray").glob("*/__init__.py")]
    assert rooms
    for page in (room / "README.md" for room in rooms):
        assert page.exists() and page.read_text().strip(), page
