"""A frozen backbone as featuriser, and a logistic regression per finding, in Spark ML.

    python experiments/spark_ml.py --config my.yaml --set model.weights=imagenet

or with spark-submit and any of its options. Executors read the images and run the
backbone of the configuration's `model` section; Spark ML's LogisticRegression learns
each finding from the training images' features. Prints the AUC of the test images by
our metric and by Spark ML's, and writes a JSON file with both to --results.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xray.common.command import command, log_warnings
from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.config.file import load_config
from xray.config.options import add_config_options
from xray.config.run import RunConfig
from xray.data.labels import FINDINGS
from xray.records.benchmark import write_benchmark
from xray.records.scores import Scores
from xray.records.wording import plain_interval

if TYPE_CHECKING:
    from pyspark.ml import Transformer
    from pyspark.sql import DataFrame


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Learn and score as the command line says; 0, 1 a fault, 2 bad input, 130."""
    log_warnings()
    options = _parser().parse_args(arguments)
    print(_run(load_config(options.config, options.set), options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_options(parser)
    parser.add_argument(
        "--penalty", type=float, default=0.01, help="regParam of each regression"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results/spark_ml"),
        help="of the JSON file",
    )
    return parser


def _run(config: RunConfig, options: argparse.Namespace) -> str:
    """The table, when the file is written."""
    from pyspark.sql import SparkSession

    from xray.data.dataset import find_dataset
    from xray.spark.cluster import start_cluster
    from xray.spark.memory import training_mib
    from xray.spark.ml.frames import image_frame
    from xray.spark.ml.stages import BackboneFeaturizer
    from xray.spark.settings import check_master
    from xray.storage.credentials import data_access
    from xray.storage.place import check_folder
    from xray.storage.s3 import Storage

    if options.penalty < 0:
        raise UserError(f"--penalty must be 0 or more. Got {options.penalty}.")
    check_folder(options.results, "--results")
    if config.runner.master:
        check_master(config.runner.master)
    storage = Storage(
        data_access(config.data),
        config.data.read_threads,
    )
    dataset = find_dataset(config.data, storage)
    featurizer = BackboneFeaturizer(config=config)
    featurizer.archive()  # the weights can be had
    memory = training_mib(config, len(dataset))
    cluster = start_cluster(config.runner, worker_mib=memory)
    try:
        images = image_frame(SparkSession.builder.getOrCreate(), config, dataset)
        results = learn(images, featurizer, config.data, options.penalty)
    finally:
        cluster.stop()
    settings = {**config.to_dict(), "penalty": options.penalty}
    path = write_benchmark(options.results, "spark_ml", settings, results)
    return f"{table(results)}\n{path}"


def learn(
    images: "DataFrame", featurizer: "Transformer", data: DataConfig, penalty: float
) -> dict[str, Any]:
    """What the file holds: seconds, image counts, left_out, scores and spark_auc.

    Args:
        images: of `image_frame`.
        featurizer: adds the features.
        data: whose max_bad_fraction and seed are followed.
        penalty: regParam of each regression.

    Raises:
        UserError: too many images are unreadable, or no finding can be learned.
    """
    from pyspark.ml.classification import LogisticRegression

    from xray.spark.ml.findings import findings_regression, our_scores, spark_auc
    from xray.spark.ml.frames import drop_unreadable

    marks = [time.perf_counter()]
    columns = ("image", "patient", "subset", "labels", "features")
    features = featurizer.transform(images).select(*columns).persist()
    usable = drop_unreadable(features, "features", data.max_bad_fraction)
    test = usable.where(usable.subset == "test")
    train = usable.where(usable.subset != "test")
    counts = {"train": train.count(), "test": test.count()}
    marks.append(time.perf_counter())
    fitted = findings_regression(train, LogisticRegression(regParam=penalty))
    marks.append(time.perf_counter())
    scored = fitted.transform(test).persist()
    ours = our_scores(scored, data.seed)
    theirs = spark_auc(scored)
    marks.append(time.perf_counter())
    scored.unpersist()
    features.unpersist()
    names = ("features", "fit", "evaluate")
    spent = zip(names, marks, marks[1:], strict=False)
    return {
        "seconds": {name: end - start for name, start, end in spent},
        "images": counts,
        "left_out": list(fitted.left_out),
        "scores": ours.model_dump(mode="json"),
        "spark_auc": theirs,
    }


def table(results: dict[str, Any]) -> str:
    """A line a finding: positives, our AUC with its interval, and Spark ML's."""
    lines = [f"{'finding':<20}{'positives':>9}  {'AUC (95% interval)':<22}Spark ML"]
    scores = Scores.model_validate(results["scores"])
    for name in FINDINGS:
        if name not in scores.findings:
            lines.append(f"{name:<20}{'':>9}  left out: one value only in training")
            continue
        finding, theirs = scores.findings[name], results["spark_auc"][name]
        lines.append(
            f"{name:<20}{finding.positives:>9}  "
            f"{plain_interval(finding.auc, 4):<22}"
            f"{'-' if theirs is None else f'{theirs:.4f}'}"
        )
    mean = f"mean of {scores.findings_scored}"
    return "\n".join([*lines, f"{mean:<29}  {plain_interval(scores.macro_auc, 4)}"])


if __name__ == "__main__":
    sys.exit(main())
