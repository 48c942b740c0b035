r"""How many executors of which size: advice from measured records, with reasons.

    python -m emr.size --images 112120 --image-size 128 --backbone MobileNet \
        --deadline 2h

The records of --results must hold a sweep of that network and image size, with one
thread a worker; experiments/elephas_spark.py makes one on any machine.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emr.settings import (
    APPLICATION_MASTER_MIB,
    CLUSTER,
    YARN_SHARE,
    ClusterSettings,
    load_settings,
)
from xray.common.command import command
from xray.common.errors import UserError
from xray.config.options import add_set_option
from xray.records.reading import read_records
from xray.records.record import RunRecord
from xray.report.costs import PRICES, cluster_of, cost_of, load_prices
from xray.report.forecast import NIH_IMAGES, Forecast, Predictor, families, knee

MOST_EXECUTORS = 128
MEMORY_RESERVE = 1.25
"""Python's memory is planned a quarter above what the model and its shard need."""
UNITS = {"s": 1, "m": 60, "h": 3600}


class Advice(NamedTuple):
    """A cluster, and why."""

    executors: int
    cores: int
    workers: int
    heap_mib: int
    python_mib: int
    """What the workers of one executor need outside the Java heap."""
    node_mib: int
    """The least memory of a node that holds it all."""
    prediction: Forecast
    meets_deadline: bool
    knee: int
    """Executors beyond which more gain less than they cost."""
    reasons: list[str]


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the reasons and one JSON object; 0, or 2 after a user's error."""
    options = _parser().parse_args(arguments)
    settings = load_settings(options.cluster, options.cluster_set)
    deadline = parse_duration(options.deadline) if options.deadline else None
    everything, _ = read_records(options.results)
    records = _like(everything, options)
    _check_epochs(records, options)
    predictor = Predictor(records, everything)
    advice = advise(predictor, settings, options.images, options.epochs, deadline)
    shown = _as_json(advice, settings, options.prices)
    print(_about(predictor, options))
    for reason in advice.reasons:
        print(f"- {reason}")
    print(json.dumps(shown))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emr.size",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=NIH_IMAGES)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--backbone", default="MobileNet")
    parser.add_argument("--epochs", type=int, help="default: as in the records")
    parser.add_argument("--deadline", help="such as 90m or 2h; default: the knee")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--cluster", type=Path, default=CLUSTER)
    add_set_option(parser, "--cluster-set", "KEY=VALUE", " of the cluster")
    parser.add_argument("--prices", type=Path, default=PRICES)
    return parser


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `45m` or `2h`.

    Raises:
        UserError: another form, or not above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found or float(found.group(1)) == 0:
        raise UserError(f"--deadline must be like 90m or 2h. Got {text!r}.")
    return float(found.group(1)) * UNITS[found.group(2)]


def _like(records: Sequence[RunRecord], options: argparse.Namespace) -> list[RunRecord]:
    """Those of `records` of this network and image size with one thread a worker.

    Raises:
        UserError: there are none.
    """
    if options.images < 2:
        raise UserError(f"--images must be at least 2. Got {options.images}.")
    found = families(records)
    known = set()
    for like in found:
        config = like[0].config
        network = config["model"].get("backbone"), config["data"].get("image_size")
        known.add(f"{network[0]} at {network[1]}")
        wanted = (options.backbone.lower(), options.image_size)
        if (str(network[0]).lower(), network[1]) == wanted:
            if like[0].threads_per_worker == 1:
                return like
    raise UserError(
        f"No resident Elephas records of {options.backbone} at {options.image_size} "
        f"with one thread a worker under {options.results}. There: "
        f"{', '.join(sorted(known)) or 'none'}. Run a small sweep of it first."
    )


def _about(predictor: Predictor, options: argparse.Namespace) -> str:
    """What is asked, and what the records behind the answer are of."""
    epochs = options.epochs or predictor.points[-1].job.epochs
    trained = sorted({point.job.train for point in predictor.points})
    return (
        f"{options.images:,} images at {options.image_size}x{options.image_size}, "
        f"{options.backbone}, {epochs} epochs; from records of "
        f"{', '.join(f'{count:,}' for count in trained)} training images"
    )


def _check_epochs(records: Sequence[RunRecord], options: argparse.Namespace) -> None:
    """Records of one length, or a length that is asked for.

    Raises:
        UserError: neither.
    """
    lengths = sorted({len(record.epochs) for record in records})
    if len(lengths) > 1 and not options.epochs:
        raise UserError(
            f"The records of {options.backbone} under {options.results} have "
            f"{', '.join(map(str, lengths))} epochs. Say for how many with --epochs."
        )


