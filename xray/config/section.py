"""Section: the base of every group of settings."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A closed, immutable group of settings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )
