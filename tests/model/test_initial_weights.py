"""The initial weights: TensorFlow's numbers, drawn in numpy."""

from contextlib import nullcontext

import numpy as np
import pytest

from tests.layout import imported_names, modules
from tests.model.test_network import make_config
from xray.model import network
from xray.model.initial_weights import (
    AT_ONCE,
    check_layers,
    draw,
    draw_truncated_normal,
    draw_uniform,
    drawn_in_numpy,
)
from xray.model.network import build_model, weights_digest

pytestmark = pytest.mark.slow  # imports TensorFlow

# Of this project's commit 9f6f0d0, which left the drawing to Keras with TensorFlow.
DIGESTS = {
    ("Tiny", 8, 1.0): "4ac723e17afe75a4",
    ("MobileNet", 32, 0.25): "8efd107d29d311ac",
}
SHAPES = [(3, 3, 3, 8), (37,), (1, 4 * AT_ONCE + 5)]


def config_of(backbone: str, size: int, alpha: float):
    return make_config(size, backbone=backbone, alpha=alpha)


def keras_own(build):
    """What `build` returns when Keras is left to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "drawn_in_numpy", nullcontext)
        return build()


@pytest.mark.parametrize("seeds", [[0, 0], [123_456_789, 0], [2**31 - 3, 7]])
@pytest.mark.parametrize("shape", SHAPES)
def test_uniform_numbers_are_those_of_tensorflow(seeds, shape):
    import tensorflow as tf

    expected = tf.random.stateless_uniform(shape, seeds, -0.07, 0.05)
    found = draw_uniform(shape, -0.07, 0.05, seeds)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


@pytest.mark.parametrize("seeds", [[0, 0], [123_456_789, 0], [2**31 - 3, 7]])
@pytest.mark.parametrize("shape", SHAPES)
def test_truncated_normal_numbers_are_those_of_tensorflow(seeds, shape):
    import tensorflow as tf

    expected = tf.random.stateless_truncated_normal(shape, seeds, 0.1, 0.5)
    found = draw_truncated_normal(shape, 0.1, 0.5, seeds)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("shape", [(6, 5), (3, 3, 4, 8), (3, 3, 8, 1), (2, 3, 3, 4, 5)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["uniform", "truncated_normal"])
def test_initializers_draw_what_keras_draws(shape, mode, distribution):
    from keras.initializers import VarianceScaling

    initializer = VarianceScaling(1.5, mode, distribution, seed=5)
    expected = np.asarray(initializer(shape))
    np.testing.assert_allclose(draw(initializer, shape), expected, atol=1e-6)


@pytest.mark.parametrize("seed", [2**31 - 2, 2**31 + 5, 2**32 + 9])
def test_seeds_beyond_31_bits_are_cut_as_by_keras(seed):
    from keras.initializers import GlorotUniform

    initializer = GlorotUniform(seed=seed)
    expected = np.asarray(initializer((7, 9)))
    np.testing.assert_array_equal(draw(initializer, (7, 9)), expected)


@pytest.mark.parametrize("network", DIGESTS)
def test_a_model_starts_from_what_keras_draws(network):
    config = config_of(*network)
    expected = keras_own(lambda: build_model(config)).get_weights()
    for ours, own in zip(build_model(config).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, own)


@pytest.mark.parametrize(("network", "digest"), DIGESTS.items())
def test_initial_weights_do_not_change_with_versions(network, digest):
    assert weights_digest(build_model(config_of(*network)).get_weights()) == digest


def test_a_model_is_drawn_in_numpy(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "xray.model.initial_weights.draw_uniform",
        lambda shape, *_: drawn.append(tuple(shape)) or np.full(shape, 7, np.float32),
    )
    model = build_model(config_of("Tiny", 8, 1.0))
    kernels = [weight for weight in model.weights if weight.name == "kernel"]
    assert len(kernels) == 5  # three convolutions and two dense layers
    assert drawn == [tuple(weight.shape) for weight in kernels]
    assert all((np.asarray(weight) == 7).all() for weight in kernels)


def test_no_seed_is_drawn():
    import random

    import keras

    states = []
    config = config_of("Tiny", 8, 1.0)
    for build in (build_model, lambda config: keras_own(lambda: build_model(config))):
        build(config)
        states.append((random.random(), float(keras.random.uniform(()))))
    assert states[0] == states[1]


def test_keras_draws_by_itself_again_afterwards():
    from keras.initializers import VarianceScaling

    own = VarianceScaling.__call__
    with drawn_in_numpy():
        assert VarianceScaling.__call__ is draw
    assert VarianceScaling.__call__ is own
    with pytest.raises(OSError), drawn_in_numpy():
        raise OSError
    assert VarianceScaling.__call__ is own


def unknown_initializers() -> dict:
    import keras
    from keras.initializers import GlorotUniform, VarianceScaling

    class OwnDrawing(GlorotUniform):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    return {
        "RandomNormal": "random_normal",
        "Orthogonal": "orthogonal",
        "OwnDrawing": OwnDrawing(),
        "VarianceScaling": VarianceScaling(distribution="untruncated_normal"),
        "GlorotUniform": GlorotUniform(seed=keras.random.SeedGenerator(0)),
    }


@pytest.mark.parametrize(
    "name",
    ["RandomNormal", "Orthogonal", "OwnDrawing", "VarianceScaling", "GlorotUniform"],
)
def test_an_initializer_that_is_not_known_is_refused(name, monkeypatch):
    from keras import Input, Model, layers

    def make_backbone(*_):
        pixels = Input((8, 8, 3))
        convolution = layers.Conv2D(4, 3, kernel_initializer=initializer)
        return Model(pixels, Model(pixels, convolution(pixels))(pixels))

    initializer = unknown_initializers()[name]
    monkeypatch.setattr(network, "make_backbone", make_backbone)
    with pytest.raises(ValueError, match=f"^{name} would start from other numbers"):
        build_model(config_of("Tiny", 8, 1.0))


def test_known_initializers_pass():
    from keras import layers

    dense = [
        layers.Dense(3, kernel_initializer=name)
        for name in ("glorot_uniform", "he_uniform", "he_normal", "zeros", "ones")
    ]
    check_layers([*dense, layers.BatchNormalization()])


def test_nothing_private_of_keras_is_imported():
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        assert not [name for name in imported_names(text) if "keras.src" in name], path
