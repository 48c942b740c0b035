"""One Spark ML LogisticRegression per finding, and AUC by Spark ML beside ours."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xray.common.errors import UserError
from xray.data.labels import FINDINGS
from xray.records.metrics import macro_auc, score_predictions
from xray.records.scores import Scores
from xray.spark.ml.frames import LABEL_TYPES, check_column

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel
    from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
    from pyspark.sql import Column, DataFrame

SCORE_TYPES = ("array<double>", "array<float>")
# Features are often more than images; without a penalty they would be learned by heart.
PENALTY = 0.01
# Each is dozens of jobs of a few milliseconds, which leave the executors idle between.
FITS_AT_ONCE = 4


@dataclass(frozen=True)
class FindingsRegression:
    """A fitted LogisticRegression for each finding that could be learned.

    Attributes:
        model: of LogisticRegressionModels, each adding `probability_FINDING`; Spark
            saves and loads it without this package.
        learned: their findings.
        left_out: findings with one value only in the training rows.
    """

    model: "PipelineModel"
    learned: tuple[str, ...]
    left_out: tuple[str, ...]

    def transform(
        self, frame: "DataFrame", output: str = "probabilities"
    ) -> "DataFrame":
        """`frame` with the probabilities of the 15 findings: array<double>.

        A finding that was left out has null.

        Args:
            frame: with the features.
            output: column to add.
        """
        from pyspark.ml.functions import vector_to_array
        from pyspark.sql.functions import array, lit

        scored = self.model.transform(frame)
        columns = [
            vector_to_array(scored[_probability(name)])[1]
            if name in self.learned
            else lit(None).cast("double")
            for name in FINDINGS
        ]
        return scored.select(*frame.columns, array(*columns).alias(output))


def _probability(finding: str) -> str:
    return f"probability_{finding}"


def findings_regression(
    frame: "DataFrame",
    regression: "LogisticRegression | None" = None,
    features: str = "features",
    labels: str = "labels",
) -> FindingsRegression:
    """Fit a LogisticRegression for each finding that has both values.

    Args:
        frame: the rows to train on; those without features are left out.
        regression: whose params all findings take; None is one with regParam=0.01.
        features: column of vectors.
        labels: column of 15 values, 0 or 1.

    Raises:
        UserError: a column is missing or of another type, a row has another number of
            labels, or every finding has one value only.
    """
    from pyspark.ml import PipelineModel
    from pyspark.ml.classification import LogisticRegression

    check_column(frame, features, "vector")
    check_column(frame, labels, *LABEL_TYPES)
    template = regression or LogisticRegression(regParam=PENALTY)
    cached = frame.select(features, labels).persist()
    try:
        rows = cached.where(cached[features].isNotNull())
        learned = _with_both_values(rows, labels)
        if not learned:
            raise UserError(
                "Every finding has one value only in the rows to train on. Use more "
                "images."
            )

        def fit(name: str) -> "LogisticRegressionModel":
            label = _value(rows, labels, name).alias("label")
            single = template.copy().setParams(
                featuresCol=features,
                labelCol="label",
                probabilityCol=_probability(name),
                rawPredictionCol="",
                predictionCol="",
            )
            return single.fit(rows.select(features, label))

        with ThreadPoolExecutor(FITS_AT_ONCE) as pool:
            fitted = list(pool.map(fit, learned))
    finally:
        cached.unpersist()
    left_out = tuple(name for name in FINDINGS if name not in learned)
    return FindingsRegression(PipelineModel(fitted), learned, left_out)


def spark_auc(
    frame: "DataFrame", scores: str = "probabilities", labels: str = "labels"
) -> dict[str, float | None]:
    """ROC AUC of each finding by Spark's BinaryClassificationEvaluator.

    Exact, since nothing is binned; None where a finding has one value only or no score.

    Args:
        frame: scored rows; persist it, each finding is a job.
        scores: column of 15 numbers, higher means more likely.
        labels: column of 15 values, 0 or 1.

    Raises:
        UserError: a column is missing or of another type, or a row has another number
            of labels.
    """
    from pyspark.ml.evaluation import BinaryClassificationEvaluator

    check_column(frame, scores, *SCORE_TYPES)
    check_column(frame, labels, *LABEL_TYPES)
    # The default of 1000 bins moves an AUC in the fourth digit.
    evaluator = BinaryClassificationEvaluator(
        rawPredictionCol="score", labelCol="label", numBins=0
    )
    areas: dict[str, float | None] = dict.fromkeys(FINDINGS)
    for name in _with_both_values(frame, labels, scores):
        score, label = (_value(frame, column, name) for column in (scores, labels))
        pairs = frame.select(score.alias("score"), label.alias("label"))
        areas[name] = evaluator.evaluate(pairs.where("score is not null"))
    return areas


def our_scores(
    frame: "DataFrame",
    seed: int,
    scores: str = "probabilities",
    labels: str = "labels",
    patient: str = "patient",
) -> Scores:
    """The AUC table as every runner's record has it, of the findings with a score.

    Args:
        frame: scored rows; labels and scores come to the driver.
        seed: of the resampling of patients.
        scores: column of 15 numbers, null for a finding without a score.
        labels: column of 15 values, 0 or 1.
        patient: column of patient ids.

    Raises:
        UserError: a column is missing or of another type.
    """
    check_column(frame, scores, *SCORE_TYPES)
    check_column(frame, labels, *LABEL_TYPES)
    check_column(frame, patient, "string")
    rows = frame.select(scores, labels, patient).collect()
    values = np.array([row[scores] for row in rows], dtype=float)
    scored = ~np.isnan(values).any(axis=0)
    truth = np.array([row[labels] for row in rows], np.uint8)
    return score_predictions(
        truth[:, scored],
        values[:, scored],
        np.array([row[patient] for row in rows]),
        [name for name, there in zip(FINDINGS, scored, strict=True) if there],
        seed,
    )


def macro_of(frame: "DataFrame", scores: str, labels: str) -> float | None:
    """Macro AUC of the rows that have scores; None where no finding has both values.

    Args:
        frame: scored rows; labels and scores come to the driver.
        scores: column of 15 numbers, or null.
        labels: column of 15 values, 0 or 1.

    Raises:
        UserError: a column is missing or of another type.
    """
    check_column(frame, scores, *SCORE_TYPES)
    check_column(frame, labels, *LABEL_TYPES)
    rows = frame.select(scores, labels).where(frame[scores].isNotNull()).collect()
    if not rows:
        return None
    truth = np.array([row[labels] for row in rows], np.uint8)
    return macro_auc(truth, np.array([row[scores] for row in rows], dtype=float))


def _value(frame: "DataFrame", column: str, finding: str) -> "Column":
    return frame[column][FINDINGS.index(finding)].cast("double")


def _with_both_values(
    frame: "DataFrame", labels: str, scores: str | None = None
) -> tuple[str, ...]:
    """Findings with both values, among the rows with a score where these are given.

    Raises:
        UserError: a row has another number of labels than there are findings, or a
            label is neither 0 nor 1.
    """
    from pyspark.sql import functions

    sizes = functions.size(frame[labels])
    ranges = [functions.min(sizes), functions.max(sizes)]
    for name in FINDINGS:
        label = _value(frame, labels, name)
        if scores:
            label = functions.when(_value(frame, scores, name).isNotNull(), label)
        ranges += [functions.min(label), functions.max(label)]
    fewest, most, *values = frame.agg(*ranges).first()
    if {fewest, most} - {len(FINDINGS), None}:
        raise UserError(
            f"Column {labels!r} must hold {len(FINDINGS)} labels a row, in the order "
            f"of xray.data.labels.FINDINGS. Got {fewest} to {most}."
        )
    wrong = [value for value in values if value not in (0, 1, None)]
    if wrong:
        raise UserError(f"Labels must be 0 or 1. Got {wrong[0]} in column {labels!r}.")
    pairs = zip(FINDINGS, values[::2], values[1::2], strict=True)
    return tuple(name for name, low, high in pairs if (low, high) == (0, 1))
