"""Spark's classes in one file, which Java maps instead of reading and checking jars.

Class-data sharing: https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html.
A Java that does not find the file, or that did not make it of these very jars, starts
as it would without it.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.common.processes import die_with_parent

SECONDS = 240  # for either step; it takes about ten
# A job of a driver and an executor: the classes of both, one list each.
LISTING = """
import shlex, sys
from pyspark import SparkConf, SparkContext
conf = SparkConf().setMaster("local-cluster[1,1,512]")
conf.set("spark.executor.memory", "512m").set("spark.ui.enabled", "false")
conf.set("spark.scheduler.minRegisteredResourcesRatio", "1.0")
for side in ("driver", "executor"):
    file = shlex.quote(f"{sys.argv[1]}/{side}")
    conf.set(f"spark.{side}.extraJavaOptions", "-XX:DumpLoadedClassList=" + file)
with SparkContext(conf=conf) as context:
    stage = context.parallelize(range(2), 1).barrier().mapPartitions(list)
    assert stage.repartition(1).collect() == [0, 1]
"""


def archive_path() -> Path:
    """Where this Python's environment keeps the archive, whether it is there or not."""
    return Path(sys.prefix) / "share" / "xray" / "spark-classes.jsa"


def archive_options() -> list[str]:
    """What Java on this machine is told to use the archive; empty where there is none.

    Quoted as Spark reads options.
    """
    path = archive_path()
    return [f"-XX:SharedArchiveFile={shlex.quote(str(path))}"] if path.is_file() else []


def make_archive() -> Path:
    """Make the archive for the Java of `find_java_home`, and say where it is.

    Raises:
        UserError: there is no Java, one that has no such archives (8), or no room.
    """
    home, path = find_java_home(), archive_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as name:
            folder = Path(name)
            whole = _dump(home, _list_classes(home, folder), folder / path.name)
            os.replace(whole, path)
    except OSError as error:
        raise UserError(
            f"The class archive {path} cannot be written ({error.strerror}). Spark "
            "starts without it, more slowly."
        ) from None
    return path


def _list_classes(home: str, folder: Path) -> Path:
    """The names of the classes that a driver and an executor load."""
    environment = {**os.environ, "JAVA_HOME": home, "SPARK_LOCAL_IP": "127.0.0.1"}
    _run([sys.executable, "-c", LISTING, str(folder)], environment)
    texts = [(folder / side).read_text() for side in ("driver", "executor")]
    listed = folder / "classes"
    listed.write_text("\n".join(dict.fromkeys("\n".join(texts).splitlines())))
    return listed


def _dump(home: str, listed: Path, archive: Path) -> Path:
    import pyspark

    spark = Path(pyspark.__file__).parent
    command = [
        str(Path(home) / "bin" / "java"),
        "-Xshare:dump",
        f"-XX:SharedClassListFile={listed}",
        f"-XX:SharedArchiveFile={archive}",
        # As Spark starts its own, or Java would not take the archive.
        *("-cp", f"{spark / 'conf'}:{spark / 'jars'}/*"),
    ]
    _run(command, os.environ)
    return archive


def _run(command: list[str], environment: "os._Environ[str] | dict[str, str]") -> None:
    try:
        subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        reason = f"{Path(command[0]).name} took more than {SECONDS} s"
    except subprocess.CalledProcessError as error:
        said = f"{error.stdout}\n{error.stderr}".strip().splitlines()
        reason = said[-1][:200] if said else f"exit code {error.returncode}"
    else:
        return
    raise UserError(
        f"The class archive cannot be made: {reason}. Spark starts without it, more "
        "slowly."
    )
