"""Spark ML stages: XrayEstimator, its XrayModel, BackboneFeaturizer, an evaluator.

    from xray.spark.ml.stages import BackboneFeaturizer, XrayEstimator

PySpark's classes are their bases, and importing this module brings no PySpark: the
stages stand in xray/spark/ml/classes.py, which is imported when one is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xray.spark.ml.classes import (
        BackboneFeaturizer,
        FindingsEvaluator,
        XrayEstimator,
        XrayModel,
    )

__all__ = ["BackboneFeaturizer", "FindingsEvaluator", "XrayEstimator", "XrayModel"]


def __getattr__(name: str) -> Any:
    """A stage by its name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from xray.spark.ml import classes

    return getattr(classes, name)
