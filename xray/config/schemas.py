"""Label schemas: what an archive's label file tells, and in which words."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, field_validator

from xray.config.section import Section

BASENAME = r"([^/]+)$"
STEM = r"(?i)([^/]+?)(?:\.(?:png|jpe?g|dcm|dicom))?$"


@dataclass(frozen=True)
class LabelSchema:
    """How a label file tells which image has which findings, and whose it is.

    Attributes:
        findings: in the order of a model's outputs.
        image: column that names the image, or the study that it belongs to.
        patient: column that tells whose it is; None: nothing does, and each image
            counts as a patient of its own.
        joined: column with the findings of an image, and `separator` between them;
            None: there is a column for each, with 1 or 0.
        separator: likewise.
        key: finds in the address of an image what the file calls it, and that in the
            column; its first group.
        name: finds in the address what the image is called in records: unique.
        patient_in: finds the patient in the column.
        votes: whether an image has a row for each reader, of whom half or more decide.
        aliases: other names of columns.
        uncertain: whether a finding may be -1, neither there nor not.
    """

    findings: tuple[str, ...]
    image: str
    patient: str | None
    joined: str | None = None
    separator: str = "|"
    key: str = BASENAME
    name: str = BASENAME
    patient_in: str = "(.*)"
    votes: bool = False
    aliases: dict[str, str] = field(default_factory=dict)
    uncertain: bool = False

    def key_of(self, address: str) -> str | None:
        """What the label file calls the image at an address; None: nothing."""
        return _first(self.key, address)

    def name_of(self, address: str) -> str | None:
        """What an image is called in records; None where it is none of the archive."""
        return _first(self.name, address)


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


# Wang et al., ChestX-ray8, CVPR 2017, extended to 14 findings; with No Finding, 15.
NIH = LabelSchema(
    findings=(
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Effusion",
        "Emphysema",
        "Fibrosis",
        "Hernia",
        "Infiltration",
        "Mass",
        "No Finding",
        "Nodule",
        "Pleural_Thickening",
        "Pneumonia",
        "Pneumothorax",
    ),
    image="Image Index",
    patient="Patient ID",
    joined="Finding Labels",
)
# Irvin et al., CheXpert, AAAI 2019: train.csv has a row an image, named by its path.
CHEXPERT = LabelSchema(
    findings=(
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
    ),
    image="Path",
    patient="Path",
    key=r"(patient\d+/study\d+/[^/]+)$",
    name=r"(patient\d+/study\d+/[^/]+)$",
    patient_in=r"(patient\d+)/",
    uncertain=True,
)
# Johnson et al., MIMIC-CXR-JPG, 2019: mimic-cxr-2.0.0-chexpert.csv has a row a study,
# whose images are files/p10/p10000032/s50414267/*.jpg; the same findings.
MIMIC_CXR = LabelSchema(
    findings=CHEXPERT.findings,
    image="study_id",
    patient="subject_id",
    key=r"(?:^s?|/s)(\d+)(?:/[^/]+)?$",
    name=r"(s\d+/[^/]+)$",
    uncertain=True,
)
# Nguyen et al., VinDr-CXR, Scientific Data 9, 2022: image_labels_train.csv has three
# rows an image, one a reader, image_labels_test.csv has one; neither tells patients.
VINDR = LabelSchema(
    findings=(
        "Aortic enlargement",
        "Atelectasis",
        "Calcification",
        "Cardiomegaly",
        "Clavicle fracture",
        "Consolidation",
        "Edema",
        "Emphysema",
        "Enlarged PA",
        "ILD",
        "Infiltration",
        "Lung Opacity",
        "Lung cavity",
        "Lung cyst",
        "Mediastinal shift",
        "Nodule/Mass",
        "Pleural effusion",
        "Pleural thickening",
        "Pneumothorax",
        "Pulmonary fibrosis",
        "Rib fracture",
        "Other lesion",
        "COPD",
        "Lung tumor",
        "Pneumonia",
        "Tuberculosis",
        "Other diseases",
        "No finding",
    ),
    image="image_id",
    patient=None,
    key=STEM,
    votes=True,
    aliases={"Other disease": "Other diseases"},
)
SCHEMAS = {
    "nih": NIH,
    "chexpert": CHEXPERT,
    "mimic-cxr": MIMIC_CXR,
    "vindr": VINDR,
}
OWN = "own"
UNCERTAIN = 2
"""In arrays of labels, beside 0 and 1: left out of loss and metrics."""


def findings_of(data: Mapping[str, Any]) -> list[str]:
    """Those that the section `data` of a configuration asks for."""
    if own := data.get("own_labels"):
        return list(own["findings"])
    return list(SCHEMAS[data.get("label_schema", "nih")].findings)


RESERVED = (
    *("image", "patient", "uri", "etag", "key", "pixels"),
    *("shard", "row", "reason", "status", "model_id"),
)
"""Names that columns of our own tables have beside those of the findings."""


class OwnLabels(Section):
    """A label file in a form of one's own; see `schemas.LabelSchema`."""

    findings: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    """In the order of the model's outputs."""
    image: str
    """Column with the names of the images' files, with or without folder and ending."""
    patient: str | None = None
    """Column that tells whose an image is; null: each is a patient of its own."""
    joined: str | None = None
    """Column with the findings of an image, `separator` between them; null: each
    finding has a column of its name, with 1 or 0, and -1 where it is uncertain."""
    separator: Annotated[str, Field(min_length=1)] = "|"

    @field_validator("findings")
    @classmethod
    def _names_of_columns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name.strip() or name in RESERVED or value.count(name) > 1:
                raise ValueError(
                    f"must be different names, and none of {', '.join(RESERVED)}"
                )
        return value

    def schema_of_file(self) -> LabelSchema:
        """What it says of the file."""
        return LabelSchema(
            self.findings,
            self.image,
            self.patient,
            self.joined,
            self.separator,
            key=STEM,
            uncertain=not self.joined,
        )
