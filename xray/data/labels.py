"""The label file: which findings and which patient each image has."""

import difflib
import gzip
import io
import re
import zlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from xray.common.errors import UserError
from xray.config.conditions import parse_condition
from xray.config.schemas import NIH, UNCERTAIN, LabelSchema

if TYPE_CHECKING:
    import pandas as pd

FINDINGS = NIH.findings
COUNTS_AS = {"zeros": 0, "ones": 1, "ignored": UNCERTAIN}
VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}
AGE = r"^(\d+(?:\.\d+)?)([YMWD]?)$"
YEARS = {"": 1, "Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
MAX_BYTES = 2**27  # unzipped; NIH's 112,120 rows have 8 MB
MAX_COLUMNS = 1000
MAX_HEAD_BYTES = 4096  # of the first line, for the nearest name of a column


def read_labels(
    content: bytes, source: str, schema: LabelSchema = NIH, uncertain: str = "zeros"
) -> "pd.DataFrame":
    """A row an image: `patient`, and a column of 0, 1 or UNCERTAIN for each finding.

    Indexed by what the file calls the image (`LabelSchema.key_of`).

    Args:
        content: the CSV, gzipped or not.
        source: its address, for messages.
        schema: what it holds.
        uncertain: zeros, ones or ignored, what -1 counts as.

    Raises:
        UserError: not a CSV, a column is missing, a label is unknown, or an image
            stands in two rows.
    """
    import pandas as pd  # here: who wants the findings' names alone need not wait

    named = [schema.image, *([schema.patient] if schema.patient else [])]
    told = [schema.joined] if schema.joined else list(schema.findings)
    table = _parse_csv(content, source, dict.fromkeys((*named, *told)), schema.aliases)
    filled = [*named, *([schema.joined] if schema is NIH else [])]
    _refuse_empty(table[filled], source)
    keys = _keys(table[schema.image], schema)
    if schema.joined:
        labels = _split(table[schema.joined], source, schema)
    else:
        labels = _numbers_of(table[told], source, schema, uncertain)
    patient = table[schema.patient or schema.image]
    patient = patient.str.extract(schema.patient_in, expand=False).fillna(patient)
    labels.insert(0, "patient", patient.to_numpy())
    labels = labels.set_index(pd.Index(keys, name="image"))
    return _by_majority(labels) if schema.votes else _once(labels, source)


def _refuse_empty(table: "pd.DataFrame", source: str) -> None:
    if table.isna().any(axis=None):
        row = int(table.isna().any(axis=1).to_numpy().argmax()) + 2
        raise UserError(f"{source} has an empty field in line {row}. Fill it in.")


def _keys(names: "pd.Series", schema: LabelSchema) -> "pd.Series":
    """What the images are called; what does not look so stays as it is."""
    return names.str.strip().str.extract(schema.key, expand=False).fillna(names)


def _split(findings: "pd.Series", source: str, schema: LabelSchema) -> "pd.DataFrame":
    separator = schema.separator
    findings = findings.fillna("").str.strip()
    around = rf"\s*{re.escape(separator)}\s*"
    findings = findings.str.replace(around, separator, regex=True)
    _refuse_unknown(findings, source, schema)  # of which each would be a column
    encoded = findings.str.get_dummies(separator)
    columns = list(schema.findings)
    return encoded.reindex(columns=columns, fill_value=0).astype(np.uint8)


def _numbers_of(
    table: "pd.DataFrame", source: str, schema: LabelSchema, uncertain: str
) -> "pd.DataFrame":
    """0, 1 and UNCERTAIN, of a column for each finding; a blank is 0."""
    values = table.apply(lambda column: column.str.strip().map(VALUES))
    blank = table.isna() | (table.apply(lambda column: column.str.strip()) == "")
    wrong = values.isna() & ~blank
    if not schema.uncertain:
        wrong |= values == -1
    if wrong.any(axis=None):
        row, column = (int(place[0]) for place in np.nonzero(wrong.to_numpy()))
        known = "1, 0, -1 or nothing" if schema.uncertain else "1, 0 or nothing"
        raise UserError(
            f"{source} must have {known} for a finding. Got "
            f"{table.iloc[row, column]!r:.80} for {table.columns[column]} in line "
            f"{row + 2}."
        )
    values = values.mask(blank, 0).replace(-1, COUNTS_AS[uncertain])
    return values.astype(np.uint8)


def _once(labels: "pd.DataFrame", source: str) -> "pd.DataFrame":
    if labels.index.has_duplicates:
        first = labels.index[labels.index.duplicated()][0]
        raise UserError(
            f"{source} lists image {first!r} more than once. Keep one row per image."
        )
    return labels


def _by_majority(labels: "pd.DataFrame") -> "pd.DataFrame":
    """A row an image, of one for each reader: what half of them or more say."""
    rows = labels.groupby(level=0, sort=False)
    shares = rows[list(labels.columns[1:])].mean()
    decided = (shares >= 0.5).astype(np.uint8)
    decided.insert(0, "patient", rows["patient"].first())
    return decided


def read_columns(
    content: bytes, source: str, columns: Collection[str], schema: LabelSchema = NIH
) -> "pd.DataFrame":
    """Columns of the label file as texts, indexed as in `read_labels`.

    Args:
        content: of a CSV that `read_labels` reads.
        source: its address, for messages.
        columns: their names.
        schema: what the file holds; of several rows an image it is the first.

    Raises:
        UserError: there is no such column.
    """
    table = _parse_csv(content, source, dict.fromkeys((schema.image, *columns)))
    table = table.set_axis(_keys(table[schema.image], schema))
    return table[~table.index.duplicated()] if schema.votes else table


def fulfilling(table: "pd.DataFrame", where: Mapping[str, str]) -> "pd.Series":
    """Which rows of `read_columns` fulfil every condition: bool, with their index.

    Args:
        table: with the columns that `where` names.
        where: column to condition, as `data.where` has them.
    """
    kept = table.notna().any(axis=1)
    for column, text in where.items():
        condition = parse_condition(text)
        if condition.values is not None:
            kept &= table[column].str.strip().isin(condition.values)
        else:
            kept &= _numbers(table[column]).between(condition.low, condition.high)
    return kept


def _numbers(texts: "pd.Series") -> "pd.Series":
    """Numbers, and ages in years (DICOM PS3.5, 6.2: AS); NaN for anything else."""
    parts = texts.str.strip().str.extract(AGE)
    return parts[0].astype(float) * parts[1].map(YEARS)


def _refuse_unknown(findings: "pd.Series", source: str, schema: LabelSchema) -> None:
    texts = findings.unique()
    named = {name for text in texts for name in text.split(schema.separator)}
    if unknown := sorted(named - {*schema.findings, ""}):
        raise UserError(
            f"{source} has unknown finding {unknown[0]!r:.80}. The "
            f"{len(schema.findings)} known ones: {', '.join(schema.findings)}."
        )


def _parse_csv(
    content: bytes,
    source: str,
    columns: Collection[str],
    aliases: Mapping[str, str] | None = None,
) -> "pd.DataFrame":
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
            usecols=lambda name: name in columns or name in (aliases or ()),
        ).rename(columns=dict(aliases or {}))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(
            f"{source} is not a CSV file ({type(error).__name__}). It must be a label "
            "file, such as NIH's Data_Entry_2017."
        ) from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        head = content.lstrip()[:MAX_HEAD_BYTES].decode(errors="replace")
        named = head.partition("\n")[0].replace('"', "").strip().split(",")
        near = difflib.get_close_matches(missing[0], named, n=1)
        hint = f" Did you mean {near[0]!r:.80}?" if near else ""
        raise UserError(
            f"{source} lacks column {missing[0]!r}.{hint} A file of its "
            f"data.label_schema has {', '.join(columns)[:400]}."
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
