"""Modules that look as if they were not installed, for a while or for good."""

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class Hidden(MetaPathFinder):
    """Has imports of some modules fail: from `hide` on, or while a block runs.

    Those that are imported already stay.

    Args:
        names: of the modules.
        reason: why, for whoever imports one all the same.
    """

    def __init__(self, *names: str, reason: str) -> None:
        self._names, self._reason = names, reason

    def find_spec(self, fullname: str, *_: object) -> None:  # noqa: D102
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is hidden: {self._reason}.")

    def hide(self) -> None:
        """Before any other way to find a module."""
        sys.meta_path.insert(0, self)

    def __enter__(self) -> None:  # noqa: D105
        self.hide()

    def __exit__(self, *_: Any) -> None:  # noqa: D105
        sys.meta_path.remove(self)
