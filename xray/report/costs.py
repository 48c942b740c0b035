"""What a run costs: a table of prices per hour, times nodes, times hours."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Cost:
    """The price of one run, or why there is none."""

    usd: float | None
    instance_type: str | None
    nodes: int
    usd_per_hour: float | None = None
    """Of one node, the EMR surcharge included where it applies."""
    assumed: bool = False
    """The run was not on EC2; it is priced as if it had been."""
    problem: str | None = None


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
    """Nodes times price an hour times the hours of the whole run.

    Elephas pays the EMR surcharge on every node. A run outside EC2 is priced as the
    instance type that the table names for its runner, and marked as assumed.
    """
    nodes = node_count(record)
    instance_type = record.machine.get("instance_type")
    assumed = not instance_type
    name = table.outside_ec2.get(record.runner) if assumed else str(instance_type)
    price = table.instances.get(name) if name else None
    on_emr = runner_of(record.runner).has_workers
    problem = _problem(name, price, on_emr, record.runner)
    if problem or price is None:
        return Cost(None, name, nodes, assumed=assumed, problem=problem)
    per_hour = price.ec2_usd_per_hour
    if on_emr:
        per_hour += price.emr_usd_per_hour or 0.0
    hours = max(record.phases.total, MINIMUM_SECONDS) / 3600
    return Cost(nodes * per_hour * hours, name, nodes, per_hour, assumed)


def node_count(record: RunRecord) -> int:
    """Machines of the run, the EMR primary node included; one if not recorded."""
    nodes = record.machine.get("nodes")
    return nodes if isinstance(nodes, int) and nodes > 1 else 1


def _problem(
    name: str | None, price: Price | None, on_emr: bool, runner: str
) -> str | None:
    if name is None:
        return f"no price: name an instance type for {runner!r} under outside_ec2"
    if price is None:
        return f"no price for {name}: add it to the price table"
    if on_emr and price.emr_usd_per_hour is None:
        return f"no EMR price for {name}: add emr_usd_per_hour to the price table"
    return None
