"""The faster step computes what Keras does, and leaves a plain Keras model behind."""

import json

import numpy as np
import pytest

from tests.refusals import refused
from xray.config.backbones import BACKBONES
from xray.config.run import RunConfig
from xray.model.cpu_step import BFLOAT16, check_precision, quicken, slacken
from xray.model.network import build_model, find_backbone

pytestmark = pytest.mark.slow  # imports TensorFlow

# Few values a channel: the variance of a population of 18 is 6% more than a batch's.
SHAPE = (2, 3, 3, 5)


def make_layer(**settings):
    """A built layer inside a model, with weights that are not as they begin."""
    import keras

    settings = {"momentum": 0.7, "epsilon": 1e-3} | settings
    layer = keras.layers.BatchNormalization(**settings)
    model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
    rng = np.random.default_rng(3)
    layer.set_weights([0.5 + rng.random(w.shape) for w in layer.get_weights()])
    return model, layer


def run(model, training):
    """Output, and gradients of a weighted sum of it, by inputs and by weights."""
    import tensorflow as tf

    rng = np.random.default_rng(4)
    inputs = tf.constant(rng.normal(2, 3, SHAPE), tf.float32)
    weighs = tf.constant(rng.normal(size=SHAPE), tf.float32)
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = model(inputs, training=training)
        loss = tf.reduce_sum(output * weighs)
    gradients = tape.gradient(loss, [inputs, *variables])
    return [output.numpy(), *(each.numpy() for each in gradients)]


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 1.001e-5}]
)
def test_normalization_is_that_of_keras(settings, training, trainable):
    results = []
    for fast in (False, True):
        model, layer = make_layer(**settings)
        layer.trainable = trainable
        if fast:
            quicken(model)
            assert "call" in vars(layer)
        found = run(model, training)
        results.append([*found, *layer.get_weights()])
    for ours, theirs in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    moved = np.abs(results[1][-1] - make_layer(**settings)[1].get_weights()[-1]).max()
    assert (moved > 0.1) == (training and trainable)


@pytest.mark.parametrize("settings", [{"axis": 1}, {"epsilon": 1e-6}, {"renorm": True}])
def test_what_the_kernel_does_not_compute_is_left_to_keras(settings):
    model, layer = make_layer(**settings)
    quicken(model)
    assert "call" not in vars(layer)


def test_a_mask_is_left_to_keras():
    mask = np.ones(SHAPE[:3], bool)
    mask[0] = False
    inputs = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    found = []
    for fast in (False, True):
        model, layer = make_layer()
        if fast:
            quicken(model)
        found.append(np.array(layer(inputs, training=True, mask=mask)))
    np.testing.assert_array_equal(*found)


def make_config(backbone="Tiny", size=32, alpha=1.0, **training):
    settings = {
        "data": {
            "images": "s3://bucket/images/",
            "labels": "s3://bucket/labels.csv",
            "image_size": size,
        },
        "model": {
            "backbone": backbone,
            "alpha": alpha,
            "pooling": "avg",
            "dropout": 0.0,
        },
        "training": {"optimizer": "sgd", "learning_rate": 0.01} | training,
    }
    return RunConfig.model_validate(settings)


