"""The same network in fewer seconds a step, on a CPU with TensorFlow.

Keras 3 computes batch normalization there from single operations, 40% of a step's time;
TensorFlow has one kernel for all of it. And some CPUs multiply faster in bfloat16. Both
are put on a model's layers as they stand: their classes, their configuration and what
is saved of them stay plain Keras.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from xray.common.errors import UserError
from xray.data.pipeline import backend_name
from xray.records.machine import multiplies_bfloat16

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

BFLOAT16 = "mixed_bfloat16"
# With less TensorFlow's kernel takes this one (tf.compat.v1.nn.fused_batch_norm).
LEAST_EPSILON = 1.001e-5


def check_precision(
    precision: str, bfloat16: bool | None = None, where: str = ""
) -> None:
    """Refuse a precision in which a CPU gains nothing.

    Args:
        precision: as `runner.precision` names it.
        bfloat16: whether the CPU multiplies in it; None looks at this machine's.
        where: the machine, for the message.

    Raises:
        UserError: it is not float32, nor bfloat16 on a CPU that has it.
    """
    if precision == "float32":
        return
    able = multiplies_bfloat16() if bfloat16 is None else bfloat16
    if precision != BFLOAT16:
        raise UserError(
            f"On CPUs runner.precision must be float32 or {BFLOAT16}. Got {precision}."
        )
    if not able:
        raise UserError(
            f"runner.precision={BFLOAT16} needs a CPU with AVX512_BF16 or AMX, as "
            f"EC2's m7i, c7i, m7a and r7a have. Got one without{where}. Set "
            "runner.precision=float32."
        )


def quicken(model: "keras.Model", precision: str = "float32") -> None:
    """Have a model's layers compute faster; before its step is traced.

    Outputs, gradients and moving statistics are Keras' own, to the rounding of float32
    or, with `mixed_bfloat16`, of bfloat16 where convolutions multiply. Weights,
    optimizer and statistics stay float32, and so does what no listed layer does.

    Args:
        model: of Keras; with another backend than TensorFlow it stays as it is.
        precision: float32 or mixed_bfloat16.
    """
    if backend_name() != "tensorflow":
        return  # Keras' own code runs
    low = precision == BFLOAT16
    for layer in _leaves(model.layers):
        if _can_be_fused(layer):
            layer.call = partial(_fused, layer)
            layer.autocast = not low  # the kernel takes bfloat16 beside float32
        elif low and _gains_by_bfloat16(layer):
            layer.dtype_policy = BFLOAT16


def slacken(model: "keras.Model") -> None:
    """Undo `quicken`: the model is what it was, with its weights as they are."""
    for layer in _leaves(model.layers):
        if isinstance(vars(layer).get("call"), partial):
            del layer.call
            layer.autocast = True
        elif _gains_by_bfloat16(layer):
            layer.dtype_policy = "float32"


def _leaves(layers: "Iterable[keras.Layer]") -> "Iterator[keras.Layer]":
    import keras

    for layer in layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer.layers)
        else:
            yield layer


def _can_be_fused(layer: "keras.Layer") -> bool:
    """Whether TensorFlow's kernel computes what this layer does."""
    import keras

    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.dtype_policy.name == "float32"
        and layer.epsilon >= LEAST_EPSILON
        and layer.input.ndim == 4
        and not layer.synchronized
        and not getattr(layer, "renorm", False)
    )


def _gains_by_bfloat16(layer: "keras.Layer") -> bool:
    """Of the layers that multiply much, those whose gradients have a fast kernel.

    A depthwise convolution with a stride has none in bfloat16: its input's gradient
    takes 45 to 59 ms where float32's takes 0.4 to 5 (Zen 4, TensorFlow 2.19).
    """
    import keras

    if type(layer) is keras.layers.DepthwiseConv2D:
        return set(layer.strides) == {1}
    return type(layer) is keras.layers.Conv2D


def _fused(
    layer: "keras.layers.BatchNormalization",
    inputs: "tf.Tensor",
    training: bool | None = None,
    mask: "tf.Tensor | None" = None,
) -> "tf.Tensor":
    """The layer's `call`, (N, H, W, C) to the same shape and dtype."""
    import tensorflow as tf

    if mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    channels = inputs.shape[-1]
    scale = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones([channels])
    offset = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros([channels])
    mean, variance = (
        tf.convert_to_tensor(v) for v in (layer.moving_mean, layer.moving_variance)
    )
    learns = bool(training and layer.trainable)
    outputs, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(
        *(inputs, scale, offset),
        *((None, None) if learns else (mean, variance)),
        epsilon=layer.epsilon,
        is_training=learns,
    )
    if learns:
        # The kernel tells the variance of the population; Keras keeps the batch's.
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        new = 1 - layer.momentum
        layer.moving_mean.assign(mean * layer.momentum + batch_mean * new)
        batch_variance *= (count - 1) / count
        layer.moving_variance.assign(variance * layer.momentum + batch_variance * new)
    return outputs
