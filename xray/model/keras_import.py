"""Importing Keras and TensorFlow without what only other users of them need."""

import json
import os
from pathlib import Path

from xray.common.imports import Hidden

# Keras has wrappers for scikit-learn, plots by matplotlib, and imports JAX whatever it
# computes with, as TensorFlow Lite does: a quarter of the time that importing takes.
SPARED = ("sklearn", "matplotlib")


def import_keras() -> None:
    """Import Keras, and TensorFlow where it computes with that.

    To be called before either is imported. Of what is spared, only Keras' own wrappers
    of scikit-learn and its plots do not work afterwards; it can be imported as ever.
    """
    names = SPARED if keras_backend() == "jax" else (*SPARED, "jax")
    with Hidden(*names, reason="importing Keras takes no longer than it must"):
        import keras  # noqa: F401


def keras_backend() -> str:
    """What Keras will compute with, as its manual says (Configuring your backend).

    The environment names it, or else the user's file, or else it is TensorFlow.
    """
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        content = json.loads(Path(folder, "keras.json").read_text())
        return str(content["backend"])
    except (OSError, ValueError, LookupError, TypeError):
        return "tensorflow"
