"""What this machine has, and which runners it can run: looked at, not tried."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from xray.common.class_archive import archive_path
from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.config.run import RunConfig, check_runner
from xray.config.runners import RUNNERS, Runner
from xray.data.dataset import find_dataset
from xray.model.cpu_step import check_precision
from xray.records.machine import describe_hardware
from xray.runners.sequential import check_threads
from xray.spark.settings import check_master
from xray.storage.credentials import data_access, store_name
from xray.storage.s3 import Storage

SECONDS = 20  # that nvidia-smi is waited for
GPU_QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader")


class Presence(NamedTuple):
    """Whether a thing is there, and in one line what it is or why it is missing."""

    there: bool
    said: str


def examine(config: RunConfig | None = None) -> dict[str, Presence]:
    """What was found of each thing that a runner may need, and what is missing.

    Args:
        config: whose bucket, labels, master and precision are asked for too.
    """
    checks: dict[str, Callable[[], str]] = {
        "Python": _python,
        "CPU": lambda: _cpu(config.runner.precision if config else "float32"),
        "Java": _java,
        "GPU": _gpu,
    }
    if config:
        checks["data"] = lambda: _data(config)
        checks["Spark"] = lambda: _spark(config)
    return {name: _find(check) for name, check in checks.items()}


def obstacles(
    runner: str, found: dict[str, Presence], config: RunConfig | None
) -> list[str]:
    """The things that keep `runner` from running here; none: it can."""
    needed = [name for name in _needs(RUNNERS[runner]) if name in found]
    missing = [name for name in needed if not found[name].there]
    if config:
        suits = _find(lambda: _suits(config, runner))
        missing += [] if suits.there else [suits.said]
    return missing


def _suits(config: RunConfig, runner: str) -> str:
    check_runner(config, runner)
    if RUNNERS[runner].is_baseline:
        check_threads(config.runner.threads_per_worker or 1)
    return "its settings"


def _needs(runner: Runner) -> tuple[str, ...]:
    if runner.has_gpu:
        return ("Python", "GPU", "data")
    if runner.has_workers:
        return ("Python", "CPU", "Java", "Spark", "data")
    return ("Python", "CPU", "data")


def _find(check: Callable[[], str]) -> Presence:
    try:
        return Presence(True, check())
    except UserError as error:
        return Presence(False, " ".join(str(error).split()))


def _python() -> str:
    packages = ("tensorflow", "keras", "elephas", "pyspark", "boto3")
    missing = [name for name in packages if find_spec(name) is None]
    if missing or not (3, 11) <= sys.version_info[:2] < (3, 13):
        raise UserError(
            "Python must be 3.11 or 3.12 and have the packages of requirements.lock. "
            f"Got {platform.python_version()} that lacks "
            f"{', '.join(missing) or 'none of them'}. Run: make setup."
        )
    return f"{platform.python_version()}, with {', '.join(packages)}"


def _cpu(precision: str) -> str:
    check_precision(precision)
    found = describe_hardware()
    bfloat16 = "multiplies in bfloat16" if found["bfloat16"] else "float32 alone"
    return (
        f"{found['cores']} core(s) of {found['cpu_model']}, {bfloat16}, "
        f"{found['memory_bytes'] / 2**30:.1f} GiB of memory"
    )


def _java() -> str:
    archive = "with an" if archive_path().is_file() else "without the"
    return f"{find_java_home()}, {archive} archive of Spark's classes"


def _gpu() -> str:
    driver = shutil.which("nvidia-smi")
    if driver is None:
        raise UserError(
            "No nvidia-smi: no NVIDIA driver. On a GPU machine install one."
        )
    try:
        done = subprocess.run(
            [driver, *GPU_QUERY],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"nvidia-smi fails ({error}). Repair the driver.") from None
    return "; ".join(done.stdout.split("\n")).strip("; ") or "none"


def _data(config: RunConfig) -> str:
    access = data_access(config.data)
    found = find_dataset(config.data, Storage(access, config.data.read_threads))
    return (
        f"{len(found.train)} images to train and {len(found.test)} to test, "
        f"from {store_name(access, config.data.images)}"
    )


def _spark(config: RunConfig) -> str:
    master = config.runner.master
    if master is None:
        return "on this machine, or as spark-submit says"
    check_master(master)
    return (
        f"{master} answers" if master.startswith("spark:") else f"{master}, not asked"
    )
