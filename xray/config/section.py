"""Section: the base of every group of settings."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)


def _named(value: Any) -> Any:
    if value == "":  # Path("") is the folder that the program happens to run in
        raise ValueError("must not be empty; null is none")
    return value


Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""As many as the libraries below can count."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What NumPy and Keras take."""
LocalPath = Annotated[Path, BeforeValidator(_named)]
"""A file or folder of this machine."""


class Section(BaseModel):
    """A closed, immutable group of settings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @field_validator("*")
    @classmethod
    def _texts_can_be_written(cls, value: Any) -> Any:
        """No file system, JSON or Java takes a NUL, or half of a surrogate pair."""
        parts = [*value, *value.values()] if isinstance(value, dict) else [value]
        for text in (str(part) for part in parts if isinstance(part, str | Path)):
            if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
                raise ValueError("must be text without a NUL or half characters")
        return value
