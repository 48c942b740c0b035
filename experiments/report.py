"""Records -> one page, one Markdown file and one CSV.

python experiments/report.py results/ --out report/

A run counts once, however many copies of its record there are. Several folders and
records may be named: those of a study, and a baseline that lies elsewhere.
"""

import argparse
import sys
from pathlib import Path

from xray.common.command import command
from xray.report.costs import PRICES, load_prices


@command()
def main(arguments: list[str] | None = None) -> int:
    """Write the report and return the exit code, 0, or 2 after a user's error."""
    options = _parser().parse_args(arguments)

    from xray.report.page.build import write_report  # Matplotlib, spared to --help

    prices = load_prices(options.prices)
    for path in write_report(options.results, options.out, prices, options.any_commit):
        print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", type=Path, nargs="+", help="folders with run records, or records"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for report.html, .md and .csv"
    )
    parser.add_argument(
        "--prices", type=Path, default=PRICES, help="price table (default: %(default)s)"
    )
    parser.add_argument(
        "--any-commit",
        action="store_true",
        help="count runs of several commits of this project as repeats",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
