"""Where a model's labels are from, in the words of its card."""

from xray.config.schemas import CHEXPERT, SCHEMAS
from xray.model.sidecar import ModelInfo

FORMS = {
    "nih": (
        "NIH ChestX-ray14 (Wang et al., ChestX-ray8, CVPR 2017)",
        "a program mined from radiology reports",
    ),
    "chexpert": (
        "CheXpert (Irvin et al., AAAI 2019)",
        "a program mined from radiology reports",
    ),
    "mimic-cxr": (
        "MIMIC-CXR-JPG (Johnson et al., 2019)",
        "a program mined from radiology reports",
    ),
    "vindr": (
        "VinDr-CXR (Nguyen et al., Scientific Data 9, 2022)",
        "radiologists gave, half or more of an image's readers deciding",
    ),
    "own": ("its owner's own", "its owner gave"),
}
"""By `data.label_schema`: what the label file is, and who labelled."""


def labelled_by(info: ModelInfo) -> str:
    """Who labelled the images, and how: after "labels that"."""
    return FORMS.get(_schema(info), FORMS["own"])[1]


def form(info: ModelInfo) -> str:
    """Whose form the label file has."""
    return FORMS.get(_schema(info), FORMS["own"])[0]


def _schema(info: ModelInfo) -> str:
    return str(info.config.get("data", {}).get("label_schema", "nih"))


def doubt(info: ModelInfo) -> str:
    """What a reader must know of these labels, or of whose images they are."""
    if _schema(info) == "nih":
        return """In ChestX-ray14 the labels were mined from reports, and are right in
            over 90% of cases by their authors' estimate. """
    if _schema(info) == "vindr":
        return """VinDr-CXR tells no patients: each image counts as one of its own, so
            that images of one person may be on both sides. """
    if not SCHEMAS.get(_schema(info), CHEXPERT).uncertain:
        return ""
    policy = info.config.get("data", {}).get("uncertain", "zeros")
    told = {"ignored": "was left out", "ones": "was taken as 1"}
    said = told.get(policy, "was taken as 0")
    return f"What is uncertain (-1) {said}, a blank was taken as 0. "
