"""Prints the home of a Java that Spark runs on: `python -m xray.java`."""

import sys

from xray.common.errors import UserError
from xray.common.java import find_java_home

if __name__ == "__main__":
    try:
        print(find_java_home())
    except UserError as problem:
        sys.exit(f"error: {problem}")
