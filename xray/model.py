"""The one Keras model that every runner trains, preprocessing included."""

import hashlib
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xray.config import BACKBONES, ModelConfig, RunConfig
from xray.errors import UserError
from xray.labels import FINDINGS

if TYPE_CHECKING:
    import keras

    from xray.storage import Storage

# What each backbone was made for: pixel * scale + offset. keras.applications' own
# preprocess_input does the same outside the model, where a runner could forget it.
INPUT_SCALING = dict.fromkeys(BACKBONES, (1 / 127.5, -1.0))


def build_model(config: RunConfig, storage: "Storage | None" = None) -> "keras.Model":
    """The compiled model: uint8 (N, H, W, 1) to probabilities (N, 15).

    Equal configurations give equal architectures and equal initial weights, in any
    process, since every random number comes from `training.seed`. Without `runner.xla`
    Keras chooses: XLA with JAX, and with TensorFlow if the machine has a GPU.

    Args:
        config: the run.
        storage: needed when `model.weights` is on S3.

    Raises:
        UserError: the weights cannot be had or do not fit.
    """
    import keras

    keras.utils.set_random_seed(config.training.seed)
    size = config.data.image_size
    pixels = keras.Input((size, size, 1), dtype="uint8", name="pixels")
    scale, offset = INPUT_SCALING[config.model.backbone]
    grey = keras.layers.Rescaling(scale, offset, name="scale")(pixels)
    rgb = keras.ops.tile(grey, (1, 1, 1, 3))  # half the time of concatenating thrice
    features = _backbone(config.model, size)(rgb)
    outputs = _head(features, config.model, config.training.seed)
    model = keras.Model(pixels, outputs, name="xray")
    if config.model.weights not in (None, "imagenet"):
        _load_weights(model, config.model.weights, storage)
    model.compile(
        optimizer=_optimizer(config.training.optimizer, config.training.learning_rate),
        loss="binary_crossentropy",
        jit_compile="auto" if config.runner.xla is None else config.runner.xla,
    )
    return model


def _backbone(model: ModelConfig, size: int) -> "keras.Model":
    import keras

    try:
        backbone = getattr(keras.applications, model.backbone)(
            input_shape=(size, size, 3),
            include_top=False,
            weights=model.weights if model.weights == "imagenet" else None,
            alpha=model.alpha,
        )
    except Exception as error:  # noqa: BLE001 - no network is a bare Exception in Keras
        if model.weights != "imagenet":
            raise
        raise UserError(
            f"imagenet weights of {model.backbone} cannot be fetched "
            f"({str(error).splitlines()[0][:120]}). Put the file at hand and set "
            "model.weights to it, or set model.weights=none."
        ) from None
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = model.batch_norm_momentum
    return backbone


def _head(
    features: "keras.KerasTensor", model: ModelConfig, seed: int
) -> "keras.KerasTensor":
    from keras import layers

    pooling = {
        "flatten": layers.Flatten,
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
    }
    outputs = pooling[model.pooling](name=model.pooling)(features)
    for index, units in enumerate(model.head_units):
        outputs = layers.Dense(units, activation="relu", name=f"dense_{index}")(outputs)
        if index == 0:
            outputs = layers.Dropout(model.dropout, seed=seed, name="dropout")(outputs)
    # float32 also under mixed precision: sigmoids saturate in 16 bits.
    return layers.Dense(
        len(FINDINGS), activation="sigmoid", dtype="float32", name="findings"
    )(outputs)


def _optimizer(name: str, learning_rate: float) -> "keras.Optimizer":
    import keras

    classes = {
        "rmsprop": keras.optimizers.RMSprop,
        "adam": keras.optimizers.Adam,
        "sgd": keras.optimizers.SGD,
    }
    return classes[name](learning_rate)


def _load_weights(model: "keras.Model", source: str, storage: "Storage | None") -> None:
    if not source.startswith("s3://"):
        _load_weights_file(model, Path(source), source)
        return
    from xray.storage import UnreadableObject

    if storage is None:
        raise ValueError(f"weights on S3 need a storage. Got {source}.")
    try:
        content = storage.read(source)
    except UnreadableObject as error:
        raise UserError(f"model.weights {source} cannot be read: {error}.") from None
    suffix = ".weights.h5" if source.endswith(".weights.h5") else ".keras"
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        _load_weights_file(model, Path(file.name), source)


def _load_weights_file(model: "keras.Model", path: Path, source: str) -> None:
    if not path.is_file():
        raise UserError(f"model.weights {source} does not exist. Check the path.")
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"model.weights {source} does not fit this model "
            f"({str(error).splitlines()[0][:120]}). Use weights of the same model "
            "section and image size."
        ) from None


def weights_digest(weights: list[np.ndarray]) -> str:
    """Hash of weights as `model.get_weights()` gives them, 16 hexadecimal digits."""
    content = hashlib.sha256()
    for array in weights:
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:16]


def trace(model: "keras.Model", pipeline: object) -> None:
    """Compile the training step on a few batches, then put every variable back."""
    model.optimizer.build(model.trainable_variables)
    variables = model.variables + model.optimizer.variables
    before = [np.array(variable) for variable in variables]
    model.fit(pipeline, shuffle=False, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
