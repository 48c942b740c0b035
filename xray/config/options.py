"""The options with which commands take a configuration, or a saved model."""

import argparse
from pathlib import Path


def add_config_options(
    parser: argparse.ArgumentParser,
    required: bool = True,
    default: Path | None = None,
) -> None:
    """Give a command `--config` and `--set`, as `load_config` takes them."""
    parser.add_argument(
        "--config",
        type=Path,
        required=required and default is None,
        default=default,
        help="YAML of the run",
    )
    add_set_option(parser)


def add_set_option(
    parser: argparse.ArgumentParser,
    name: str = "--set",
    metavar: str = "SECTION.KEY=VALUE",
    what: str = "",
) -> None:
    """Give a command an option that overrides single settings.

    Args:
        parser: of the command.
        name: of the option.
        metavar: how a setting is written.
        what: the settings are of, such as ` of the cluster`.
    """
    parser.add_argument(
        name,
        action="append",
        default=[],
        metavar=metavar,
        help=f"override one setting{what}; may be repeated",
    )


def model_parser(description: str | None) -> argparse.ArgumentParser:
    """The parser of a command that reads one saved model, `--model`."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Exit codes: 0 done, 1 fault, 2 bad input, 130 stopped.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", required=True, help=".keras file, or its s3:// address"
    )
    return parser
