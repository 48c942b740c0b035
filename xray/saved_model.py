"""Loads a saved model: `from xray.saved_model import load_model`, as its card says."""

from xray.model.saved import load_model

__all__ = ["load_model"]
