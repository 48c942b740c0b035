"""What the JSON API says; its OpenAPI description is made from these classes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class ApiAnswer(BaseModel):
    """A closed group of values."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Threshold(ApiAnswer):
    """Where a probability starts to count as found."""

    value: Share
    chosen: bool
    """Chosen on validation images; otherwise 0.5, for want of a better one."""
    sensitivity: Share | None = None
    """Of the test images with the finding, the share at or above it; null where that
    was not measured."""
    specificity: Share | None = None
    """Of those without it, the share below."""


class Finding(ApiAnswer):
    """One of the labels that the model tells, 15 of NIH ChestX-ray14."""

    name: str
    probability: Share
    threshold: Threshold
    reading: Share
    """The probability on a scale on which the threshold is at 0.5, so that findings can
    be compared: linear between 0 and the threshold, and between it and 1. (Cohen et al.
    2022, arXiv:2111.00595: TorchXRayVision calibrates to operating points likewise.)"""


class Box(ApiAnswer):
    """The part of the picture that the model looks at, in shares of its sides."""

    left: Share
    top: Share
    width: Share
    height: Share


class HeatMap(ApiAnswer):
    """Grad-CAM: where the model's features speak for one finding."""

    finding: str
    rows: list[list[Share]]
    """Top to bottom, left to right, laid over `box`; 1 is the strongest place. All 0
    when nothing in the picture speaks for the finding."""
    box: Box


class Image(ApiAnswer):
    """The picture as it was read."""

    kind: Literal["PNG", "JPEG", "DICOM"]
    width: int
    height: int
    """Pixels, before it is shrunk to the model's square."""
    doubt: str | None
    """What a DICOM file says of itself that makes it no X-ray of a chest."""
    preview: str | None
    """When asked for: a grey PNG of at most 1024x1024 pixels, as data: address."""


class Prediction(ApiAnswer):
    """What a model says of one picture."""

    model_id: str
    image: Image
    unlike: float | None
    """How unlike the pictures the model was trained on this one looks: above 1, more
    than all but 0.5% of its test pictures; at most 99, of a picture without contrast.
    Null where the model does not know what they looked like."""
    findings: list[Finding]
    heat_map: HeatMap | None
    """When asked for: of one finding."""
    heat_maps: list[HeatMap] | None
    """With explain=all: of every finding, in their order."""


class Predictions(ApiAnswer):
    """What every model that is served says of one picture."""

    predictions: list[Prediction]
    """The default model's first, which alone has the preview."""


class Model(ApiAnswer):
    """A saved model that is served here."""

    model_id: str
    name: str
    """Of its files."""
    title: str
    """For people: its network, the AUC on its test images, and when it was trained."""
    created: str
    runner: str
    image_size: int
    """Height and width in pixels to which pictures are shrunk."""
    findings: list[str]
    thresholds_chosen: bool
    macro_auc: float | None
    """Mean area under the ROC curve on the test images of its training."""
    card: str
    """Path of its model card."""


class Models(ApiAnswer):
    """Every model that is served here, the default first."""

    models: list[Model]


class Health(ApiAnswer):
    """The server answers."""

    status: Literal["ok"]


class Problem(ApiAnswer):
    """What was wrong with a request (RFC 9457)."""

    status: int
    title: str
    detail: str


ANSWERS = (Prediction, Predictions, Models, Model, Health, Problem)
