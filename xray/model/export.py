"""A saved model in the forms of other programs: SavedModel, ONNX and TFLite.

Each maps the same pixels to the same probabilities as the Keras archive, with which it
is compared before anybody gets it.
"""

import contextlib
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xray.common.errors import UserError

if TYPE_CHECKING:
    import keras

SUFFIXES = {"savedmodel": "", "onnx": ".onnx", "tflite": ".tflite"}
"""Of each form's name; a SavedModel is a folder."""
TOLERANCE = 1e-4  # of a probability
SIDES = (1, 4, 16, 0)  # cells along a picture that is compared; 0: a pixel each
ONNX_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
Forward = Callable[[np.ndarray], np.ndarray]


def export_model(
    model: "keras.Model", findings: Sequence[str], form: str, path: Path
) -> float:
    """Write the model at `path` in such a form.

    In float32, for batches of any size.

    Args:
        model: uint8 (N, S, S, 1) to probabilities, float32 (N, findings).
        findings: names of the outputs, which an ONNX file carries with it.
        form: of SUFFIXES.
        path: file, or folder of a SavedModel; neither may be there.

    Returns:
        The largest difference of a probability to the model's own, on drawn patterns.

    Raises:
        UserError: a package is missing, or the difference is above TOLERANCE.
    """
    check_packages(form)
    with _quiet_packages():
        pixels = _patterns(model.input_shape[1])
        own = model.predict(pixels, verbose=0)  # Keras exports what was called once
        forward = _FORMS[form](model, findings, path)
        difference = float(np.abs(forward(pixels) - own).max())
    if not difference <= TOLERANCE:  # NaN too
        raise UserError(
            f"The {form} model differs from the Keras model by {difference:.1e} in a "
            f"probability, {TOLERANCE:g} at most is borne. It is not kept; use the "
            ".keras file, or another form."
        )
    return difference


@contextlib.contextmanager
def _quiet_packages() -> Iterator[None]:
    """Without warnings of NumPy's and packages' successors, and without C++'s words.

    The converters log to standard error before they can be told not to; what goes
    wrong they raise.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def check_packages(form: str) -> None:
    """Refuse a form whose packages are not installed.

    Raises:
        UserError: that is so.
    """
    wanted = ONNX_PACKAGES if form == "onnx" else ()
    if missing := [name for name in wanted if not importlib.util.find_spec(name)]:
        raise UserError(
            f"ONNX needs {', '.join(missing)}. Install the versions that "
            "requirements.lock names (make setup)."
        )


def _patterns(size: int) -> np.ndarray:
    """Pictures from one flat grey to noise, uint8 (N, size, size, 1)."""
    rng = np.random.default_rng(0)
    places = np.arange(size)
    pictures = []
    for side in SIDES:
        cells = rng.integers(0, 256, (side or size, side or size), dtype=np.uint8)
        index = places * len(cells) // size
        pictures.append(cells[np.ix_(index, index)])
    return np.stack(pictures)[..., None]


def _export_saved_model(
    model: "keras.Model", findings: Sequence[str], path: Path
) -> Forward:
    import tensorflow as tf

    model.export(path, format="tf_saved_model", verbose=False)
    loaded = tf.saved_model.load(str(path))
    # Through the object, which the function needs to live.
    return lambda pixels: loaded.serve(pixels).numpy()


def _export_onnx(model: "keras.Model", findings: Sequence[str], path: Path) -> Forward:
    import onnx
    import onnxruntime

    model.export(path, format="onnx", verbose=False)
    written = onnx.load(path)
    written.metadata_props.add(key="findings", value=",".join(findings))
    onnx.save(written, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels})[0]


def _export_tflite(
    model: "keras.Model", findings: Sequence[str], path: Path
) -> Forward:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    # The delegate that is the default writes a line to the terminal.
    kernels = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    reader = tf.lite.Interpreter(str(path), experimental_op_resolver_type=kernels)

    def forward(pixels: np.ndarray) -> np.ndarray:
        entry = reader.get_input_details()[0]["index"]
        reader.resize_tensor_input(entry, pixels.shape)
        reader.allocate_tensors()
        reader.set_tensor(entry, pixels)
        reader.invoke()
        return reader.get_tensor(reader.get_output_details()[0]["index"])

    return forward


_FORMS = {
    "savedmodel": _export_saved_model,
    "onnx": _export_onnx,
    "tflite": _export_tflite,
}
