"""Where pipelines saved before xray.spark.ml stood look for their stages.

Spark ML writes a stage's class by its module, and imports that to load it.
"""

from typing import Any

from xray.spark.ml import stages


def __getattr__(name: str) -> Any:
    """A stage by its name."""
    return getattr(stages, name)
