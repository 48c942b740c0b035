"""Sweep: which runs there are, what they are called and where they put things."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from emr.settings import ClusterSettings
from xray.common.errors import UserError
from xray.config.data import SOURCES
from xray.config.run import RunConfig, check_runner
from xray.config.runners import ELEPHAS
from xray.storage.address import on_s3

SWEEP_NAME = re.compile("xray-[0-9a-f]{10}")
IRRELEVANT = (
    *("idle_minutes", "start_minutes", "spot_minutes"),
    *("tags", "ec2_key_name"),
)
"""Settings of a cluster that no record depends on."""
MAX_STEPS = 256
"""Steps that a cluster accepts."""


@dataclass(frozen=True, order=True)
class Run:
    """One step of a sweep."""

    executors: int
    repeat: int

    @property
    def name(self) -> str:
        """Unique in its sweep, and the same in every call for the same run."""
        return f"{ELEPHAS.name}-e{self.executors}-r{self.repeat}"


@dataclass(frozen=True)
class Sweep:
    """Runs of one configuration with one version of the code on one cluster.

    Attributes:
        settings: the cluster.
        config: the run as the cluster gets it.
        runs: in the order they are run.
        environment: file name of the archive with Python.
        code: file name of the archive with our code.
        git: commit and dirty flag of the code, for the records.
    """

    settings: ClusterSettings
    config: RunConfig
    runs: tuple[Run, ...]
    environment: str
    code: str
    git: dict[str, Any]

    @property
    def name(self) -> str:
        """`xray-<hash>` of all that could change a record, the runs left out.

        So another number of executors or repeats adds runs to the same sweep.
        """
        settings = self.settings.model_dump(mode="json")
        for irrelevant in IRRELEVANT:
            del settings[irrelevant]
        for role in ("primary", "core"):
            del settings[role]["network_gbps"]
        parts = [settings, self.config.to_dict(), self.environment, self.code]
        text = json.dumps(parts, sort_keys=True)
        return f"xray-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def core_nodes(self) -> int:
        """Nodes that the largest run needs."""
        return max(run.executors for run in self.runs)

    def uri(self, *parts: str) -> str:
        """The address of something of this sweep."""
        return self.settings.uri("sweeps", self.name, *parts)

    def config_yaml(self) -> str:
        """The configuration that the steps read."""
        return yaml.safe_dump(self.config.to_dict(), sort_keys=False)


def plan_runs(executors: Sequence[int], repeats: int) -> tuple[Run, ...]:
    """Every executor count once, then all again: a drift of the cloud hits all alike.

    Raises:
        UserError: a number below 1, or more steps than EMR accepts.
    """
    if repeats < 1 or not executors or min(executors) < 1:
        raise UserError(
            f"--executors and --repeats must be at least 1. Got {list(executors)} "
            f"and {repeats}."
        )
    counts = list(dict.fromkeys(executors))
    if len(counts) * repeats > MAX_STEPS:
        raise UserError(
            f"A cluster takes {MAX_STEPS} steps. Got {len(counts)} executor counts "
            f"times {repeats} repeats; lower --repeats."
        )
    return tuple(Run(n, k) for k in range(1, repeats + 1) for n in counts)


def cluster_config(config: RunConfig) -> RunConfig:
    """The configuration for the cluster's nodes, without anything of this machine.

    The nodes read S3 with their instance profile: a credentials file is never sent.
    Decoded images are not kept between runs, or a repeat would load from disk.

    Raises:
        UserError: it names what the cluster cannot have, or would lose.
    """
    check_runner(config, ELEPHAS.name)
    weights = config.model.weights
    if weights and weights != "imagenet" and not on_s3(weights):
        raise UserError(
            f"model.weights must be imagenet or on S3 for EMR. Got {weights!r}; copy "
            "the file to your bucket."
        )
    for name in SOURCES:
        place = getattr(config.data, name)
        if place and not on_s3(place):
            raise UserError(
                f"data.{name} must be on S3 for EMR. Got {place!r}; copy it to your "
                "bucket."
            )
    if config.data.endpoint_url:
        raise UserError(
            "data.endpoint_url must not be set for EMR, whose nodes read Amazon S3. "
            f"Got {config.data.endpoint_url!r}."
        )
    if config.output.models and not on_s3(config.output.models):
        raise UserError(
            "output.models must be on S3 for EMR, whose nodes are gone after the run. "
            f"Got {config.output.models!r}; take a prefix that the nodes may write."
        )
    if config.output.tensorboard:
        raise UserError(
            "output.tensorboard must be null for EMR, whose nodes are gone after the "
            f"run. Got '{config.output.tensorboard}'."
        )
    data = config.data.model_copy(update={"credentials": None, "cache_dir": None})
    runner = config.runner.model_copy(
        update={"master": None, "workers": None, "threads_per_worker": None}
    )
    return config.model_copy(update={"data": data, "runner": runner})
