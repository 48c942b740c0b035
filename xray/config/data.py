"""DataConfig: which images, which labels, and how they are split."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from xray.config.conditions import parse_condition
from xray.config.schemas import OWN, SCHEMAS, LabelSchema, OwnLabels
from xray.config.section import Count, LocalPath, Section, Seed

PLACE = re.compile(r"s3://[^/]+(/.*)?|(?!.*://).+")


def _place(value: str) -> str:
    if not PLACE.fullmatch(value):
        raise ValueError("must be s3://bucket/prefix/ or a folder")
    return value


def _label_file(value: str) -> str:
    if not PLACE.fullmatch(value) or not value.endswith((".csv", ".csv.gz")):
        raise ValueError("must be s3://bucket/key or a path, ending in .csv or .csv.gz")
    return value


LISTS = ("train_list", "test_list")
"""Of a published split: there are both, or none."""
SOURCES = ("images", "labels", "staged", *LISTS)
"""Settings that name what is read, on S3 or on this machine."""
LATER = (
    *("where", "subgroups", *LISTS),
    *("label_schema", "own_labels", "uncertain"),
)
"""Settings of the data that earlier versions did not write."""


class DataConfig(Section):
    """Which images, which labels and how they are split."""

    images: Annotated[str, AfterValidator(_place)]
    """Where the images are: s3://bucket/prefix/, or a folder, which a cluster's hosts
    all have under this name."""
    labels: Annotated[str, AfterValidator(_label_file)]
    """The label file: s3://bucket/key.csv, a path, or either with .csv.gz"""
    staged: Annotated[str, AfterValidator(_place)] | None = None
    """Read decoded images from here, s3://bucket/prefix/ or a folder, as
    experiments/stage.py wrote them; null reads the raw images."""
    credentials: LocalPath | None = None
    """YAML file with the keys; without it boto3's own chain is asked."""
    endpoint_url: str | None = None
    """S3 server other than AWS; overrides the one in the credentials file."""
    label_schema: Literal["nih", "chexpert", "mimic-cxr", "vindr", "own"] = "nih"
    """The archive that it is of, or own: `own_labels` says what it holds."""
    own_labels: OwnLabels | None = None
    uncertain: Literal["zeros", "ones", "ignored"] = "zeros"
    """What an uncertain finding, -1, counts as: 0, 1, or nothing in loss and metrics
    (U-Zeros, U-Ones and U-Ignore of Irvin et al., CheXpert, AAAI 2019); a blank is
    0."""
    image_size: Annotated[int, Field(ge=8, le=2048)] = 128
    """Height and width in pixels of the images as the model gets them."""
    where: dict[str, str | int | float] = {}
    """Only images of whom a column of the label file says so: a value, several as
    `F|M`, or numbers as `18..64` or `18..`; of an age such as 018M they are years."""
    subgroups: dict[str, list[str | int | float]] = {}
    """Test images that are scored apart besides: a column of the label file, and a list
    of conditions as in `where`."""
    limit: Annotated[Count, Field(ge=2)] | None = None
    """Use this many images, chosen by whole patients with the seed; null is all."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images in the test set, split by patient."""
    train_list: str | None = None
    """With `test_list`, in place of `test_fraction`: a split that others published. A
    file with a name of an image in each line, a path or s3://bucket/key"""
    test_list: str | None = None
    """The images to test, likewise."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the other images, by patient, that choose the best epoch and are not
    trained; 0 trains them all, and the last epoch is scored."""
    seed: Seed = 0
    """Seed of the splits, of `limit` and of the bootstrap intervals."""
    min_train_positives: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    """Images a finding needs in the training set; 0 lets a small sample pass."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the images that may be unreadable before the run is refused."""
    cache_dir: LocalPath | None = None
    """Folder for decoded images, keyed by ETag and size; null keeps them in memory."""
    memory_mib: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1024
    """Pixels that each process keeps in memory; more go to a file, in `cache_dir` or
    the system's temporary folder."""
    read_threads: Annotated[int, Field(ge=1, le=256)] = 16
    """S3 reads under way at once, per process."""

    @field_validator("where")
    @classmethod
    def _conditions(cls, value: dict[str, str | int | float]) -> dict[str, str]:
        texts = {name: str(condition) for name, condition in value.items()}
        for text in texts.values():
            parse_condition(text)
        return texts

    @field_validator("subgroups")
    @classmethod
    def _groups(cls, value: dict[str, list[str | int | float]]) -> dict[str, list[str]]:
        groups = {name: list(map(str, listed)) for name, listed in value.items()}
        for name, conditions in groups.items():
            if not conditions or len({*conditions}) < len(conditions):
                raise ValueError(f"{name} must have one condition or more, none twice")
            for text in conditions:
                parse_condition(text)
        return groups

    @model_validator(mode="after")
    def _schema_is_said(self) -> "DataConfig":
        if (self.label_schema == OWN) != (self.own_labels is not None):
            raise ValueError("label_schema=own needs own_labels, and no other has it")
        if self.uncertain != "zeros" and not self.labelling.uncertain:
            raise ValueError(
                f"uncertain={self.uncertain} is for findings that may be -1. Got "
                f"label_schema={self.label_schema}, which has none"
            )
        return self

    @property
    def labelling(self) -> LabelSchema:
        """How the label file tells findings."""
        own = self.own_labels
        return own.schema_of_file() if own else SCHEMAS[self.label_schema]

    @property
    def findings(self) -> tuple[str, ...]:
        """That a model tells, in the order of its outputs."""
        return self.labelling.findings

    @model_validator(mode="after")
    def _lists_come_in_pairs(self) -> "DataConfig":
        for one, other in (LISTS, reversed(LISTS)):
            if getattr(self, one) and not getattr(self, other):
                raise ValueError(f"{one}={getattr(self, one)} needs {other} as well")
        return self
