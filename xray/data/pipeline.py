"""How batches reach Keras: drawn ahead by a thread, with or without tf.data."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

AHEAD = 2
Batch = TypeVar("Batch")


def draw_ahead(
    batches: Iterator[Batch], on_wait: Callable[[float], object] = lambda seconds: None
) -> Iterator[Batch]:
    """`batches` in their order, the next two always being made by a thread.

    Args:
        batches: ended by its end, not by None.
        on_wait: called with the seconds that each batch was waited for.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, batches, None) for _ in range(AHEAD))
        while True:
            start = time.perf_counter()
            batch = coming.popleft().result()
            on_wait(time.perf_counter() - start)
            if batch is None:
                return
            coming.append(thread.submit(next, batches, None))
            yield batch


def as_dataset(
    make: Callable[[], Iterator[tuple]], count: int
) -> "keras.utils.PyDataset":
    """What Keras iterates with any backend, without tf.data.

    Args:
        make: a new iterator, for each pass.
        count: of the batches in it.
    """
    import keras

    class Batches(keras.utils.PyDataset):
        """Keras asks for the batches one after the other, from 0 in each pass."""

        def __len__(self) -> int:
            return count

        def __getitem__(self, index: int) -> tuple:
            if index == 0:
                self._batches = make()
            return next(self._batches)

    return Batches()


def backend_name() -> str:
    """Keras' backend in this process: tensorflow or jax."""
    import keras

    return keras.backend.backend()


def without_autotune(pipeline: "tf.data.Dataset") -> "tf.data.Dataset":
    """`pipeline` as it is: with one thread its autotuner keeps training waiting."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return pipeline.with_options(options)
