"""What a sweep will cost: nodes times hours times the price table."""

from collections.abc import Mapping, Sequence
from typing import Any

from emr.plan import Sweep
from emr.settings import SPOT
from xray.common.errors import UserError
from xray.records.record import RunRecord
from xray.report.costs import PriceTable, cluster_of, cost_of, spot_cost_of
from xray.report.forecast import NIH_IMAGES, Predictor, families
from xray.report.time_model import test_scorings

UNKNOWN = (
    "not known: --results holds no records of this network with two worker counts to "
    "predict from; run a small sweep on any machine first"
)
PREDICTED = (
    "predicted from the records in --results, on their machine's cores; with no "
    "data.limit, for all of ChestX-ray14"
)


Minutes = tuple[float, float, float]
"""Low, likely and high."""


def predict_minutes(sweep: Sweep, records: Sequence[RunRecord]) -> dict[int, Minutes]:
    """Executors -> minutes of one run, from records of the same network and batch.

    They may be of another machine, whose cores then stand for EMR's. Without such
    records the result is empty.
    """
    config = sweep.config
    for like in families(records):
        theirs = like[0].config
        same = (
            like[0].threads_per_worker == sweep.settings.threads_per_worker
            and theirs["data"].get("image_size") == config.data.image_size
            and theirs["model"] == config.model.model_dump(mode="json")
            and theirs["training"].get("batch_size") == config.training.batch_size
        )
        if same:
            try:
                return _minutes(sweep, Predictor(like, records))
            except UserError:  # one worker count only
                continue
    return {}


def _minutes(sweep: Sweep, predictor: Predictor) -> dict[int, Minutes]:
    images = sweep.config.data.limit or NIH_IMAGES
    found = {}
    for executors in {run.executors for run in sweep.runs}:
        workers = executors * sweep.settings.workers_per_executor
        settings = sweep.settings
        network = settings.core_bytes_per_second / settings.workers_per_executor
        job = predictor.job(workers, images, network)
        training = sweep.config.training
        job = job._replace(
            epochs=training.epochs, test_scorings=test_scorings(sweep.config.to_dict())
        )
        each = predictor.predict(job)
        found[executors] = (each.low / 60, each.seconds / 60, each.high / 60)
    return found


def estimate_cost(
    sweep: Sweep, prices: PriceTable, minutes: Mapping[int, Minutes]
) -> dict[str, Any]:
    """Hours and US dollars of the whole sweep, as JSON values.

    Args:
        sweep: the cluster and its runs.
        prices: of instance types.
        minutes: executors -> (low, likely, high) minutes of one run.

    Returns:
        Hours and dollars are null where the minutes of a run are not known; `usd` is
        null too, and `problem` says why, where a price is missing. All of them are
        on demand; `spot` is what the whole sweep costs if its core nodes are spot all
        the time, null where they are not wanted, their price or the hours unknown.
    """
    hours = _hours(sweep, [minutes.get(run.executors) for run in sweep.runs])
    settings = sweep.settings
    machines = cluster_of(
        settings.core.instance_type, sweep.core_nodes, settings.primary.instance_type
    )
    costs = [cost_of(machines, h * 3600, prices, on_emr=True) for h in hours or (1.0,)]
    known = hours and not costs[0].problem
    usd = [round(cost.usd or 0.0, 2) for cost in costs] if known else [None] * 3
    per_hour = costs[0].usd_per_hour
    return {
        "nodes": 1 + sweep.core_nodes,
        "usd_per_hour": per_hour and round(per_hour, 4),
        "hours": hours and round(hours[1], 2),
        "usd": usd[1],
        "usd_low": usd[0],
        "usd_high": usd[2],
        "minutes_per_run": {
            str(run.executors): (found := minutes.get(run.executors))
            and round(found[1], 1)
            for run in sweep.runs
        },
        "images": sweep.config.data.limit or NIH_IMAGES,
        "basis": PREDICTED if hours else UNKNOWN,
        "shared_cores": settings.shared_cores if hours else None,
        "start_minutes": settings.start_minutes,
        "market": settings.market,
        "spot": _spot_usd(sweep, hours, prices),
        "problem": costs[0].problem,
    }


def _spot_usd(
    sweep: Sweep, hours: Sequence[float] | None, prices: PriceTable
) -> float | None:
    settings = sweep.settings
    if settings.market != SPOT or not hours:
        return None
    core, primary = settings.core.instance_type, settings.primary.instance_type
    usd = spot_cost_of(core, sweep.core_nodes, primary, hours[1] * 3600, prices).usd
    return None if usd is None else round(usd, 2)


def _hours(sweep: Sweep, per_run: Sequence[Minutes | None]) -> list[float] | None:
    """Low, likely and high hours of all runs; None where one is not known."""
    known = [minutes for minutes in per_run if minutes]
    if len(known) < len(per_run):
        return None
    start = sweep.settings.start_minutes
    return [(start + sum(one[place] for one in known)) / 60 for place in range(3)]


def as_table(plan: dict[str, Any]) -> str:
    """A dry run for people: what would run, for how long and for how much."""
    found = plan["estimate"]
    rows = [("executors", "minutes a run")]
    for executors, minutes in found["minutes_per_run"].items():
        rows.append((executors, "not known" if minutes is None else f"{minutes:g}"))
    lines = [f"{left:>9}  {right}" for left, right in rows]
    return "\n".join(
        [
            f"{plan['sweep']}: {len(plan['runs'])} run(s) in {plan['region']}, records "
            f"to {plan['records']}",
            *lines,
            f"{found['nodes']} nodes {_cost_text(found)}",
            f"minutes: {found['basis']}",
            *([f"cores: {shared}"] if (shared := found["shared_cores"]) else []),
            "--json prints the exact requests. Nothing was asked of AWS.",
        ]
    )


def _cost_text(found: dict[str, Any]) -> str:
    if found["problem"]:
        return f"at a price that is not known: {found['problem']}"
    rate = f"at {found['usd_per_hour']:g} USD/h together"
    if found["usd"] is None:
        return f"{rate}, the time not known"
    ends = f"{found['usd_low']:g} to {found['usd_high']:g}"
    text = f"{rate}, {found['usd']:g} USD ({ends}) for {found['hours']:g} h"
    if found["market"] != SPOT:
        return text
    spot = "not known: the price table has no spot_usd_per_hour"
    if found["spot"] is not None:
        spot = f"{found['spot']:g} USD"
    return f"{text} on demand; with all core nodes spot {spot}"
