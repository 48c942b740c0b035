"""The networks that can be trained, and what each expects: Keras' and a tiny one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# What keras.applications' own preprocess_input does to pixels from 0 to 255, as
# (scale, offset), one of each or one per channel. It is done inside the model, where no
# runner can forget it. The means and deviations are those of ImageNet.
UNIT = ((1 / 127.5,), (-1.0,))
TORCH = (
    tuple(1 / (255 * deviation) for deviation in (0.229, 0.224, 0.225)),
    tuple(-m / d for m, d in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))),
)
CAFFE = ((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68))  # blue, green, red
OWN = ((1.0,), (0.0,))  # the network rescales by itself


@dataclass(frozen=True)
class Backbone:
    """One network.

    Attributes:
        smallest: height and width in pixels of the smallest image it takes.
        scaling: of its pixels.
        alphas: width multipliers that have ImageNet weights; empty where the network
            has no width multiplier.
        published: whether it is one of keras.applications, with ImageNet weights.
    """

    smallest: int
    scaling: tuple[tuple[float, ...], tuple[float, ...]]
    alphas: tuple[float, ...] = ()
    published: bool = True


BACKBONES = {
    "MobileNet": Backbone(32, UNIT, (0.25, 0.5, 0.75, 1.0)),
    "MobileNetV2": Backbone(32, UNIT, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    "MobileNetV3Small": Backbone(32, OWN, (0.75, 1.0)),
    "MobileNetV3Large": Backbone(32, OWN, (0.75, 1.0)),
    "DenseNet121": Backbone(32, TORCH),
    "ResNet50": Backbone(32, CAFFE),
    "ResNet50V2": Backbone(32, UNIT),
    "VGG16": Backbone(32, CAFFE),
    "InceptionV3": Backbone(75, UNIT),
    "Xception": Backbone(71, UNIT),
    "EfficientNetB0": Backbone(32, OWN),
    "EfficientNetV2B0": Backbone(32, OWN),
    "EfficientNetV2S": Backbone(32, OWN),
    "Tiny": Backbone(8, UNIT, published=False),
}


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
