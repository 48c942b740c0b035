"""The random numbers that networks start from, the same with every backend of Keras.

Keras gives every layer's initializer the same seed with any backend, and then asks the
backend for the numbers, which differ. Here are those of `tf.random.stateless_uniform`
and `stateless_truncated_normal`: the generator Philox4x32-10 (Salmon et al., Parallel
random numbers: as easy as 1, 2, 3, SC 2011), keyed and counted as TensorFlow does
(tensorflow/core/kernels/stateless_random_ops_v2_util.h, core/lib/random).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
SEED_KEY = (np.uint64(0x3EC8F720), np.uint64(0x02461E29))
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
# Blocks. Arrays that outgrow the processor's cache take several times as long.
AT_ONCE = 2**15
# Of a normal distribution without what is beyond two deviations.
TRUNCATED_DEVIATION = 0.87962566103423978


@contextmanager
def drawn_in_numpy() -> Iterator[None]:
    """Within, the layers that are built start from numbers of `draw`.

    `keras.initializers.VarianceScaling` then draws so, and with it Glorot's and He's,
    which are of it. To overwrite what the backend has drawn needs no such exchange, but
    JAX compiles for every shape that it draws: 10 to 25 seconds a network.
    """
    import keras

    scaling = keras.initializers.VarianceScaling
    own = scaling.__call__
    scaling.__call__ = draw
    try:
        yield
    finally:
        scaling.__call__ = own


def draw(
    initializer: "keras.initializers.VarianceScaling",
    shape: Sequence[int],
    dtype: str | None = None,
) -> Any:
    """The tensor that `initializer` returns with TensorFlow.

    If uniform, as most networks start, it is the same to the bit; if truncated normal
    (EfficientNet), to float tolerance.

    Raises:
        ValueError: it is of a distribution that is not drawn here.
    """
    from keras import ops

    check_initializer(initializer)
    seeds = [initializer.seed % (2**31 - 2), 0]  # as Keras passes them to TensorFlow
    variance = initializer.scale / max(1.0, _fan(shape, initializer.mode))
    if initializer.distribution == "uniform":
        limit = math.sqrt(3 * variance)
        values = draw_uniform(shape, -limit, limit, seeds)
    else:
        deviation = math.sqrt(variance) / TRUNCATED_DEVIATION
        values = draw_truncated_normal(shape, 0, deviation, seeds)
    return ops.convert_to_tensor(values, dtype or "float32")


def _fan(shape: Sequence[int], mode: str) -> float:
    """How many inputs or outputs a weight connects, or the mean of both.

    As Glorot and Bengio count them (Understanding the difficulty of training deep
    feedforward neural networks, AISTATS 2010), and He et al. in a convolution: its
    channels, each as often as the window has pixels (Delving deep into rectifiers, ICCV
    2015). Keras counts a depthwise one in the same way.
    """
    *window, inputs, outputs = shape
    pixels = math.prod(window)
    fans = {"fan_in": inputs * pixels, "fan_out": outputs * pixels}
    return fans.get(mode, sum(fans.values()) / 2)


def check_layers(layers: "Iterable[keras.Layer]") -> None:
    """Refuse layers, and those inside them, that do not start as `draw` would have it.

    Raises:
        ValueError: an initializer of one is left to the backend.
    """
    import keras

    fixed = (keras.initializers.Zeros, keras.initializers.Ones)
    for layer in layers:
        check_layers(getattr(layer, "layers", ()))
        for name, initializer in vars(layer).items():
            if name.endswith("_initializer") and not isinstance(initializer, fixed):
                check_initializer(initializer)


def check_initializer(initializer: object) -> None:
    """Refuse what `drawn_in_numpy` leaves to the backend.

    Raises:
        ValueError: it does not draw as VarianceScaling does, always from the same seed.
    """
    import keras

    scaling = keras.initializers.VarianceScaling
    if not (
        isinstance(initializer, scaling)
        and type(initializer).__call__ is scaling.__call__
        and initializer.distribution in ("uniform", "truncated_normal")
        and isinstance(initializer.seed, int)
        and not initializer.get_config().get("input_axes")
    ):
        raise ValueError(
            f"{type(initializer).__name__} would start from other numbers with each "
            "backend. Add it to xray/model/initial_weights.py."
        )


def draw_uniform(
    shape: Sequence[int], low: float, high: float, seeds: Sequence[int]
) -> np.ndarray:
    """What `tf.random.stateless_uniform` draws, float32."""
    count = math.prod(shape)
    values = _uniform(seeds, np.arange(-(-count // 4))).ravel()[:count]
    low, high = np.float32(low), np.float32(high)
    values *= high - low
    values += low
    return values.reshape(shape)


def draw_truncated_normal(
    shape: Sequence[int], mean: float, deviation: float, seeds: Sequence[int]
) -> np.ndarray:
    """What `tf.random.stateless_truncated_normal` draws, float32."""
    count = math.prod(shape)
    values = _truncated_normal(seeds, np.arange(-(-count // 4)), 1).ravel()[:count]
    return (values * np.float32(deviation) + np.float32(mean)).reshape(shape)


def _truncated_normal(
    seeds: Sequence[int], groups: np.ndarray, blocks: int
) -> np.ndarray:
    """Four numbers a group, float32 (N, 4): the first within two deviations.

    A group has a stretch of 256 blocks, of four candidates each. All but 4.6% of them
    are good, so that as few `blocks` as four numbers need are tried first.
    """
    tried = 256 * groups[:, None] + np.arange(blocks)
    pairs = _uniform(seeds, tried.ravel()).reshape(-1, 2)
    normal = _box_muller(pairs).reshape(len(groups), 4 * blocks)
    rejected = np.abs(normal) >= 2
    first = np.argsort(rejected, axis=1, kind="stable")[:, :4]
    values = np.take_along_axis(normal, first, axis=1)
    short = rejected.sum(axis=1) > 4 * blocks - 4
    if short.any():
        values[short] = _truncated_normal(seeds, groups[short], 2 * blocks)
    return values


def _uniform(seeds: Sequence[int], blocks: np.ndarray) -> np.ndarray:
    """The numbers in [0, 1) of these blocks, float32 (N, 4)."""
    key, upper = _key_and_counter(seeds)
    values = np.empty((len(blocks), 4), np.float32)
    for start in range(0, len(blocks), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        words = _philox(key, _counters(upper, blocks[part]))
        for place, word in enumerate(words):
            values[part, place] = _floats(word)
    return values


def _key_and_counter(seeds: Sequence[int]) -> tuple[list[np.uint64], list[np.uint64]]:
    """Key and upper half of the counter, mixed from the two seeds."""
    words = [word for seed in seeds for word in (seed & 0xFFFFFFFF, seed >> 32)]
    mixed = _philox(SEED_KEY, [np.array([word], np.uint64) for word in words])
    one, two, three, four = (word[0] for word in mixed)
    return [one, two], [three, four]


def _counters(upper: Sequence[np.uint64], blocks: np.ndarray) -> list[np.ndarray]:
    low = blocks.astype(np.uint64)
    both = [np.full(len(blocks), word, np.uint64) for word in upper]
    return [low & LOW, low >> HALF, *both]


def _philox(
    key: Sequence[np.uint64], counters: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Random blocks: their four words, uint64 (N,) of 32 bits, as are the counters'."""
    zero, one, two, three = counters
    keys = list(key)
    for _ in range(ROUNDS):
        left, right = MULTIPLIERS[0] * zero, MULTIPLIERS[1] * two
        zero, two = right >> HALF, left >> HALF
        # In place, which saves a third of the time.
        zero ^= one
        zero ^= keys[0]
        two ^= three
        two ^= keys[1]
        right &= LOW
        left &= LOW
        one, three = right, left
        keys = [(k + step) & LOW for k, step in zip(keys, KEY_STEPS, strict=True)]
    return [zero, one, two, three]


def _floats(words: np.ndarray) -> np.ndarray:
    """Uniform in [0, 1), float32, from the lower 23 of 32 bits."""
    mantissa = words.astype(np.uint32)
    mantissa &= np.uint32(0x7FFFFF)
    mantissa |= np.uint32(0x3F800000)
    return mantissa.view(np.float32) - np.float32(1)


def _box_muller(pairs: np.ndarray) -> np.ndarray:
    """Pairs of normal numbers, float32 (N, 2), from uniform ones."""
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(pairs[:, 0], np.float32(1e-7))))
    angle = (2 * np.pi * pairs[:, 1].astype(np.float64)).astype(np.float32)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1) * radius[:, None]
