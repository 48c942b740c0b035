"""Prints the home of a Java that Spark runs on: `python -m xray.java`."""

import argparse
import sys
from collections.abc import Sequence

from xray.common.command import command
from xray.common.java import find_java_home


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the folder; 0, or 2 where there is no Java."""
    parser = argparse.ArgumentParser(
        prog="python -m xray.java",
        description="Print the home of a Java that Spark runs on.",
    )
    parser.parse_args(arguments)
    print(find_java_home())
    return 0


if __name__ == "__main__":
    sys.exit(main())
