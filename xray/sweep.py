"""A grid of settings over one runner: its runs, which of them are done, and a table."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xray.config import RunConfig, load_config
from xray.errors import UserError
from xray.record import RunRecord
from xray.report.wording import DASH, interval, number


@dataclass(frozen=True)
class SweepRun:
    """One point of the grid.

    Attributes:
        values: of the varied keys, in the order they were given.
        config: the whole resolved configuration.
    """

    values: dict[str, Any]
    config: RunConfig

    @property
    def settings(self) -> list[str]:
        """The varied keys as `--set` takes them."""
        return [f"{key}={json.dumps(value)}" for key, value in self.values.items()]

    @property
    def name(self) -> str:
        """The varied keys for a reader."""
        return ", ".join(f"{key}={shown(value)}" for key, value in self.values.items())


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def parse_vary(text: str) -> tuple[str, list[Any]]:
    """The key and the values of `section.key=a,b,c` or `section.key=[a, b, c]`.

    What stands in square brackets is one YAML list of the values, which may hold commas
    or be lists themselves: `model.head_units=[[8], [16, 4]]`. Anything else is split at
    its commas, and each part is YAML.

    Raises:
        UserError: no key, no values, or no YAML.
    """
    key, equals, rest = text.partition("=")
    try:
        if rest.lstrip().startswith("["):
            values = yaml.safe_load(rest)
        else:
            values = [yaml.safe_load(part) for part in rest.split(",")]
    except (yaml.YAMLError, ValueError):
        raise UserError(
            f"--vary {key}: the values are not YAML. Got {rest!r}."
        ) from None
    if not (key and equals and rest.strip() and isinstance(values, list) and values):
        raise UserError(
            f"--vary takes section.key=value,value. Got {text!r}; "
            "for instance --vary runner.sync_every=epoch,10,1."
        )
    return key, values


def plan_runs(
    path: Path, overrides: Sequence[str], varied: Sequence[str]
) -> list[SweepRun]:
    """Every combination of the varied values, the last key changing fastest.

    All configurations are validated here, so that a typo ends a sweep before its first
    run.

    Args:
        path: of the configuration.
        overrides: `section.key=value` for every run.
        varied: what `parse_vary` takes, one key each.

    Raises:
        UserError: a configuration is refused, or two runs would be the same.
    """
    axes = dict(map(parse_vary, varied))
    if len(axes) < len(varied):
        raise UserError("--vary names a key twice. Give all its values at once.")
    runs: list[SweepRun] = []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        settings = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        run = SweepRun(values, load_config(path, [*overrides, *settings]))
        if any(run.config == other.config for other in runs):
            raise UserError(f"--vary gives the same run twice: {run.name}.")
        runs.append(run)
    return runs


def find_done(
    runner: str, config: RunConfig, records: Sequence[RunRecord]
) -> RunRecord | None:
    """The newest successful record of this runner and this very configuration.

    Where models and events go is not looked at: another place is no reason to train.
    """
    wanted = _without_output(config.to_dict())
    done = [
        record
        for record in records
        if record.status == "success"
        and record.runner == runner
        and _without_output(record.config) == wanted
    ]
    return max(done, key=lambda record: record.created, default=None)


def _without_output(config: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in config.items() if name != "output"}


def sweep_table(
    runs: Sequence[SweepRun], runner: str, records: Sequence[RunRecord]
) -> list[str]:
    """Lines with the varied keys, seconds, macro AUC and the record's file of each run.

    A run without a successful record shows dashes.
    """
    keys = list(runs[0].values) if runs else []
    rows = [[*keys, "fit s", "total s", "macro AUC (95%)", "record"]]
    for run in runs:
        cells = [shown(value) for value in run.values.values()]
        rows.append(cells + _measured(find_done(runner, run.config, records)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _measured(record: RunRecord | None) -> list[str]:
    if record is None:
        return [DASH] * 4
    auc = record.scores.macro_auc if record.scores else None
    phases = record.phases
    return [
        number(phases.fit, 1),
        number(phases.total, 1),
        interval(auc),
        f"{record.run_id}.json",
    ]
