"""What more workers would bring: predicted from the group's records, never measured."""

import math
from dataclasses import replace

from xray.common.errors import UserError
from xray.config.runners import ELEPHAS
from xray.records.wording import duration, scaled
from xray.report.costs import PriceTable, cluster_of, cost_of
from xray.report.forecast import (
    NIH_IMAGES,
    Forecast,
    Predictor,
    families,
    hold_out,
    knee_sentence,
)
from xray.report.group import Group
from xray.report.hosts import working_hosts
from xray.report.page.drawing import Chart
from xray.report.page.figures import Overlay, speedup_chart
from xray.report.page.tables import Table
from xray.report.page.wording import usd

WORKERS = (1, 2, 4, 8, 16, 32, 64)
WORKERS_PER_NODE = 3
"""Single-threaded ones on a node of four cores; one core is the system's."""

PUBLISHED = (
    # 185, 315, ... images/s, over the first. DenseNet121 on ChestX-ray14, Horovod.
    Overlay(
        "Dell EMC, V100 GPUs, published",
        "published",
        (1, 2, 3, 4, 8, 12, 16),
        tuple(rate / 185 for rate in (185, 315, 422, 589, 1117, 1528, 1913)),
        marker="x",
    ),
    Overlay(
        "Intel and Dell BigDL, nodes, published",
        "published",
        (4, 16),
        (4, 12),
        marker="+",
    ),
)
CAPTION = (
    "Dashed: not measured here. The band is the model's 95% interval. Published curves "
    "are other networks on other machines, each over its own smallest run; BigDL's 3 "
    "times from 4 to 16 nodes is drawn from the ideal at 4."
)


def chart(group: Group, prices: PriceTable, name: str) -> Chart | None:
    """Measured speedups with the predicted and published curves beside them.

    Returns:
        None without a sequential run, or with fewer than two Elephas worker counts.
    """
    predictor = _predictor(group)
    if predictor is None or group.baseline is None:
        return None
    base = group.baseline.seconds("total").median
    found = _predictions(predictor, _network(_kind(group, prices), prices))
    curve = Overlay(
        "Predicted Elephas resident",
        ELEPHAS.name,
        WORKERS,
        [base / each.seconds for each in found],
        low=[base / each.high for each in found],
        high=[base / each.low for each in found],
    )
    drawn = speedup_chart(group, "total", name, [curve, *PUBLISHED])
    if drawn is None:
        return None
    return replace(drawn, title="Predicted speedup of total time", caption=CAPTION)


def table(group: Group, prices: PriceTable) -> Table | None:
    """Predicted seconds with intervals, as measured and for all of ChestX-ray14.

    Returns:
        None with fewer than two Elephas worker counts.
    """
    predictor = _predictor(group)
    if predictor is None:
        return None
    kind = _kind(group, prices)
    network = _network(kind, prices)
    here = _predictions(predictor, network)
    whole = _predictions(predictor, network, NIH_IMAGES)
    rows = [
        [
            str(few.job.workers),
            _with_interval(few),
            scaled(here[0].seconds / few.seconds),
            _with_interval(all_),
            scaled(whole[0].seconds / all_.seconds),
            _cost(all_, prices, kind),
        ]
        for few, all_ in zip(here, whole, strict=True)
    ]
    columns = [
        "Workers",
        "Total (95% interval)",
        "Speedup over 1",
        f"{NIH_IMAGES:,} images (95% interval)",
        "Speedup over 1",
        "Cost, USD",
    ]
    caption = (
        "Predicted from the measured Elephas runs, each worker on a core of its own"
    )
    return Table(caption, columns, rows, _notes(predictor, here, whole, kind, network))


def _notes(
    predictor: Predictor,
    here: list[Forecast],
    whole: list[Forecast],
    kind: str,
    network: float,
) -> list[str]:
    measured = sorted({record.workers or 0 for record in predictor.records})
    points = [
        knee_sentence({each.job.workers: each.seconds for each in some})
        for some in (here, whole)
    ]
    return [
        f"From {len(predictor.records)} runs with {', '.join(map(str, measured))} "
        "workers. The interval grows beyond them and beyond their images. The model: "
        "xray/report/time_model.py.",
        _checked(predictor),
        f"{points[0]} For {NIH_IMAGES:,} images: {points[1]} (Where S(N)²/N is "
        "largest; Eager, Zahorjan and Lazowska, IEEE Transactions on Computers 38(3), "
        "1989.)",
        f"Cost: as if on {kind or 'no known'} nodes, {WORKERS_PER_NODE} workers each "
        "and one primary node more, EMR's surcharge included, the cluster's start not. "
        f"Each worker has {_gbps(network)} of its node's network for the weights. "
        "Cores there may be slower than those that were measured.",
    ]


def _checked(predictor: Predictor) -> str:
    try:
        held = hold_out(predictor.records, predictor.others)
    except UserError:
        return (
            "Not checked: that needs three worker counts, each predicted from the "
            "others."
        )
    errors = ", ".join(
        f"{one.workers} workers {one.error:+.0%}".replace("-", "−")
        + ("" if one.inside else " (outside the interval)")
        for one in held
    )
    return f"Checked by predicting each measured count from the others: {errors}."


def _predictor(group: Group) -> Predictor | None:
    for like in families(group.records):
        try:
            return Predictor(like, group.records)
        except UserError:  # one worker count only
            continue
    return None


def _kind(group: Group, prices: PriceTable) -> str:
    """The instance type of a predicted cluster; empty where none is named."""
    hosts = [host for run in group.records for host in working_hosts(run)]
    types = [host.instance_type for host in hosts if host.instance_type]
    return types[0] if types else prices.outside_ec2.get(ELEPHAS.name, "")


def _network(kind: str, prices: PriceTable) -> float:
    """Bytes a second for each worker of a node."""
    return prices.bytes_per_second(kind) / WORKERS_PER_NODE


def _predictions(
    predictor: Predictor, bytes_per_second: float, images: int | None = None
) -> list[Forecast]:
    return [
        predictor.predict(predictor.job(count, images, bytes_per_second))
        for count in WORKERS
    ]


def _gbps(bytes_per_second: float) -> str:
    known = bytes_per_second < math.inf
    return f"{bytes_per_second * 8 / 1e9:.3g} Gbit/s" if known else "all"


def _with_interval(found: Forecast) -> str:
    low, high = duration(found.low), duration(found.high)
    return f"{duration(found.seconds)} ({low}–{high})"


def _cost(found: Forecast, prices: PriceTable, kind: str) -> str:
    nodes = -(-found.job.workers // WORKERS_PER_NODE)
    return usd(cost_of(cluster_of(kind, nodes), found.seconds, prices, True).usd)
