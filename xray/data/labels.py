"""The NIH label file: which findings and which patient each image has."""

import difflib
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from xray.common.errors import UserError
from xray.config.conditions import parse_condition

if TYPE_CHECKING:
    import pandas as pd

# Wang et al., ChestX-ray8, CVPR 2017, extended to 14 findings; with No Finding, 15.
FINDINGS = (
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
)
COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
AGE = r"^(\d+(?:\.\d+)?)([YMWD]?)$"
YEARS = {"": 1, "Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
MAX_BYTES = 2**27  # unzipped; NIH's 112,120 rows have 8 MB
MAX_COLUMNS = 1000
MAX_HEAD_BYTES = 4096  # of the first line, for the nearest name of a column


def read_labels(content: bytes, source: str) -> "pd.DataFrame":
    """One row an image, indexed by its file name: `patient` and 15 columns of 0 or 1.

    Args:
        content: the CSV, gzipped or not.
        source: its address, for messages.

    Raises:
        UserError: not a CSV, a column is missing, a label is unknown, or an image
            stands in two rows.
    """
    import pandas as pd  # here: who wants the findings' names alone need not wait

    table = _parse_csv(content, source, COLUMNS)
    if table.isna().any(axis=None):
        row = int(table.isna().any(axis=1).to_numpy().argmax()) + 2
        raise UserError(f"{source} has an empty field in line {row}. Fill it in.")
    names = table["Image Index"]
    if names.duplicated().any():
        raise UserError(
            f"{source} lists image {names[names.duplicated()].iloc[0]!r} more than "
            "once. Keep one row per image."
        )
    findings = table["Finding Labels"].str.replace(r"\s*\|\s*", "|", regex=True)
    findings = findings.str.strip()
    _refuse_unknown(findings, source)  # of which each would be a column
    encoded = findings.str.get_dummies("|")
    labels = encoded.reindex(columns=list(FINDINGS), fill_value=0).astype(np.uint8)
    labels.insert(0, "patient", table["Patient ID"].to_numpy())
    return labels.set_index(pd.Index(names, name="image"))


def fulfilling(content: bytes, source: str, where: Mapping[str, str]) -> "pd.Series":
    """Which images fulfil every condition: bool, indexed by file name.

    Args:
        content: of a CSV that `read_labels` reads.
        source: its address, for messages.
        where: column to condition, as `data.where` has them.

    Raises:
        UserError: there is no such column.
    """
    table = _parse_csv(content, source, (COLUMNS[0], *where))
    kept = table["Image Index"].notna()
    for column, text in where.items():
        condition = parse_condition(text)
        if condition.values is not None:
            kept &= table[column].str.strip().isin(condition.values)
        else:
            kept &= _numbers(table[column]).between(condition.low, condition.high)
    return kept.set_axis(table["Image Index"])


def _numbers(texts: "pd.Series") -> "pd.Series":
    """Numbers, and ages in years (DICOM PS3.5, 6.2: AS); NaN for anything else."""
    parts = texts.str.strip().str.extract(AGE)
    return parts[0].astype(float) * parts[1].map(YEARS)


def _refuse_unknown(findings: "pd.Series", source: str) -> None:
    named = {name for text in findings.unique() for name in text.split("|")}
    if unknown := sorted(named - {*FINDINGS, ""}):
        raise UserError(
            f"{source} has unknown finding {unknown[0]!r:.80}. The {len(FINDINGS)} "
            f"known ones: {', '.join(FINDINGS)}."
        )


def _parse_csv(content: bytes, source: str, columns: Sequence[str]) -> "pd.DataFrame":
    """These columns, as texts."""
    import pandas as pd

    try:
        content = _unzipped(content, source)
        _refuse_wide(content, source)
        # index_col=False: NIH's first edition ends its rows with an empty field,
        # which would otherwise shift every column by one. usecols: the others are
        # never made, however many there are.
        table = pd.read_csv(
            io.BytesIO(content),
            dtype=str,
            index_col=False,
            usecols=lambda name: name in columns,
        )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(
            f"{source} is not a CSV file ({type(error).__name__}). It must be the NIH "
            "label file, Data_Entry_2017."
        ) from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        head = content.lstrip()[:MAX_HEAD_BYTES].decode(errors="replace")
        named = head.partition("\n")[0].replace('"', "").strip().split(",")
        near = difflib.get_close_matches(missing[0], named, n=1)
        hint = f" Did you mean {near[0]!r:.80}?" if near else ""
        raise UserError(
            f"{source} lacks column {missing[0]!r}.{hint} The NIH label file has "
            f"{', '.join(COLUMNS)}, and more."
        )
    return table[list(columns)]


def _unzipped(content: bytes, source: str) -> bytes:
    if content[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{source} has more than {MAX_BYTES // 2**20} MiB. The NIH label file has "
            "8; name that one, or a part of yours."
        )
    return content


def _refuse_wide(content: bytes, source: str) -> None:
    line = content[: content.find(b"\n") + 1] or content
    if (columns := line.count(b",") + 1) > MAX_COLUMNS:
        raise UserError(
            f"{source} has {columns} columns, more than {MAX_COLUMNS}. The NIH label "
            "file has 11; leave out what is not needed."
        )


def image_name(key: str) -> str:
    """The file name that the label file uses for the object `key`."""
    return PurePosixPath(key).name
