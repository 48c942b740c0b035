"""What a test set says of a model: the parts of a record that hold scores."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A group of fields; one that a newer version added is kept, not refused."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Interval(Part):
    """A point estimate with its 95% interval; null where it is undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


MARGIN = 0.02
"""A loss of macro AUC that is borne where nobody says otherwise."""
LEAST = 10
"""Images with a finding, and without it, that a subgroup needs for an AUC."""
NO_FINDING = "No Finding"
"""The label that is no pathology."""


class FindingScores(Part):
    """How well one finding is told from the rest of the test set."""

    positives: int
    negatives: int
    auc: Interval
    """Area under the ROC curve; null when only one value occurs."""
    average_precision: float | None = None


class SubgroupScores(Part):
    """The test images of which a column of the label file fulfils a condition."""

    column: str
    condition: str
    """As in `data.subgroups`: `PA`, `F|M`, `18..64`."""
    images: int
    patients: int
    macro_auc: Interval
    """Mean over the `findings_scored` that every group of the column has enough of."""
    findings_scored: int
    findings: dict[str, FindingScores]
    """Of all; the AUC is null where the group has fewer than 10 images with the
    finding, or without it (`LEAST`)."""


class Scores(Part):
    """Test-set results, computed by one function for all runners."""

    macro_auc: Interval
    """Mean over the findings that have both values."""
    pathology_auc: Interval = Interval()
    """The same without `No Finding`: over NIH's 14 pathologies, as published AUROCs
    are; null in records of earlier versions."""
    macro_average_precision: float | None = None
    findings_scored: int
    findings: dict[str, FindingScores]
    """In the order of the model's outputs."""
    resamples: int
    """Bootstrap resamples by patient behind the intervals."""
    subgroups: list[SubgroupScores] = []
    """Groups of test images apart, where `data.subgroups` asks for some."""


class Bin(Part):
    """Test images to which the model gives about the same probability of a finding."""

    images: int
    positives: int
    """Those that have the finding."""
    predicted: float
    """Mean probability."""

    @property
    def observed(self) -> Interval:
        """Share of the images that have the finding."""
        return share(self.positives, self.images)


class OperatingPoint(Part):
    """A threshold chosen on the validation set, and what it does on the test set."""

    threshold: float
    """Probability from which on the finding is called present."""
    sensitivity: Interval
    """Share of the test images with the finding for which it is called present."""
    specificity: Interval
    """Share of those without it for which it is not."""


class FindingCalibration(Part):
    """How far one finding's probabilities can be taken at their word."""

    brier: Interval = Interval()
    """Mean squared difference of probability and label; null when only one value
    occurs in the test set."""
    brier_reference: float | None = None
    """Of always saying the finding's share of the test set."""
    reliability: list[Bin] = []
    """About as many images in each, by rising probability."""
    thresholds: dict[str, OperatingPoint] = {}
    """By rule: `youden`, `sensitivity_0.9`; empty without a validation set, or where
    that has one value only."""


class Calibration(Part):
    """Brier scores and reliability on the test set, thresholds from the validation set.

    Nothing here changes the model: what its probabilities would be at a temperature
    stands apart, in `scaled`.
    """

    macro_brier: Interval = Interval()
    """Mean over the findings that have both values."""
    macro_brier_reference: float | None = None
    findings: dict[str, FindingCalibration] = {}
    """In the order of the model's outputs."""
    temperature: float | None = None
    """By which the validation set would have the logits divided; null without one."""
    scaled: "Calibration | None" = None
    """The same of probabilities at that temperature, without thresholds."""

    def thresholds(self) -> dict[str, dict[str, float]] | None:
        """Finding to {rule: threshold}; None where none was chosen."""
        chosen = {
            name: {rule: point.threshold for rule, point in found.thresholds.items()}
            for name, found in self.findings.items()
            if found.thresholds
        }
        return chosen or None


def is_pathology(finding: str) -> bool:
    """Whether a label is more than the absence of all others."""
    return finding.casefold() != NO_FINDING.casefold()


def share(count: int, total: int) -> Interval:
    """A share with Wilson's 95% interval (JASA 22, 1927); null of nothing."""
    from scipy.stats import binomtest

    if not total:
        return Interval()
    ends = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Interval(value=count / total, low=float(ends.low), high=float(ends.high))
