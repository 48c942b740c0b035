"""The networks that can be trained, and what each expects of its pixels."""

from dataclasses import dataclass

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
