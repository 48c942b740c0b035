"""What a run ran on: processor, memory, versions and commit, for its record."""

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "jax",
    "elephas",
    "pyspark",
    "numpy",
    "pandas",
    "pillow",
    "scikit-learn",
    "boto3",
)


def describe_machine() -> dict[str, Any]:
    """What `describe_hardware` tells, and gpu, nodes and os; never the host's name."""
    return {
        **describe_hardware(),
        "gpu": None,
        "nodes": 1,
        "os": platform.platform(terse=True),
    }


def describe_hardware() -> dict[str, Any]:
    """The processor, memory and instance type, as JSON values.

    cpu_model, cores, physical_cores, bfloat16, memory_bytes and instance_type.
    `cores` are the processors that this process may use, two to a physical core where
    the CPU shares cores; `physical_cores` are the machine's, null where it hides them.
    `bfloat16` is whether the CPU multiplies in it.
    `instance_type` is null off EC2; no network is asked.
    """
    import psutil

    return {
        "cpu_model": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "physical_cores": psutil.cpu_count(logical=False),
        "bfloat16": multiplies_bfloat16(),
        "memory_bytes": psutil.virtual_memory().total,
        "instance_type": _instance_type(),
    }


def multiplies_bfloat16() -> bool:
    """Whether this machine's CPU has instructions for it: AVX512_BF16 or AMX."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("flags"):
            return bool({"avx512_bf16", "amx_bf16"} & {*line.split()})
    return False


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instance_type() -> str | None:
    """The EC2 type, which Nitro instances show as their DMI product name."""
    if "Amazon EC2" not in _read("/sys/devices/virtual/dmi/id/sys_vendor"):
        return None
    return _read("/sys/devices/virtual/dmi/id/product_name").strip() or None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that can move a number, and Python's."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_state() -> dict[str, Any]:
    """Commit of the checkout that runs and whether it has uncommitted changes.

    Both are null where there is no checkout, as on a cluster's nodes.
    """
    commit = _git("rev-parse", "HEAD")
    # A run writes into results/, which must not make the next run look dirty.
    changes = _git("status", "--porcelain", "--", ":/", ":(top,exclude)results")
    return {"commit": commit, "dirty": bool(changes) if commit else None}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).resolve().parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far.

    Not getrusage's ru_maxrss: that one begins at the size of the process which started
    this one, for instance Spark's Java.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", _read("/proc/self/status"))
    if found is None:  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(found[1]) * 1024
