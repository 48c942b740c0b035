"""A model in other programs' forms, read by those programs."""

import json

import numpy as np
import pytest

from tests.conftest import assert_one_line, run_script
from tests.model.test_frozen import drawn, used_model
from tests.refusals import refused
from xray.data.labels import FINDINGS
from xray.model import export
from xray.model.export import SUFFIXES, export_model

pytestmark = pytest.mark.slow  # imports TensorFlow


def read_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    named = session.get_modelmeta().custom_metadata_map["findings"]
    assert named == ",".join(FINDINGS)
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def read_tflite(path):
    import tensorflow as tf

    run = tf.lite.Interpreter(str(path)).get_signature_runner()
    (name,) = run.get_input_details()

    def one_by_one(images):
        found = [run(**{name: image[None]}) for image in images]
        return np.concatenate([next(iter(outputs.values())) for outputs in found])

    return one_by_one


def read_savedmodel(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def run(images):
        assert loaded  # which the signature needs to live
        (found,) = serve(tf.constant(images)).values()
        return found.numpy()

    return run


READERS = {"onnx": read_onnx, "tflite": read_tflite, "savedmodel": read_savedmodel}


@pytest.mark.parametrize("form", SUFFIXES)
def test_other_programs_find_the_same_probabilities(form, tmp_path):
    model, images = used_model("MobileNet", 64, 0.25), drawn(5, 64)
    path = tmp_path / f"model{SUFFIXES[form]}"
    assert export_model(model, FINDINGS, form, path) < 1e-5
    expected = model.predict(images, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-2
    np.testing.assert_allclose(READERS[form](path)(images), expected, atol=1e-5)


def test_a_model_that_differs_is_refused(tmp_path, monkeypatch):
    model = used_model()

    def export_another(model, findings, path):
        return lambda pixels: model.predict(pixels, verbose=0) + 2e-4

    monkeypatch.setitem(export._FORMS, "onnx", export_another)
    with refused("differs from the Keras model by 2.0e-04 in a probability"):
        export_model(model, FINDINGS, "onnx", tmp_path / "model.onnx")


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "ONNX_PACKAGES", ("onnx", "tf3onnx"))
    with refused("ONNX needs tf3onnx. Install the versions"):
        export_model(None, FINDINGS, "onnx", tmp_path / "model.onnx")


def test_the_script_writes_to_s3_with_the_sidecar(own_bucket):
    model = "tests/compatibility/models/tiny.keras"
    keys = ("--credentials", own_bucket.credentials)
    run = ("experiments/export.py", "--model", model, "--out", "s3://nih/export/")
    done = run_script(*run, *keys, "--format", "savedmodel")
    assert done.returncode == 0, done.stderr
    assert "s3://nih/export/tiny: 0.2 MiB; probabilities" in done.stdout
    assert done.stderr == ""
    folder = own_bucket.folder / "export"
    sidecar = json.loads((folder / "tiny.json").read_text())
    images = drawn(3, sidecar["image_size"])
    found = read_savedmodel(folder / "tiny")(images)
    assert found.shape == (3, len(sidecar["findings"]))


def test_what_is_no_model_is_one_line(tmp_path):
    run = ("experiments/export.py", "--format", "tflite", "--model")
    done = run_script(*run, tmp_path / "absent.keras")
    assert done.returncode == 2
    assert_one_line(done.stderr, "absent.keras does not exist")