def advise(
    predictor: Predictor,
    settings: ClusterSettings,
    images: int,
    epochs: int | None = None,
    deadline: float | None = None,
) -> Advice:
    """The smallest cluster that meets the deadline, or the knee without one.

    Args:
        predictor: from records of the network.
        settings: the node that an executor fills.
        images: for training and test together.
        epochs: None as in the records.
        deadline: seconds of the whole run; the cluster's start is not in it.

    Raises:
        UserError: fewer than two worker counts.
    """
    per_node = settings.executor_cores
    found = {}
    for executors in range(1, MOST_EXECUTORS + 1):
        workers = executors * per_node
        network = settings.core_bytes_per_second / per_node
        job = predictor.job(workers, images, network)
        job = job._replace(epochs=epochs or job.epochs)
        found[executors] = predictor.predict(job)
    best = knee({n: each.seconds for n, each in found.items()})
    inside = [n for n, each in found.items() if deadline and each.high <= deadline]
    fastest = min(found, key=lambda n: found[n].seconds)
    chosen = inside[0] if inside else (fastest if deadline else best)
    memory = _memory(predictor.records, found[chosen], settings)
    advice = Advice(
        executors=chosen,
        cores=per_node,
        workers=chosen * per_node,
        heap_mib=settings.spark.executor_heap_mib,
        python_mib=memory,
        node_mib=_node_mib(memory, settings),
        prediction=found[chosen],
        meets_deadline=bool(inside) or not deadline,
        knee=best,
        reasons=[],
    )
    return advice._replace(reasons=_reasons(advice, predictor, settings, deadline))


def _memory(
    records: Sequence[RunRecord], prediction: Forecast, settings: ClusterSettings
) -> int:
    """MiB of Python in one executor: cores x (TensorFlow and model + shard).

    What a worker used beside its images is measured; its images are uint8 pixels.
    """
    size = records[0].config["data"]["image_size"] ** 2
    used = [
        worker.peak_memory_bytes - worker.images * size
        for record in records
        for worker in record.per_worker
    ]
    base = max(used, default=2 * 2**30)
    job = prediction.job
    shard = size * math.ceil((job.train + job.test) / job.workers)
    worker = MEMORY_RESERVE * (base + shard) / 2**20
    return math.ceil(settings.executor_cores * worker)


def _node_mib(python_mib: int, settings: ClusterSettings) -> int:
    wanted = python_mib + settings.spark.executor_heap_mib + APPLICATION_MASTER_MIB
    return math.ceil(wanted / YARN_SHARE)


def _reasons(
    advice: Advice,
    predictor: Predictor,
    settings: ClusterSettings,
    deadline: float | None,
) -> list[str]:
    found, node = advice.prediction, settings.core
    fits = advice.node_mib <= node.memory_mib
    measured = sorted({record.workers or 0 for record in predictor.records})
    reasons = [
        f"{advice.executors} executor(s), one a node: predicted "
        f"{found.seconds / 60:.0f} min ({found.low / 60:.0f}-{found.high / 60:.0f}), "
        f"the upper end {'within' if advice.meets_deadline else 'NOT within'} "
        f"{deadline / 60:.0f} min."
        if deadline
        else f"{advice.executors} executor(s), one a node: the knee, beyond which more "
        f"gain less than they cost. Predicted {found.seconds / 60:.0f} min "
        f"({found.low / 60:.0f}-{found.high / 60:.0f}).",
        f"{advice.cores} cores each, {settings.spark.cores_for_system} of "
        f"{node.vcpus} left to YARN and the system; one single-threaded worker a core.",
        f"{advice.python_mib} MiB outside the Java heap: cores x (model and TensorFlow "
        f"as measured + shard) and a quarter in reserve; with {advice.heap_mib} MiB "
        f"heap a node needs {advice.node_mib} MiB, {node.instance_type} has "
        f"{node.memory_mib}{'' if fits else ': TAKE A LARGER ONE'}.",
    ]
    if deadline:
        reasons.append(
            f"The knee is at {advice.knee} executor(s): beyond it more of them gain "
            "less than they cost."
        )
    reasons.append(
        f"From {len(predictor.records)} record(s) with {measured} worker(s) on "
        f"{predictor.records[0].machine.get('cpu_model')}, weights through "
        f"{settings.core.network_gbps:g} Gbit/s of a node's network. A core of "
        f"{node.instance_type} may be slower, so run 1 and 2 executors there first."
    )
    return [*reasons, *filter(None, [settings.shared_cores])]


def _as_json(advice: Advice, settings: ClusterSettings, prices: Path) -> dict[str, Any]:
    shown = advice._asdict()
    found = shown.pop("prediction")
    machines = cluster_of(
        settings.core.instance_type, advice.executors, settings.primary.instance_type
    )
    cost = cost_of(machines, found.seconds, load_prices(prices), on_emr=True)
    return {
        **shown,
        "instance_type": settings.core.instance_type,
        "seconds": found.seconds,
        "low": found.low,
        "high": found.high,
        "usd": cost.usd,
    }


if __name__ == "__main__":
    sys.exit(main())
