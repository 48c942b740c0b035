r"""What this machine has, and which runners can run on it.

    python -m xray.doctor
    python -m xray.doctor --config my.yaml --runner elephas

What a sweep on Amazon EMR needs there, `python -m emr.launch check` looks at.

Trains nothing and starts nothing. With a configuration its bucket is listed, its labels
are read, and its Spark master is asked. Exit codes: 0 the runner can run (without
--runner: one of them can), 2 it cannot.
"""

import argparse
import sys
from collections.abc import Sequence

from xray.common.command import command, log_warnings
from xray.common.errors import UserError
from xray.config.file import load_config
from xray.config.options import add_config_options
from xray.config.runners import RUNNERS


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each thing and each runner; 0, or 2 where none can run."""
    log_warnings()
    parser = argparse.ArgumentParser(
        prog="python -m xray.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_options(parser, required=False)
    parser.add_argument("--runner", choices=RUNNERS, help="that must be able to run")
    options = parser.parse_args(arguments)
    if options.set and not options.config:
        parser.error("--set needs --config")
    config = load_config(options.config, options.set) if options.config else None

    from xray.runners.doctor import examine, obstacles  # what --help need not wait for

    found = examine(config)
    for name, finding in found.items():
        print(f"{name:10}  {'' if finding.there else 'MISSING  '}{finding.said}")
    print()
    missing = {runner: obstacles(runner, found, config) for runner in RUNNERS}
    for runner, why in missing.items():
        print(f"{runner:10}  {'cannot run: ' + '; '.join(why) if why else 'can run'}")
    able = [runner for runner, why in missing.items() if not why]
    if not able or options.runner not in (None, *able):
        who = f"The {options.runner} runner" if options.runner else "No runner"
        can = "cannot" if options.runner else "can"
        raise UserError(f"{who} {can} run here. See what is MISSING above.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
