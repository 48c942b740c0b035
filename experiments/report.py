"""Records -> one page, one Markdown file and one CSV.

python experiments/report.py results/ --out report/

python experiments/report.py s3://bucket/results/ --credentials keys.yaml --out out/

A run counts once, however many copies of its record there are. Several folders, records
and prefixes on S3 may be named: those of a study, and a baseline that lies elsewhere.
If all runs are of one work, the verdict on each configuration is printed too.
"""

import argparse
import sys
from pathlib import Path

from xray.common.command import command
from xray.common.errors import UserError
from xray.records.predictions import SUFFIX
from xray.records.scores import MARGIN
from xray.report.costs import PRICES, load_prices
from xray.storage.copies import local_copies

ENDINGS = (".json", SUFFIX)


@command()
def main(arguments: list[str] | None = None) -> int:
    """Write the report and return the exit code, 0, or 2 after a user's error."""
    options = _parser().parse_args(arguments)

    from xray.report.page.build import write_report  # Matplotlib, spared to --help

    prices = load_prices(options.prices)
    _check(options)
    with local_copies(options.results, options.credentials, ENDINGS) as results:
        report = write_report(
            results,
            options.out,
            prices,
            options.any_commit,
            options.target_auc,
            options.margin,
        )
    if len(report.verdicts) == 1:  # of several works only the page says what is what
        print(*report.verdicts[0], sep="\n")
    print(*report.paths, sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results",
        nargs="+",
        help="folders with run records, records, or s3://bucket/prefix/",
    )
    parser.add_argument(
        "--credentials",
        type=Path,
        help="YAML with keys for S3 (default: boto3's own chain)",
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
    parser.add_argument(
        "--target-auc",
        type=float,
        metavar="AUC",
        help="macro AUC that times are told to (default: what every run ends with)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        metavar="AUC",
        help="loss of macro AUC that is borne (default: %(default)s)",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    target, margin = options.target_auc, options.margin
    if target is not None and not 0 < target < 1:
        raise UserError(f"--target-auc must lie between 0 and 1. Got {target:g}.")
    if not 0 <= margin < 1:
        raise UserError(f"--margin must be at least 0 and below 1. Got {margin:g}.")


if __name__ == "__main__":
    sys.exit(main())
