"""Importing Keras without what only other users of it need."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from xray.model.keras_import import keras_backend

SAYS = """
import sys
from xray.model.keras_import import import_keras
import_keras()
import keras
print(keras.backend.backend(), *(n for n in ("jax", "sklearn", "matplotlib")
                                 if n in sys.modules))
import jax, matplotlib, sklearn
print(sys.meta_path[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "said"), [("tensorflow", ["tensorflow"]), ("jax", ["jax", "jax"])]
)
def test_keras_is_imported_without_others_that_can_be_imported_later(backend, said):
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        env={"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "HOME": "/tmp"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.split() == said
    assert "Hidden" not in second


def test_the_backend_is_what_keras_would_take(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert keras_backend() == "tensorflow"
    file = tmp_path / "keras.json"
    for content in ("{", "[]", "{}"):
        file.write_text(content)
        assert keras_backend() == "tensorflow"
    file.write_text(json.dumps({"backend": "jax"}))
    assert keras_backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert keras_backend() == "tensorflow"
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_backend() == "tensorflow"
    (tmp_path / ".keras").mkdir()
    file.rename(tmp_path / ".keras" / "keras.json")
    assert keras_backend() == "jax"
