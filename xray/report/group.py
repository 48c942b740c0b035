"""What the report's outputs share: the works, their configurations, their numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from xray.config.runners import Runner, runner_of
from xray.records.record import RunRecord
from xray.records.timing import PHASES
from xray.report.configurations import Key, curve_labels
from xray.report.costs import Cost, PriceTable
from xray.report.paired import Judged
from xray.report.scaling import AmdahlFit, fit_amdahl
from xray.report.spread import Spread, spread_of
from xray.report.to_target import ToTarget

MEASURES = ("total", "fit")
TARGET = "target"
"""The measure of the seconds until the target AUC."""


@dataclass(frozen=True)
class Speedup:
    """One configuration against the sequential baseline."""

    value: float
    low: float
    """The baseline's fastest repeat over the slowest one."""
    high: float
    deviation: float | None
    """Of the repeats of both; None where either was run once."""
    efficiency: float | None
    """Per processor; None for a GPU."""
    karp_flatt: float | None


@dataclass(eq=False)
class Configuration:
    """Repeats of one configuration, oldest first."""

    key: Key
    label: str
    records: list[RunRecord]
    costs: list[Cost]
    baseline: "Configuration | None" = None
    """The sequential runs that its speedups are over; None without any."""
    speedups: dict[str, Speedup] = field(default_factory=dict)
    """By measure: `total`, `fit`, `target` where all repeats of both reached it."""
    to_target: ToTarget | None = None
    """What it took to reach the group's target; None without a target."""
    judged: Judged | None = None
    """Its AUC against the baseline's, on the same images; None where that is not
    known."""

    @property
    def runner(self) -> Runner:
        """What ran it."""
        return runner_of(self.key.runner)

    @property
    def same_cpu(self) -> bool:
        """Same CPU model as the baseline, so that a speedup is not the machine's."""
        mine, base = self.key.cpu_model, self.baseline
        return bool(base and mine and mine == base.key.cpu_model)

    @property
    def other_baseline(self) -> list[str]:
        """What else than the CPU sets its baseline apart, in words."""
        if self.baseline is None:
            return []
        one, other = self.key, self.baseline.key
        return [
            words
            for words, differs in (
                ("read its pixels from elsewhere", one.pixels != other.pixels),
                ("ran another commit", one.commit != other.commit),
                ("was interrupted", bool(other.course)),
            )
            if differs
        ]

    @property
    def is_baseline(self) -> bool:
        """Whether speedups may be over its seconds: one thread, in float32."""
        return self.runner.is_baseline and self.processors == 1 and not self.key.reduced

    @property
    def processors(self) -> int:
        """Workers times threads per worker."""
        return (self.key.workers or 1) * (self.key.threads_per_worker or 1)

    def spread(self, value: Callable[[RunRecord], float | None]) -> Spread | None:
        """Median and range of one number of the records; None if none has it."""
        return spread_of(map(value, self.records))

    def seconds(self, phase: str) -> Spread:
        """Seconds of a phase, of `total`, or of `other` (total less the phases)."""
        found = self.spread(lambda record: phase_seconds(record, phase))
        return found or Spread(0.0, 0.0, 0.0, 0)

    @property
    def cost(self) -> Spread | None:
        """US dollars a run."""
        return spread_of(cost.usd for cost in self.costs)

    @cached_property
    def representative(self) -> RunRecord:
        """The run with the median macro AUC, so that its intervals belong together."""
        scored = [run for run in self.records if macro_auc(run) is not None]
        ordered = sorted(scored, key=lambda run: macro_auc(run) or 0.0)
        return ordered[(len(ordered) - 1) // 2] if ordered else self.records[0]


@dataclass(eq=False)
class Curve:
    """What one way of running the work does with more and more workers."""

    label: str
    parts: list[Configuration]

    def amdahl(self, measure: str) -> AmdahlFit | None:
        """Amdahl's law over the curve's points on the baseline's CPU.

        None for a runner without workers and for an asynchronous mode. Points whose
        workers share cores are left out, they have no processor each, and so are
        interrupted runs.
        """
        points = [
            (part.processors, part.speedups[measure].value)
            for part in self.parts
            if part.runner.has_workers
            and part.key.mode == "synchronous"
            and part.same_cpu
            and not part.key.crowding
            and not part.key.course
            and measure in part.speedups
        ]
        return fit_amdahl(*zip(*points, strict=True)) if points else None


@dataclass(eq=False)
class Group:
    """Every successful run that did one work."""

    number: int
    work_id: str
    work: dict[str, Any]
    """With the defaults of settings that its records' version did not have."""
    configurations: list[Configuration]
    baseline: Configuration | None
    target: float | None = None
    """Macro AUC that times are told to; None where no run has one."""
    differences: list[str] = field(default_factory=list)
    """Dotted fields of the work that differ from group 1."""
    shorter: "Group | None" = None
    """Without a baseline: the group of another one's, of the same work but for its
    number of epochs, which moves no rate."""

    @property
    def records(self) -> list[RunRecord]:
        """All runs, by configuration."""
        return [run for part in self.configurations for run in part.records]

    def of(self, runner: str) -> list[Configuration]:
        """The configurations of one runner."""
        return [part for part in self.configurations if part.key.runner == runner]

    def curves(self) -> list["Curve"]:
        """Configurations that differ in their number of workers alone, together."""
        found: dict[Key, list[Configuration]] = {}
        for part in self.configurations:
            found.setdefault(part.key.curve, []).append(part)
        labels = curve_labels(list(found))
        return [Curve(labels[key], parts) for key, parts in found.items()]


@dataclass
class Comparison:
    """What the three outputs share."""

    groups: list[Group]
    records: list[RunRecord]
    """Every record, the failed ones included, oldest first."""
    apart: list[RunRecord]
    """Failed and aborted runs, and successful ones without a work_id."""
    left_out: list[str]
    """Files that are not records, with the reason."""
    prices: PriceTable


def phase_seconds(record: RunRecord, phase: str) -> float:
    """Seconds of one phase; `other` is the total less the sum of the phases."""
    if phase == "other":
        return record.phases.total - sum(getattr(record.phases, n) for n in PHASES)
    return getattr(record.phases, phase)


def macro_auc(record: RunRecord) -> float | None:
    """Mean test AUC over the findings; None where it is undefined."""
    return record.scores.macro_auc.value if record.scores else None


def cpu_per_wall(record: RunRecord) -> float | None:
    """CPU seconds per wall second of `fit`; about 1 is one busy core.

    For Elephas the workers' CPU seconds, since the driver only waits.
    """
    cpu = record.cpu_seconds.get("fit")
    if runner_of(record.runner).has_workers:
        cpu = sum(worker.cpu_seconds for worker in record.per_worker) or None
    return cpu / record.phases.fit if cpu and record.phases.fit > 0 else None


def largest_worker_bytes(record: RunRecord) -> int | None:
    """Peak memory of the worker that used most."""
    sizes = [worker.peak_memory_bytes for worker in record.per_worker]
    return max(sizes, default=None)
