"""What a sweep will cost: nodes times hours times the price table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from emr.plan import Sweep
from xray.common.errors import UserError
from xray.records.record import RunRecord
from xray.report.costs import PriceTable, cost_of
from xray.report.forecast import NIH_IMAGES, Predictor, families
from xray.report.time_model import test_scorings

MINUTES_PER_RUN = 30.0
"""Assumed where no record tells how long a run takes."""
ASSUMED = f"assumed {MINUTES_PER_RUN:.0f} minutes a run: no record to predict from"
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
        network = sweep.settings.driver_bytes_per_second
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
        minutes: executors -> (low, likely, high) minutes of one run; a missing one is
            assumed to take MINUTES_PER_RUN.

    Returns:
        `usd` is null, and `problem` says why, where a price is missing. Spot nodes are
        counted at the price on demand, so their cost is an upper bound.
    """
    assumed = (MINUTES_PER_RUN,) * 3
    per_run = [minutes.get(run.executors, assumed) for run in sweep.runs]
    hours = [
        (sweep.settings.start_minutes + sum(run[place] for run in per_run)) / 60
        for place in range(3)
    ]
    costs = [cost_of(_machines(sweep), h * 3600, prices, on_emr=True) for h in hours]
    usd = None if costs[0].problem else [round(cost.usd or 0.0, 2) for cost in costs]
    per_hour = costs[0].usd_per_hour
    guessed = any(run.executors not in minutes for run in sweep.runs)
    return {
        "nodes": 1 + sweep.core_nodes,
        "usd_per_hour": per_hour and round(per_hour, 4),
        "hours": round(hours[1], 2),
        "usd": usd and usd[1],
        "usd_low": usd and usd[0],
        "usd_high": usd and usd[2],
        "minutes_per_run": {
            str(run.executors): round(one[1], 1)
            for run, one in zip(sweep.runs, per_run, strict=True)
        },
        "images": sweep.config.data.limit or NIH_IMAGES,
        "basis": ASSUMED if guessed else PREDICTED,
        "start_minutes": sweep.settings.start_minutes,
        "market": sweep.settings.market,
        "problem": costs[0].problem,
    }


def _machines(sweep: Sweep) -> dict[str, int]:
    """Instance type to number, the primary node included."""
    machines = Counter({sweep.settings.primary.instance_type: 1})
    machines[sweep.settings.core.instance_type] += sweep.core_nodes
    return dict(machines)
