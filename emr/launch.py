"""A scaling sweep on Amazon EMR with one command, and what one needs around it.

    python -m emr.launch sweep --executors 1 2 4 8 --config my.yaml --dry-run
    python -m emr.launch sweep --executors 1 2 4 8 --config my.yaml
    python -m emr.launch check --config my.yaml
    python -m emr.launch rehearse --executors 1 2 --config my.yaml --hadoop hadoop-jars
    python -m emr.launch status | logs [RUN] | fetch SWEEP | terminate [SWEEP]
    python -m emr.launch baselines --config my.yaml
    python -m emr.launch pack

`check` looks at all that can be known to fail before a node is paid for; `rehearse`
runs the same steps on Hadoop's YARN on this machine, in place of EMR's. `sweep` packs
and uploads code and Python, starts a cluster, runs one step per executor count and
repeat, fetches every record as soon as it is there, writes the report and ends the
cluster, whatever happens. The same command again takes up where it ended.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emr import commands
from emr.aws import Aws
from emr.baselines import instructions
from emr.checks import checks
from emr.estimate import as_table
from emr.follow import Patience
from emr.packaging import build_environment
from emr.plan import Sweep
from emr.rehearse import PREFIX, rehearse
from emr.settings import CLUSTER, load_settings
from xray.common.command import command
from xray.common.errors import UserError
from xray.common.processes import interrupt_on_termination
from xray.config.file import load_config
from xray.config.options import add_config_options, add_set_option
from xray.report.costs import PRICES, load_prices
from xray.storage.credentials import load_access

CONFIG = Path("experiments/configs/published.yaml")


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 2 after anything the user can mend or an interruption."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        raise UserError("interrupted. The same command goes on.") from None


def _sweep(options: argparse.Namespace) -> int:
    sweep = _asked_for(options, options.executors, options.repeats)
    prices = load_prices(options.prices)
    if options.dry_run:
        plan = commands.dry_run(sweep, prices, options.results)
        print(json.dumps(plan, indent=1) if options.json else as_table(plan))
        return 0
    patience = Patience(poll=options.poll_seconds)
    aws = _aws(options)
    commands.run_sweep(aws, sweep, options.results, options.build, patience)
    commands.report(options.results, prices)
    return 0


def _rehearse(options: argparse.Namespace) -> int:
    sweep = _asked_for(options, options.executors, options.repeats)
    access = load_access(options.credentials)
    rehearse(sweep, options.hadoop, access, options.results)
    commands.report(options.results, load_prices(options.prices))
    return 0


def _check(options: argparse.Namespace) -> int:
    sweep = _asked_for(options)
    for found in checks(_aws(options), sweep):
        print(f"ok: {found}", flush=True)
    print(
        "Nothing was started. Whether this user may start a cluster, and its nodes may "
        "read and write, AWS says only then: emr/README.md names the policies."
    )
    return 0


def _asked_for(
    options: argparse.Namespace, executors: Sequence[int] = (1,), repeats: int = 1
) -> Sweep:
    settings = load_settings(options.cluster, options.cluster_set)
    config = load_config(options.config, options.set)
    return commands.make_sweep(settings, config, executors, repeats)


def _baselines(options: argparse.Namespace) -> int:
    sweep = _asked_for(options)
    print(instructions(sweep, options.instance_type, options.gpu_instance_type))
    return 0


def _pack(options: argparse.Namespace) -> int:
    print(build_environment(options.build))
    return 0


def _status(options: argparse.Namespace) -> int:
    print(commands.status(_aws(options)))
    return 0


def _logs(options: argparse.Namespace) -> int:
    print(commands.logs(_aws(options), options.run))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    settings = load_settings(options.cluster, options.cluster_set)
    found = commands.fetch(_aws(options), settings, options.sweep, options.results)
    print(f"{found} record(s) of {options.sweep} in {options.results}")
    return 0


def _terminate(options: argparse.Namespace) -> int:
    ended = commands.terminate_all(_aws(options), options.sweep)
    print(f"{ended} cluster(s) ended")
    return 0


def _aws(options: argparse.Namespace) -> Aws:
    settings = load_settings(options.cluster, options.cluster_set)
    return Aws(settings.region, options.credentials)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emr.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 done, 1 fault, 2 something you can mend, or interrupted.",
    )
    commands_ = parser.add_subparsers(required=True, metavar="COMMAND")
    sweep = _command(commands_, "sweep", _sweep, "run a sweep, or go on with it")
    add_config_options(sweep, default=CONFIG)
    sweep.add_argument("--executors", type=int, nargs="+", required=True)
    sweep.add_argument("--repeats", type=int, default=1)
    sweep.add_argument(
        "--dry-run",
        action="store_true",
        help="print runs, time and cost; ask AWS nothing",
    )
    sweep.add_argument(
        "--json", action="store_true", help="with --dry-run: the exact requests as well"
    )
    _add_results(sweep, Path("results"))
    _add_build(sweep)
    sweep.add_argument("--poll-seconds", type=float, default=30)
    trial = _command(
        commands_, "rehearse", _rehearse, "a sweep's steps, on YARN on this machine"
    )
    add_config_options(trial, default=CONFIG)
    trial.add_argument("--executors", type=int, nargs="+", required=True)
    trial.add_argument("--repeats", type=int, default=1)
    trial.add_argument(
        "--hadoop", type=Path, required=True, help="folder of Hadoop's jars"
    )
    _add_results(trial, Path("results", PREFIX))
    check = _command(commands_, "check", _check, "what a sweep needs of AWS")
    add_config_options(check, default=CONFIG)
    baselines = _command(
        commands_, "baselines", _baselines, "how to run the baselines on EC2"
    )
    add_config_options(baselines, default=CONFIG)
    baselines.add_argument("--instance-type", default="m5.xlarge")
    baselines.add_argument("--gpu-instance-type", default="g5.xlarge")
    pack = commands_.add_parser("pack", help="build the nodes' Python and say where")
    pack.set_defaults(command=_pack)
    _add_build(pack)
    _command(commands_, "status", _status, "clusters that run, and their steps")
    logs = _command(commands_, "logs", _logs, "last lines of a step's output")
    logs.add_argument("run", nargs="?", help="such as elephas-e4-r1; default: newest")
    fetch = _command(commands_, "fetch", _fetch, "bring a sweep's records")
    fetch.add_argument("sweep", help="its name, xray-...")
    fetch.add_argument("--results", type=Path, default=Path("results"))
    terminate = _command(commands_, "terminate", _terminate, "end clusters")
    terminate.add_argument("sweep", nargs="?", help="xray-...; default: all of them")
    return parser


def _command(parent: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = parent.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    parser.add_argument(
        "--cluster", type=Path, default=CLUSTER, help="YAML of the cluster"
    )
    add_set_option(parser, "--cluster-set", "KEY=VALUE", " of the cluster")
    parser.add_argument(
        "--credentials",
        type=Path,
        help="YAML file with AWS keys for this program; never sent to the cluster",
    )
    return parser


def _add_results(parser: argparse.ArgumentParser, default: Path) -> None:
    parser.add_argument("--results", type=Path, default=default)
    parser.add_argument("--prices", type=Path, default=PRICES)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--build", type=Path, default=Path(".emr"), help="folder that keeps archives"
    )


if __name__ == "__main__":
    interrupt_on_termination()
    sys.exit(main())
