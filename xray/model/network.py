"""The one Keras model that every runner trains, preprocessing included."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.errors import UserError
from xray.config.backbones import BACKBONES
from xray.config.recipe import AugmentConfig, ModelConfig, TrainingConfig
from xray.config.run import RunConfig
from xray.model.backbones import make_backbone
from xray.model.initial_weights import check_layers, drawn_in_numpy
from xray.model.keras_import import import_keras
from xray.model.learning_rate import make_schedule
from xray.model.losses import choose_loss
from xray.model.pretrained import is_of_backbone, load_weights

if TYPE_CHECKING:
    import keras

    from xray.storage.s3 import Storage


def build_model(config: RunConfig, storage: "Storage | None" = None) -> "keras.Model":
    """The compiled model: uint8 (N, H, W, 1) to probabilities (N, 15).

    Equal configurations give equal architectures and equal initial weights, in any
    process and with either backend, since every random number comes from
    `training.seed` and those of the weights are drawn in numpy. Without `runner.xla`
    Keras chooses: XLA with JAX, and with TensorFlow if the machine has a GPU.

    Args:
        config: the run.
        storage: needed when `model.weights` is on S3.

    Raises:
        UserError: the weights cannot be had or do not fit.
    """
    import_keras()
    import keras

    keras.utils.set_random_seed(config.training.seed)
    size, seed = config.data.image_size, config.training.seed
    pixels = keras.Input((size, size, 1), dtype="uint8", name="pixels")
    grey = _augment(pixels, config.model.augment, seed)
    rgb = _scale(_crop(grey, size, config.model.crop), config.model.backbone)
    with drawn_in_numpy():
        features = _backbone(config.model, config.model.crop or size)(rgb)
        outputs = _head(features, config.model, len(config.data.findings), seed)
    model = keras.Model(pixels, outputs, name="xray")
    check_layers(model.layers)
    if config.model.weights not in (None, "imagenet"):
        weights = config.model.weights
        target = find_backbone(model) if is_of_backbone(weights) else model
        load_weights(target, weights, config.data.findings, storage)
    freeze(model, config.training)
    model.compile(
        make_optimizer(config.training),
        choose_loss(config.training, config.weighs_labels),
        jit_compile="auto" if config.runner.xla is None else config.runner.xla,
    )
    return model


def _augment(
    pixels: "keras.KerasTensor", augment: AugmentConfig, seed: int
) -> "keras.KerasTensor":
    from keras import layers, ops

    turn, shift = augment.rotation_degrees / 360, augment.translation
    chosen: list[Any] = []
    if augment.flip:
        chosen.append(layers.RandomFlip("horizontal", seed=seed, name="flip"))
    if turn:
        chosen.append(
            layers.RandomRotation(turn, "nearest", seed=seed + 1, name="rotation")
        )
    if shift:
        chosen.append(
            layers.RandomTranslation(
                shift, shift, "nearest", seed=seed + 2, name="translation"
            )
        )
    if augment.brightness:
        chosen.append(
            layers.RandomBrightness(
                augment.brightness, (0, 255), seed=seed + 3, name="brightness"
            )
        )
    if chosen:
        pixels = ops.cast(pixels, "float32")
    for layer in chosen:
        pixels = layer(pixels)
    return pixels


def _crop(
    grey: "keras.KerasTensor", size: int, crop: int | None
) -> "keras.KerasTensor":
    """The middle of the image, as many pixels as `crop`."""
    if crop is None or crop == size:
        return grey
    start = (size - crop) // 2
    return grey[:, start : start + crop, start : start + crop]


def _scale(grey: "keras.KerasTensor", backbone: str) -> "keras.KerasTensor":
    """Three channels with the values that the backbone was made for."""
    import keras

    scale, offset = BACKBONES[backbone].scaling
    if len(scale) == 1:
        grey = keras.layers.Rescaling(*scale, *offset, name="scale")(grey)
        return keras.ops.tile(grey, (1, 1, 1, 3))  # half the time of concatenating
    rgb = keras.ops.tile(keras.ops.cast(grey, "float32"), (1, 1, 1, 3))
    return keras.layers.Rescaling(list(scale), list(offset), name="scale")(rgb)


def _backbone(model: ModelConfig, size: int) -> "keras.Model":
    import keras

    weights = "imagenet" if model.weights == "imagenet" else None
    try:
        backbone = make_backbone(model.backbone, size, weights, model.alpha)
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
    features: "keras.KerasTensor", model: ModelConfig, findings: int, seed: int
) -> "keras.KerasTensor":
    from keras import layers, regularizers

    pooling = {
        "flatten": layers.Flatten,
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
    }
    penalty = regularizers.L2(model.head_l2) if model.head_l2 else None
    outputs = pooling[model.pooling](name=model.pooling)(features)
    dropout = layers.Dropout(model.dropout, seed=seed, name="dropout")
    if not model.head_units and model.dropout:
        outputs = dropout(outputs)
    for index, units in enumerate(model.head_units):
        outputs = layers.Dense(
            units,
            activation="relu",
            kernel_regularizer=penalty,
            name=f"dense_{index}",
        )(outputs)
        if index == 0:
            outputs = dropout(outputs)
    # float32 also under mixed precision: sigmoids saturate in 16 bits.
    return layers.Dense(
        findings,
        activation="sigmoid",
        kernel_regularizer=penalty,
        dtype="float32",
        name="findings",
    )(outputs)


def find_backbone(model: "keras.Model") -> "keras.Model":
    """The network of `make_backbone` inside one of our models."""
    import keras

    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def freeze(model: "keras.Model", training: TrainingConfig) -> None:
    """Hold the backbone as it is, where the recipe begins so; before `compile`."""
    if training.frozen_epochs:
        find_backbone(model).trainable = False


def unfreeze(model: "keras.Model", optimizer: "keras.Optimizer") -> None:
    """Let the backbone be trained from now on, with a new `optimizer`."""
    find_backbone(model).trainable = True
    model.compile(optimizer, model.loss, jit_compile=model.jit_compile)


def make_optimizer(training: TrainingConfig) -> "keras.Optimizer":
    """The optimizer of a recipe, new."""
    import keras

    classes = {
        "rmsprop": keras.optimizers.RMSprop,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "lamb": keras.optimizers.Lamb,
    }
    settings: dict[str, Any] = {"global_clipnorm": training.clip_norm}
    if training.momentum:
        settings["momentum"] = training.momentum
    if training.weight_decay or training.optimizer == "adamw":
        settings["weight_decay"] = training.weight_decay
    if not training.rate_varies_by_step():
        return classes[training.optimizer](training.learning_rate, **settings)
    schedule = make_schedule(training)
    optimizer = classes[training.optimizer](schedule, **settings)
    schedule.attach(optimizer)
    return optimizer


def weights_digest(weights: list[np.ndarray]) -> str:
    """Hash of weights as `model.get_weights()` gives them, 16 hexadecimal digits.

    All as float32: the one counter among them, in EfficientNetB0, has 64 bits with
    TensorFlow and 32 with JAX.
    """
    content = hashlib.sha256()
    for array in weights:
        content.update(np.ascontiguousarray(array, np.float32).tobytes())
    return content.hexdigest()[:16]


def trace(model: "keras.Model", pipeline: object) -> None:
    """Compile the training step on a few batches, then put every variable back."""
    model.optimizer.build(model.trainable_variables)
    variables = model.variables + model.optimizer.variables
    before = [np.array(variable) for variable in variables]
    model.fit(pipeline, shuffle=False, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
