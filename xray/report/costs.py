"""What a run costs: a table of prices per hour, times nodes, times hours."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from xray.common.errors import UserError
from xray.config.file import read_yaml_mapping
from xray.config.runners import runner_of
from xray.records.record import RunRecord
from xray.report.hosts import working_hosts

PRICES = Path(__file__).resolve().parents[2] / "experiments/configs/prices.yaml"
"""The prices that are used where no table is named."""

MINIMUM_SECONDS = 60
"""EC2 and EMR bill per second, one minute at least."""

Usd = Annotated[FiniteFloat, Field(ge=0, strict=True)]


class Price(BaseModel):
    """US dollars an hour for one machine, and where the numbers are from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ec2_usd_per_hour: Usd
    emr_usd_per_hour: Usd | None = None
    spot_usd_per_hour: Usd | None = None
    """In place of ec2_usd_per_hour for a spot node; it changes by the hour, and only a
    plan counts with it."""
    network_gbps: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """What it sends or receives for as long as one likes, Gbit/s; a forecast lets the
    weights travel through it."""
    source: Annotated[str, Field(min_length=1)]
    date: date


class PriceTable(BaseModel):
    """Prices by instance type, and what stands in for a machine outside EC2."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    instances: Annotated[dict[str, Price], Field(min_length=1)]
    outside_ec2: dict[str, str] = {}
    """The instance type that a runner is priced as where it did not run on EC2."""

    @model_validator(mode="after")
    def _stand_ins_have_prices(self) -> "PriceTable":
        for runner, name in self.outside_ec2.items():
            if name not in self.instances:
                raise ValueError(f"outside_ec2.{runner}: {name!r} is not in instances")
        return self

    def bytes_per_second(self, instance_type: str) -> float:
        """Of its network; infinite where the table does not tell."""
        price = self.instances.get(instance_type)
        gbps = price and price.network_gbps
        return gbps * 1e9 / 8 if gbps else math.inf


@dataclass(frozen=True)
class Cost:
    """A price, or why there is none."""

    usd: float | None
    machines: dict[str, int]
    """Instance type to number, the cluster's primary node included."""
    usd_per_hour: float | None = None
    """Of all machines, the EMR surcharge included where it applies; the mean of a run
    in which some came or went."""
    assumed: bool = False
    """The run was not on EC2; it is priced as if it had been."""
    problem: str | None = None

    @property
    def described(self) -> str:
        """Such as `1 × m5.xlarge + 4 × c7i.4xlarge`; empty without machines."""
        return " + ".join(f"{n} × {name}" for name, n in self.machines.items())


def load_prices(path: Path) -> PriceTable:
    """The checked price table in the YAML file `path`.

    Raises:
        UserError: the file cannot be read, a key is unknown or a value is refused.
    """
    content = read_yaml_mapping(path, "Price table")
    try:
        return PriceTable.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        rule = first["msg"].removeprefix("Value error, ").replace("\n", " ")
        raise UserError(
            f"Price table {path}: {where + ': ' if where else ''}{rule}. "
            "Each instance needs ec2_usd_per_hour, source and date."
        ) from None


def run_cost(record: RunRecord, table: PriceTable) -> Cost:
    """What the whole run costs.

    A cluster is the machines that trained and its primary node, wherever the driver
    was, and pays the EMR surcharge on each. A machine that came or went is held for
    its share of the run (`Host.share`). A run outside EC2 is priced as the instance
    type that the table names for its runner, and marked as assumed.
    """
    stand_in = table.outside_ec2.get(record.runner)
    hosts = working_hosts(record)
    types = [host.instance_type for host in hosts]
    shares = [host.share for host in hosts]
    on_emr = runner_of(record.runner).has_workers
    if on_emr:
        types.insert(0, record.machine.get("instance_type") or types[0])
        shares.insert(0, 1.0)
    assumed = not all(types)
    names = [str(name or stand_in or "") for name in types]
    if "" in names:
        problem = f"no price: name an instance type for {record.runner!r} under "
        return Cost(None, {}, assumed=assumed, problem=f"{problem}outside_ec2")
    held: dict[str, float] = defaultdict(float)
    for name, share in zip(names, shares, strict=True):
        held[name] += share
    cost = cost_of(held, record.phases.total, table, on_emr)
    return replace(cost, machines=dict(Counter(names)), assumed=assumed)


def cost_of(
    machines: Mapping[str, float], seconds: float, table: PriceTable, on_emr: bool
) -> Cost:
    """Machines times their price an hour, EMR's surcharge included, times hours.

    A run, a forecast and a plan have their price from here.

    Args:
        machines: instance type to number, which is no whole one where a machine is held
            for a part of the time; on EMR the primary node is one of them.
        seconds: that they are held; a minute is billed at least.
        table: of prices.
        on_emr: whether each pays the surcharge.
    """
    per_hour, found = 0.0, dict(machines)
    for name, count in machines.items():
        price = table.instances.get(name)
        if price is None:
            problem = f"no price for {name}: add it to the price table"
            return Cost(None, found, problem=problem)
        if on_emr and price.emr_usd_per_hour is None:
            return Cost(
                None,
                found,
                problem=f"no EMR price for {name}: add emr_usd_per_hour to the price "
                "table",
            )
        surcharge = price.emr_usd_per_hour if on_emr else 0.0
        per_hour += count * (price.ec2_usd_per_hour + (surcharge or 0.0))
    hours = max(seconds, MINIMUM_SECONDS) / 3600
    return Cost(per_hour * hours, found, per_hour)


def spot_cost_of(
    core: str, core_nodes: int, primary: str, seconds: float, table: PriceTable
) -> Cost:
    """What a cluster on EMR costs whose core nodes are spot, its primary node not.

    No price where the table tells none of spot nodes.
    """
    price = table.instances.get(core)
    if price is None or price.spot_usd_per_hour is None:
        problem = f"no spot price of {core}: add spot_usd_per_hour to the price table"
        return Cost(None, {}, problem=problem)
    spot = price.model_copy(update={"ec2_usd_per_hour": price.spot_usd_per_hour})
    name = f"{core} (spot)"
    prices = table.model_copy(update={"instances": table.instances | {name: spot}})
    machines = Counter([primary]) + Counter({name: core_nodes})
    return cost_of(machines, seconds, prices, on_emr=True)


def cluster_of(core: str, core_nodes: int, primary: str | None = None) -> Counter[str]:
    """A cluster's machines for `cost_of`: core nodes, and one primary node.

    Args:
        core: instance type of the core nodes.
        core_nodes: how many.
        primary: of the primary node; None is `core`.
    """
    return Counter([primary or core]) + Counter({core: core_nodes})
