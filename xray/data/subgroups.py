"""Groups of patients in which a model is scored apart: by sex, age, view, ..."""

from dataclasses import dataclass

import numpy as np

from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.data.labels import fulfilling, read_columns
from xray.data.matching import read_label_file
from xray.storage.s3 import Storage


@dataclass(frozen=True)
class Subgroup:
    """The images of which a column of the label file fulfils a condition.

    Attributes:
        column: of the label file.
        condition: as `data.subgroups` has it.
        names: of the images of the run.
    """

    column: str
    condition: str
    names: frozenset[str]

    def among(self, names: np.ndarray) -> np.ndarray:
        """Which of some images belong to it: bool (N,)."""
        return np.array([name in self.names for name in names], dtype=bool)


def find_subgroups(
    data: DataConfig, storage: Storage, names: np.ndarray
) -> tuple[Subgroup, ...]:
    """Those of `data.subgroups`, in its order.

    Args:
        data: names them, and the label file.
        storage: where that is.
        names: (N,) of the images of the run.

    Raises:
        UserError: the label file has no such column, or a group none of the images.
    """
    if not data.subgroups:
        return ()
    content = read_label_file(data, storage)
    table = read_columns(content, data.labels, data.subgroups, data.labelling)
    keys = [data.labelling.key_of(name) for name in names]
    found = []
    for column, conditions in data.subgroups.items():
        for condition in conditions:
            kept = fulfilling(table, {column: condition})
            group = Subgroup(column, condition, frozenset(names[kept[keys].to_numpy()]))
            if not group.among(names).any():
                raise UserError(
                    f"None of the {len(names)} images fulfils data.subgroups "
                    f"({column} {condition}). Look at the column's values."
                )
            found.append(group)
    return tuple(found)
