"""The runners, one table: what each is called, where it is, and what sets it apart.

To add one: an entry in RUNNERS, its module with `run(config, journal) -> RunRecord`,
and a script of three lines in experiments/.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One way to run the work.

    Attributes:
        name: in records and on the command line.
        label: for people.
        colour: of all its charts.
        script: in experiments/.
        module: holds its `run`; imported by whoever runs it, and by nobody else.
        heeds: the settings of section `runner` that change its run; None are all.
        alone: those of them that no other runner has, and that others refuse.
        question: that the report answers about it.
        is_baseline: speedups are over its seconds on one thread.
        has_gpu: it computes on GPUs, so that it has no number of processors.
        has_workers: Spark executors do its work; the driver waits.
    """

    name: str
    label: str
    colour: str = ""
    script: str = ""
    module: str = ""
    heeds: tuple[str, ...] | None = None
    alone: tuple[str, ...] = ()
    question: str = ""
    is_baseline: bool = False
    has_gpu: bool = False
    has_workers: bool = False

    def is_told(self, setting: str) -> bool:
        """Whether a setting of section `runner` changes its run."""
        return self.heeds is None or setting in self.heeds


# Okabe and Ito's palette, told apart with every common colour blindness:
# https://jfly.uni-koeln.de/color/
SEQUENTIAL = Runner(
    name="sequential",
    label="Sequential",
    colour="#0072B2",
    script="sequential.py",
    module="xray.runners.sequential",
    heeds=("threads_per_worker", "precision"),
    is_baseline=True,
)
GPU_SETTINGS = ("backend", "xla", "devices")
GPU = Runner(
    name="gpu",
    label="GPU",
    colour="#D55E00",
    script="gpu.py",
    module="xray.runners.gpu",
    heeds=(*GPU_SETTINGS, "precision"),
    alone=GPU_SETTINGS,
    question="On one GPU?",
    has_gpu=True,
)
ELEPHAS = Runner(
    name="elephas",
    label="Elephas",
    colour="#009E73",
    script="elephas_spark.py",
    module="xray.runners.elephas",
    question="Will it go faster on Spark?",
    has_workers=True,
)
RUNNERS = {runner.name: runner for runner in (SEQUENTIAL, GPU, ELEPHAS)}


def runner_of(name: str) -> Runner:
    """The runner `name`; a bare one where a record names one that is not known here."""
    return RUNNERS.get(name) or Runner(name=name, label=name)
