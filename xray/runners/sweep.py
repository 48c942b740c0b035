"""A grid of settings and runners: its runs, which of them are done, and a table."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xray.common.errors import UserError
from xray.common.redaction import redacted
from xray.config.file import load_config
from xray.config.run import RunConfig, RunnerConfig
from xray.config.runners import runner_of
from xray.records.record import RunRecord
from xray.records.wording import DASH, interval, number

# Settings of the resident engine that earlier versions did not write.
LATER = ("balance", "outer_momentum")


@dataclass(frozen=True)
class SweepRun:
    """One point of the grid.

    Attributes:
        runner: a name in RUNNERS.
        values: of the varied keys, in the order they were given.
        config: the whole resolved configuration.
    """

    runner: str
    values: dict[str, Any]
    config: RunConfig

    @property
    def settings(self) -> list[str]:
        """The varied keys as `--set` takes them."""
        return _settings(self.values)

    @property
    def shown_values(self) -> dict[str, Any]:
        """`values` without what means nothing to the runner."""
        kept = meaningful(self.runner, self.config.to_dict())["runner"]
        return {
            key: value
            for key, value in self.values.items()
            if not key.startswith("runner.") or key.removeprefix("runner.") in kept
        }

    @property
    def name(self) -> str:
        """Runner and varied keys for a reader."""
        values = self.shown_values.items()
        return ", ".join([self.runner, *(f"{key}={shown(v)}" for key, v in values)])


def _settings(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def meaningful(runner: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without `output` and what changes nothing in section `runner`.

    What counts is what the runner heeds. Engines are for the synchronous mode, and what
    they average for the resident one.

    Args:
        runner: a name in RUNNERS.
        config: as `RunConfig.to_dict` or a record holds it.
    """
    settings = dict(config.get("runner", {}))
    config = {name: part for name, part in config.items() if name != "output"}
    if isinstance(training := config.get("training"), Mapping):
        # It moves no weight, and earlier versions did not write it.
        names = [name for name in training if name != "scored_epochs"]
        config["training"] = {name: training[name] for name in names}
    heeds = runner_of(runner).heeds
    if heeds is not None:
        defaults = RunnerConfig().model_dump()
        kept = {name: settings.get(name, defaults[name]) for name in heeds}
        return {**config, "runner": kept}
    synchronous = settings.get("mode") == "synchronous"
    unused = ["frequency" if synchronous else "engine"]
    if not synchronous or settings.get("engine") == "stock":
        unused += ["sync_every", "optimizer_state", *LATER]
    unused.append("min_workers")  # it moves nothing unless a worker is lost
    unused += [name for name in LATER if not settings.get(name)]
    kept = {key: value for key, value in settings.items() if key not in unused}
    return {**config, "runner": kept}


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
    path: Path,
    runners: Sequence[str],
    overrides: Sequence[str],
    varied: Sequence[str],
) -> list[SweepRun]:
    """Every combination of the varied values in every runner, each work once.

    Runner after runner, the last key changing fastest. Of combinations that differ only
    in what means nothing to a runner, that runner gets the first. All configurations
    are validated here, so that a typo ends a sweep before its first run.

    Args:
        path: of the configuration.
        runners: their names.
        overrides: `section.key=value` for every run.
        varied: what `parse_vary` takes, one key each.

    Raises:
        UserError: a configuration is refused, or the same is asked for twice.
    """
    if len(set(runners)) < len(runners):
        raise UserError(f"--runner names one twice. Got {' '.join(runners)}.")
    combinations = _combinations(path, overrides, varied)
    runs = []
    for runner in runners:
        known = []
        for values, config in combinations:
            work = meaningful(runner, config.to_dict())
            if work not in known:
                known.append(work)
                runs.append(SweepRun(runner, values, config))
    return runs


def _combinations(
    path: Path, overrides: Sequence[str], varied: Sequence[str]
) -> list[tuple[dict[str, Any], RunConfig]]:
    """Values and configuration of each point of the grid."""
    axes = dict(map(parse_vary, varied))
    if len(axes) < len(varied):
        raise UserError("--vary names a key twice. Give all its values at once.")
    found: list[tuple[dict[str, Any], RunConfig]] = []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        config = load_config(path, [*overrides, *_settings(values)])
        if any(config == other for _, other in found):
            name = ", ".join(f"{key}={shown(value)}" for key, value in values.items())
            raise UserError(f"--vary gives the same run twice: {name}.")
        found.append((values, config))
    return found


def interleaved(
    runs: Sequence[SweepRun], records: Sequence[RunRecord], repeats: int
) -> list[SweepRun]:
    """What is missing to `repeats` records of each: all once, then all again.

    So a machine that drifts, or is busy for a while, is so for all of them.
    """
    done = [len(find_all_done(run, records)) for run in runs]
    return [
        run
        for repeat in range(repeats)
        for run, count in zip(runs, done, strict=True)
        if count <= repeat
    ]


def find_done(run: SweepRun, records: Sequence[RunRecord]) -> RunRecord | None:
    """The newest of `find_all_done`; None without any."""
    done = find_all_done(run, records)
    return max(done, key=lambda record: record.created, default=None)


def find_all_done(run: SweepRun, records: Sequence[RunRecord]) -> list[RunRecord]:
    """The successful records of this runner and this very configuration.

    Settings that mean nothing to the runner may differ, and so may where models and
    events go: another place is no reason to train.
    """
    # Records hide secrets and hosts; those of earlier versions are hidden here.
    wanted = redacted(meaningful(run.runner, run.config.to_dict()))
    return [
        record
        for record in records
        if record.status == "success"
        and record.runner == run.runner
        and redacted(meaningful(run.runner, record.config)) == wanted
    ]


def sweep_table(runs: Sequence[SweepRun], records: Sequence[RunRecord]) -> list[str]:
    """Lines with runner, varied keys, seconds, macro AUC and record file of each run.

    A run without a successful record shows dashes, and so does a key that means nothing
    to the runner.
    """
    keys = list(runs[0].values)
    rows = [["runner", *keys, "fit s", "total s", "macro AUC (95%)", "record"]]
    for run in runs:
        values = run.shown_values
        cells = [shown(values[key]) if key in values else DASH for key in keys]
        rows.append([run.runner, *cells, *_measured(find_done(run, records))])
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
