"""What an inference job tells at its end: counts, rates, AUC where labels are known."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from xray.data.appearance import BORNE
from xray.inference.scoring import OK
from xray.records.metrics import score_predictions
from xray.records.scores import Interval, Part, Scores
from xray.records.wording import plain_interval

CHANCE = 0.5
"""AUC of one who guesses."""


class ScoringRates(Part):
    """Images per second of what this run of the job scored; null for nothing."""

    overall: float | None = None
    """From the first part asked for to the last one written."""
    steady: float | None = None
    """Sum over the workers, each from its second batch on."""


class Summary(Part):
    """summary.json: what stands in the tables, and how they came about."""

    schema_version: int = 1
    created: datetime
    model: str
    """File name of the model."""
    model_id: str
    source: str
    """The prefix that was read, of raw images or staged ones."""
    subset: str
    images: int
    """Rows of the tables."""
    by_status: dict[str, int]
    """Rows by what stands in `status` before a colon."""
    unlike: int | None = None
    """Rows whose picture looks unlike those that the model was trained on; null where
    the model does not know what these looked like."""
    left_out: int
    """Other objects under the prefix, by their names."""
    parts: int
    parts_scored: int
    """By this run of the job; the others stood there already."""
    images_scored: int
    """In those parts, unreadable ones too."""
    images_per_second: ScoringRates
    temperature: float = 1.0
    """Of the probabilities in the tables; 1 is as the model gives them."""
    data_wait_seconds: float
    """For which models waited for images, over all workers."""
    seconds: dict[str, float]
    """find: listing and checks; model: loading it; start: of Spark; score; finish: the
    tables; total."""
    workers: int
    threads_per_worker: int | None
    """Null is TensorFlow's own choice."""
    spark: bool
    scores: Scores | None = None
    """AUC over the images with a label; null without any."""
    auc_difference: float | None = None
    """Largest one between these AUCs and those of the model's own run on its test set;
    null where it is another set."""
    machine: dict[str, Any] = {}
    packages: dict[str, str] = {}
    git: dict[str, Any] = {}


def count_by_status(rows: pd.DataFrame) -> dict[str, int]:
    """Rows by what stands in `status` before a colon, the most frequent first."""
    return rows["status"].str.partition(":")[0].value_counts().to_dict()


def count_unlike(rows: pd.DataFrame) -> int:
    """Rows whose picture is beyond the bound of `Appearance.unlike`."""
    return int((rows["unlike"] > 1).sum())


def score_rows(
    rows: pd.DataFrame,
    labels: pd.DataFrame | None,
    findings: list[str],
    seed: int,
) -> Scores | None:
    """The AUC table of the images that have both probabilities and labels.

    Args:
        rows: of the tables.
        labels: as in `Inputs.labels`.
        findings: of the model.
        seed: of the bootstrap intervals, `data.seed` in a run's record.

    Returns:
        None where there is no such image.
    """
    if labels is None:
        return None
    readable = rows[rows["status"] == OK].set_index("key")
    labels = labels[labels.index.isin(readable.index)]
    if labels.empty:
        return None
    return score_predictions(
        labels[findings].to_numpy(np.uint8),
        readable.loc[labels.index, findings].to_numpy(),
        labels["patient"].to_numpy(str),
        findings,
        seed,
    )


def auc_difference(one: Scores, other: Scores) -> float | None:
    """The largest difference between two tables' AUCs; None where none is in both."""
    differences = [
        abs(one.findings[name].auc.value - other.findings[name].auc.value)
        for name in one.findings
        if name in other.findings
        and one.findings[name].auc.value is not None
        and other.findings[name].auc.value is not None
    ]
    return max(differences, default=None)


def auc_rows(scores: Scores) -> pd.DataFrame:
    """auc.csv: a row a finding, and one for their mean, "macro"."""
    rows = [
        {
            "finding": name,
            "positives": finding.positives,
            "negatives": finding.negatives,
            **_values(finding.auc),
            "average_precision": finding.average_precision,
        }
        for name, finding in scores.findings.items()
    ]
    macro = {
        "finding": "macro",
        **_values(scores.macro_auc),
        "average_precision": scores.macro_average_precision,
    }
    counts = dict.fromkeys(("positives", "negatives"), "Int64")
    return pd.DataFrame([*rows, macro]).astype(counts)


def _values(auc: Interval) -> dict[str, float | None]:
    return {"auc": auc.value, "low": auc.low, "high": auc.high}


def report(summary: Summary) -> str:
    """What a terminal shows: counts, rate, and the AUC table where there is one."""
    rate, computed = summary.images_per_second, ""
    if rate.overall:
        steady = f", {rate.steady:.1f} steady" if rate.steady else ""
        computed = f" at {rate.overall:.1f} images/s{steady}"
    counts = ", ".join(f"{count} {name}" for name, count in summary.by_status.items())
    lines = [
        f"{summary.images} images by model {summary.model_id}: {counts}; "
        f"{summary.parts_scored} of {summary.parts} parts scored now{computed}; "
        f"{summary.seconds['total']:.1f} s"
    ]
    if summary.temperature != 1:
        lines.append(f"probabilities at temperature {summary.temperature:.3g}")
    if summary.left_out:
        lines.append(f"{summary.left_out} other files were left out, by their names")
    if summary.unlike:
        lines.append(_unlike(summary))
    if summary.scores:
        lines.append(_table(summary.scores))
        lines += _worse_than_chance(summary.scores)
    if summary.auc_difference is not None:
        lines.append(f"largest difference from the run's: {summary.auc_difference:.1e}")
    return "\n".join(lines)


def _unlike(summary: Summary) -> str:
    """A line that says how many pictures look like something else."""
    share = summary.unlike / max(1, summary.by_status.get(OK, 0))
    return (
        f"warning: {summary.unlike} ({share:.1%}) look unlike the pictures that the "
        f"model was trained on, as {1 - BORNE:.1%} of its test pictures do: unlike is "
        "above 1 in the tables. Are they X-rays of a chest, upright and not inverted?"
    )


def _worse_than_chance(scores: Scores) -> list[str]:
    """A line that names the findings whose AUC is surely below a half."""
    found = [
        name
        for name, finding in scores.findings.items()
        if finding.auc.high is not None and finding.auc.high < CHANCE
    ]
    if not found:
        return []
    return [
        f"warning: worse than chance, the interval of the AUC lies below {CHANCE}: "
        f"{', '.join(found)}. Are these the right labels, and X-rays like those that "
        "the model was trained on?"
    ]


def _table(scores: Scores) -> str:
    """A dash stands where a finding has one value only."""
    lines = [f"{'finding':<20}{'positives':>9}  AUC (95% interval)"]
    for name, finding in scores.findings.items():
        lines.append(
            f"{name:<20}{finding.positives:>9}  {plain_interval(finding.auc, 6)}"
        )
    mean = f"mean of {scores.findings_scored}"
    return "\n".join([*lines, f"{mean:<29}  {plain_interval(scores.macro_auc, 6)}"])