def take_steps(model, size=32, steps=2):
    """Weights after steps on a drawn batch, and what the model then says of it."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, size, size, 1), np.uint8)
    labels = (rng.random((6, 15)) > 0.5).astype(np.float32)
    for _ in range(steps):
        model.train_on_batch(images, labels)
    return model.get_weights(), np.array(model.predict_on_batch(images))


@pytest.mark.parametrize("frozen", [0, 1])
def test_training_is_that_of_keras(frozen):
    config = make_config(frozen_epochs=frozen)
    plain, fast = build_model(config), build_model(config)
    before = plain.get_weights()
    quicken(fast)
    (theirs, told), (ours, our_told) = take_steps(plain), take_steps(fast)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(our_told, told, atol=1e-5)
    moved = [np.abs(a - b).max() for a, b in zip(ours, before, strict=True)]
    assert max(moved) > 2e-4
    assert any(step == 0 for step in moved) == bool(frozen)


@pytest.mark.parametrize("precision", ["float32", BFLOAT16])
def test_what_is_saved_is_plain_keras(precision):
    import keras

    config = make_config()
    keras.utils.clear_session()
    plain = build_model(config).to_json()
    keras.utils.clear_session()
    model = build_model(config)
    quicken(model, precision)
    weights, told = take_steps(model)
    slacken(model)
    assert json.loads(model.to_json()) == json.loads(plain)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 32, 32, 1), np.uint8)
    again = keras.models.model_from_json(model.to_json())
    again.set_weights(weights)
    tolerance = 1e-5 if precision == "float32" else 2e-2
    np.testing.assert_allclose(again(images), told, atol=tolerance)
    np.testing.assert_array_equal(again(images), model(images))


def test_bfloat16_multiplies_and_everything_else_stays_float32():
    config = make_config()
    plain, fast = build_model(config), build_model(config)
    quicken(fast, BFLOAT16)
    used = {
        type(layer).__name__: layer.compute_dtype
        for layer in fast.get_layer("tiny").layers
    }
    assert used["Conv2D"] == "bfloat16"
    assert used["ReLU"] == used["BatchNormalization"] == "float32"
    (_, told), (ours, our_told) = take_steps(plain), take_steps(fast)
    assert {array.dtype for array in ours} == {np.dtype(np.float32)}
    assert our_told.dtype == np.float32
    difference = np.abs(our_told - told).max()
    assert 1e-6 < difference < 2e-2  # it is another rounding, and no more than that
    for variable in fast.optimizer.variables:
        assert "bfloat16" not in str(variable.dtype)


def test_a_strided_depthwise_convolution_stays_float32():
    model = build_model(make_config("MobileNet"))
    quicken(model, BFLOAT16)
    layers = model.get_layer("mobilenet_1.00_32").layers
    found = {
        (type(layer).__name__, tuple(layer.strides)): layer.compute_dtype
        for layer in layers
        if hasattr(layer, "strides")
    }
    assert found["DepthwiseConv2D", (2, 2)] == "float32"
    assert found["DepthwiseConv2D", (1, 1)] == found["Conv2D", (1, 1)] == "bfloat16"


def test_a_precision_that_the_cpu_lacks_is_refused():
    check_precision("float32", False)
    check_precision(BFLOAT16, True)
    with refused("needs a CPU with AVX512_BF16 or AMX, as EC2's m7i.*Got one without"):
        check_precision(BFLOAT16, False)
    with refused("must be float32 or mixed_bfloat16. Got mixed_float16"):
        check_precision("mixed_float16", True)


@pytest.mark.cluster
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_normalization_of_every_backbone_is_that_of_keras(backbone):
    """Layer by layer: through a whole network a rounding grows as in any other."""
    import keras

    taken = BACKBONES[backbone]
    size, alpha = taken.smallest, min(taken.alphas, default=1.0)
    fast = build_model(make_config(backbone, size, alpha))
    plain = build_model(make_config(backbone, size, alpha))
    quicken(fast)
    rng = np.random.default_rng(0)
    pairs = zip(find_backbone(fast).layers, find_backbone(plain).layers, strict=True)
    for ours, theirs in pairs:
        if type(ours) is not keras.layers.BatchNormalization:
            continue
        assert "call" in vars(ours)
        inputs = rng.normal(1, 2, (2, 3, 3, ours.input.shape[-1])).astype(np.float32)
        for training in (False, True):
            found, expected = (
                np.array(layer(inputs, training=training)) for layer in (ours, theirs)
            )
            np.testing.assert_allclose(found, expected, atol=1e-4)
        for mine, other in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-4)
