"""A saved model at work: probabilities of one picture, and Grad-CAM of its findings."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.errors import UserError
from xray.model.frozen import freeze_graph

if TYPE_CHECKING:
    import keras

    from xray.model.sidecar import ModelInfo

DEFAULT_THRESHOLD = 0.5
THRESHOLD_KIND = "youden"


class Scorer:
    """One model, traced once; safe to share by threads.

    Args:
        model: uint8 (N, S, S, 1) to probabilities (N, 15).
        info: its sidecar.
        name: of its files, for people.

    Raises:
        UserError: the model has no feature map to explain, or Keras runs on a backend
            without gradients here.
    """

    def __init__(self, model: "keras.Model", info: "ModelInfo", name: str) -> None:
        self.info, self.name = info, name
        backbone, head = split_at_features(model)
        size = info.image_size
        self._forward = _frozen(
            lambda pixels: _forward(backbone, head, pixels), (1, size, size, 1)
        )
        self._gradients = _compiled(_gradients_of(head))
        _, features = self.score(np.zeros((size, size, 1), np.uint8))
        self.heat_maps(features)  # trace both before anyone waits for them

    def score(self, pixels: np.ndarray) -> tuple[np.ndarray, Any]:
        """Probabilities of one picture, and its features.

        Args:
            pixels: uint8 (S, S, 1).

        Returns:
            float32 (15,) in [0, 1], in the order of `info.findings`; and the backend's
            array (1, h, w, channels), for `heat_maps`.
        """
        probabilities, features = self._forward(pixels[np.newaxis])
        return np.asarray(probabilities)[0], features

    def heat_maps(self, features: Any) -> np.ndarray:
        """Where the features speak for each finding: float (15, h, w), at most 1.

        All 0 for one that they speak for nowhere. Source: Selvaraju et al., Grad-CAM,
        ICCV 2017: channels weighted by the mean gradient of the finding's logit.

        Args:
            features: as `score` gives them.
        """
        gradients = np.asarray(self._gradients(features), np.float32)
        maps = np.asarray(features, np.float32)[0]
        weights = gradients.mean(axis=(1, 2))  # (15, channels)
        heat = np.maximum(np.moveaxis(maps @ weights.T, -1, 0), 0)
        greatest = heat.max(axis=(1, 2), keepdims=True)
        shown = (greatest > 0) & np.isfinite(greatest)
        return np.where(shown, heat / np.where(shown, greatest, 1), 0)

    @property
    def seen(self) -> tuple[float, float]:
        """Where the square that `model.crop` keeps begins, and its side, in shares."""
        size = self.info.image_size
        crop = self.info.config.get("model", {}).get("crop") or size
        return (size - crop) // 2 / size, crop / size

    def operating_point(self, finding: str) -> tuple[float | None, float | None]:
        """Sensitivity and specificity of the finding's threshold on the test images."""
        calibration = self.info.calibration
        found = calibration and calibration.findings.get(finding)
        point = found and found.thresholds.get(THRESHOLD_KIND)
        if not point or point.threshold != self.threshold(finding)[0]:
            return None, None
        return point.sensitivity.value, point.specificity.value

    def threshold(self, finding: str) -> tuple[float, bool]:
        """The finding's threshold, and whether it was chosen on validation images."""
        chosen = (self.info.thresholds or {}).get(finding, {}).get(THRESHOLD_KIND)
        return (DEFAULT_THRESHOLD, False) if chosen is None else (chosen, True)


def reading(probability: float, threshold: float) -> float:
    """The probability on a scale on which the threshold is at 0.5.

    Linear on either side of it; 1 is 1 and 0 is 0, where the threshold is neither.
    """
    if probability < threshold:
        return probability / (2 * threshold)
    if threshold == 1:
        return 0.5
    return 0.5 + (probability - threshold) / (2 * (1 - threshold))


def split_at_features(model: "keras.Model") -> tuple["keras.Model", "keras.Model"]:
    """The model in two: pixels to its last feature map, and on from there.

    The second half gives probabilities (N, 15) and the scores whose gradient explains
    them: the logits, since a sure sigmoid has none, or the probabilities where the last
    layer is no sigmoid.

    Raises:
        UserError: no layer makes a vector of a feature map.
    """
    import keras

    for layer in reversed(model.layers):
        if _rank(layer, "input") == 4 and _rank(layer, "output") == 2:
            scores = _logits(model)
            backbone = keras.Model(model.inputs, layer.input)
            return backbone, keras.Model(layer.input, [model.outputs[0], scores])
    raise UserError(
        "The model has no layer that pools a feature map, which Grad-CAM needs. Use a "
        "model that a runner saved."
    )


def _rank(layer: "keras.Layer", side: str) -> int | None:
    return len(getattr(getattr(layer, side, None), "shape", ()))


def _logits(model: "keras.Model") -> "keras.KerasTensor":
    import keras

    last = model.layers[-1]
    sigmoid = getattr(last, "activation", None) is keras.activations.sigmoid
    if not (isinstance(last, keras.layers.Dense) and sigmoid):
        return model.outputs[0]
    linear = keras.layers.Dense(last.units, dtype="float32", name="logits")
    scores = linear(last.input)
    linear.set_weights(last.get_weights())
    return scores


def _forward(backbone: "keras.Model", head: "keras.Model", pixels: Any) -> tuple:
    features = backbone(pixels, training=False)
    probabilities, _ = head(features, training=False)
    return probabilities, features


def _gradients_of(head: "keras.Model") -> Callable[[Any], Any]:
    """Of every finding's score with respect to the features: (15, h, w, channels).

    The head is small: all findings go through it as one batch, each in a row.
    """
    from keras import ops

    def score(rows: Any) -> Any:
        _, scores = head(rows, training=False)
        return ops.sum(ops.diagonal(scores))  # each row's own finding

    def tiled(features: Any) -> Any:
        return ops.repeat(features, head.outputs[1].shape[-1], axis=0)

    if _backend() == "jax":
        import jax

        return lambda features: jax.grad(score)(tiled(features))
    import tensorflow as tf

    def gradients(features: Any) -> Any:
        rows = tiled(features)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            value = score(rows)
        return tape.gradient(value, rows)

    return gradients


def _frozen(
    function: Callable[[Any], Any], shape: tuple[int, ...]
) -> Callable[[np.ndarray], Any]:
    return _compiled(function) if _backend() == "jax" else freeze_graph(function, shape)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # Traced at the first call; the shapes never change after it.
    if _backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False)


def _backend() -> str:
    import keras

    name = keras.backend.backend()
    if name not in ("tensorflow", "jax"):
        raise UserError(
            f"The page needs Keras on TensorFlow or JAX. Got KERAS_BACKEND={name}."
        )
    return name
