"""The backbones as Keras models: those of keras.applications, and a tiny one."""

from typing import TYPE_CHECKING

from xray.config.backbones import BACKBONES

if TYPE_CHECKING:
    import keras


def make_backbone(
    name: str, size: int, weights: str | None = None, alpha: float = 1.0
) -> "keras.Model":
    """From float32 (N, size, size, 3) to a map of features (N, H, W, C), no pooling.

    Args:
        name: one of BACKBONES.
        size: height and width in pixels.
        weights: None or imagenet.
        alpha: width multiplier, where the network has one.
    """
    import keras

    if not BACKBONES[name].published:
        return _build_tiny(size)
    return getattr(keras.applications, name)(
        input_shape=(size, size, 3),
        include_top=False,
        weights=weights,
        **({"alpha": alpha} if BACKBONES[name].alphas else {}),
    )


def _build_tiny(size: int) -> "keras.Model":
    """Three convolutions, which start in a second where others take ten and more.

    Nothing to learn from: it is for trying a bucket, a cluster or a recipe.
    """
    import keras
    from keras import layers

    features = pixels = keras.Input((size, size, 3))
    for number, filters in enumerate((8, 16, 32)):
        features = layers.Conv2D(
            *(filters, 3),
            strides=2,
            padding="same",
            use_bias=False,
            name=f"conv_{number}",
        )(features)
        features = layers.BatchNormalization(name=f"conv_{number}_bn")(features)
        features = layers.ReLU(name=f"conv_{number}_relu")(features)
    return keras.Model(pixels, features, name="tiny")
