"""Prints the Java that Spark runs on, or makes its archive of classes."""

import argparse
import sys
from collections.abc import Sequence

from xray.common.class_archive import archive_options, make_archive
from xray.common.command import command
from xray.common.java import find_java_home


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the folder, or what an option asks for; 0, or 2 where there is no Java."""
    parser = argparse.ArgumentParser(
        prog="python -m xray.java",
        description="Print the home of a Java that Spark runs on.",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--archive",
        action="store_true",
        help="make an archive of Spark's classes, which every Java that a runner or "
        "the local cluster starts here then maps; print where it is",
    )
    choice.add_argument(
        "--options",
        action="store_true",
        help="print what Java must be told to use that archive, for the Java of "
        "spark-submit itself: --driver-java-options",
    )
    options = parser.parse_args(arguments)
    if options.archive:
        print(make_archive())
    elif options.options:
        print(*archive_options())
    else:
        print(find_java_home())
    return 0


if __name__ == "__main__":
    sys.exit(main())
