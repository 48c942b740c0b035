"""A frozen graph says what the model says, in batches of one size."""

import numpy as np
import pytest

from tests.model.test_cpu_step import make_config
from xray.config.backbones import BACKBONES
from xray.model.frozen import predict_frozen
from xray.model.network import build_model, find_backbone
from xray.model.predict import SCORE_BATCH

pytestmark = pytest.mark.slow  # imports TensorFlow


def used_model(backbone="Tiny", size=32, alpha=1.0):
    """With moving statistics of drawn images, so that its scores differ by image."""
    import keras

    model = build_model(make_config(backbone, size, alpha))
    layers = find_backbone(model).layers
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics of the last batch
    model(drawn(16, size), training=True)
    return model


def drawn(count, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1), np.uint8)


@pytest.mark.parametrize("count", [1, SCORE_BATCH, SCORE_BATCH + 3])
def test_scores_are_those_of_the_model(count):
    model, images = used_model(), drawn(count)
    expected = model.predict(images, verbose=0)
    found = predict_frozen(model, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    assert count == 1 or np.ptp(expected, axis=0).max() > 1e-2


def test_no_images_have_no_scores():
    assert predict_frozen(used_model(), drawn(0)).shape == (0, 15)


def test_an_image_gets_the_same_scores_wherever_it_stands():
    model, images = used_model(), drawn(SCORE_BATCH + 5)
    whole = predict_frozen(model, images)
    np.testing.assert_array_equal(predict_frozen(model, images[-3:]), whole[-3:])


def test_every_model_has_a_graph_of_its_own():
    images = drawn(4)
    one, other = used_model(), used_model()
    other.set_weights([w * 1.1 for w in other.get_weights()])
    found = predict_frozen(one, images), predict_frozen(other, images)
    for model, scores in zip((one, other), found, strict=True):
        np.testing.assert_allclose(scores, model.predict(images, verbose=0), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.cluster
@pytest.mark.parametrize("backbone", ["MobileNet", "MobileNetV2"])
def test_real_networks_are_frozen(backbone):
    taken = BACKBONES[backbone]
    size = taken.smallest
    model = used_model(backbone, size, min(taken.alphas, default=1.0))
    batch = drawn(SCORE_BATCH, size)
    found = predict_frozen(model, batch)
    expected = model.predict_on_batch(batch)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 1e-3


@pytest.mark.cluster
def test_what_freezing_moves_is_float32s_own_rounding():
    """Frozen or not, scores stand as far from those of the same network in float64."""
    model, images = used_model("ResNet50"), drawn(SCORE_BATCH)
    exact = in_float64(model).predict_on_batch(images)
    kept = np.abs(model.predict_on_batch(images) - exact).max()
    frozen = np.abs(predict_frozen(model, images) - exact).max()
    assert 0 < kept < 1e-3
    assert frozen < 3 * kept
    assert np.ptp(exact, axis=0).max() > 0.1


def in_float64(model):
    """The same network, whose layers all compute in float64."""
    import keras

    def changed(value):
        match value:
            case {"class_name": "DTypePolicy"}:
                return {**value, "config": {"name": "float64"}}
            case dict():
                return {key: changed(inner) for key, inner in value.items()}
            case list() | tuple():
                return type(value)(map(changed, value))
            case _:
                return "float64" if value == "float32" else value

    network = keras.Model.from_config(changed(model.get_config()))
    network.set_weights([weight.astype("float64") for weight in model.get_weights()])
    return network
