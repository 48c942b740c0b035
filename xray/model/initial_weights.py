"""TensorFlow's random numbers without TensorFlow: equal initial weights with JAX.

Keras gives every layer's initializer the same seed with any backend, and then asks the
backend for the numbers, which differ. Here are those of `tf.random.stateless_uniform`
and `stateless_truncated_normal`: the generator Philox4x32-10 (Salmon et al., Parallel
random numbers: as easy as 1, 2, 3, SC 2011), keyed and counted as TensorFlow does
(tensorflow/core/kernels/stateless_random_ops_v2_util.h, core/lib/random).
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
SEED_KEY = np.array([0x3EC8F720, 0x02461E29], np.uint64)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def draw_as_tensorflow() -> None:
    """Have Keras' initializers in this process draw what they draw with TensorFlow.

    The uniform numbers, which most networks start from, are the same to the bit; the
    truncated normal ones (EfficientNet) to float tolerance. Dropout and augmentation
    go on drawing from the backend.
    """
    from keras.src.initializers import random_initializers

    backend = random_initializers.random

    def seeds(seed: Any) -> list[int]:
        # As Keras passes them to TensorFlow, which wants 31 bits.
        drawn = np.asarray(backend.draw_seed(seed), np.int64)
        return (drawn % (2**31 - 2)).tolist()

    def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
        return _as(dtype, draw_uniform(shape, minval, maxval, seeds(seed)))

    def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
        return _as(dtype, draw_truncated_normal(shape, mean, stddev, seeds(seed)))

    random_initializers.random = SimpleNamespace(
        **{
            **vars(backend),
            "uniform": uniform,
            "truncated_normal": truncated_normal,
        }
    )


def _as(dtype: str | None, values: np.ndarray) -> Any:
    from keras import ops

    return ops.convert_to_tensor(values, dtype or "float32")


def draw_uniform(
    shape: Sequence[int], low: float, high: float, seeds: Sequence[int]
) -> np.ndarray:
    """What `tf.random.stateless_uniform` draws, float32."""
    count = int(np.prod(shape))
    key, counter = _key_and_counter(seeds)
    counters = _counters(counter, np.arange(-(-count // 4)))
    values = _floats(_philox(key, counters)).ravel()[:count]
    low, high = np.float32(low), np.float32(high)
    return (values * (high - low) + low).reshape(shape)


def draw_truncated_normal(
    shape: Sequence[int], mean: float, deviation: float, seeds: Sequence[int]
) -> np.ndarray:
    """What `tf.random.stateless_truncated_normal` draws, float32."""
    count = int(np.prod(shape))
    key, counter = _key_and_counter(seeds)
    groups = np.arange(-(-count // 4))
    # Four results come from a stretch of 256 blocks, by rejection: the first 8 blocks
    # give 32 candidates, of which all but 4.6% are within two deviations.
    blocks = 256 * groups[:, None] + np.arange(8)
    bits = _philox(key, _counters(counter, blocks.ravel()))
    normal = _box_muller(_floats(bits).reshape(-1, 2)).reshape(len(groups), -1)
    rejected = np.abs(normal) >= 2
    first = np.argsort(rejected, axis=1, kind="stable")[:, :4]
    values = np.take_along_axis(normal, first, axis=1).ravel()[:count]
    return (values * np.float32(deviation) + np.float32(mean)).reshape(shape)


def _key_and_counter(seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Key and upper half of the counter, mixed from the two seeds."""
    words = [word for seed in seeds for word in (seed & 0xFFFFFFFF, seed >> 32)]
    mixed = _philox(SEED_KEY, np.array([words], np.uint64))[0]
    return mixed[:2], mixed[2:]


def _counters(upper: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    low = blocks.astype(np.uint64)
    both = [np.full(len(blocks), word, np.uint64) for word in upper]
    return np.stack([low & LOW, low >> HALF, *both], axis=1)


def _philox(key: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Random blocks: uint64 (N, 4), of 32 bits each, as are key and counters."""
    zero, one, two, three = counters.T
    keys = list(key)
    for _ in range(ROUNDS):
        left, right = MULTIPLIERS[0] * zero, MULTIPLIERS[1] * two
        zero, one, two, three = (
            (right >> HALF) ^ one ^ keys[0],
            right & LOW,
            (left >> HALF) ^ three ^ keys[1],
            left & LOW,
        )
        keys = [(k + step) & LOW for k, step in zip(keys, KEY_STEPS, strict=True)]
    return np.stack([zero, one, two, three], axis=1)


def _floats(bits: np.ndarray) -> np.ndarray:
    """Uniform in [0, 1), float32, from the lower 23 of 32 bits."""
    mantissa = bits.astype(np.uint32) & np.uint32(0x7FFFFF)
    return (mantissa | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)


def _box_muller(pairs: np.ndarray) -> np.ndarray:
    """Pairs of normal numbers, float32 (N, 2), from uniform ones."""
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(pairs[:, 0], np.float32(1e-7))))
    angle = (2 * np.pi * pairs[:, 1].astype(np.float64)).astype(np.float32)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1) * radius[:, None]
