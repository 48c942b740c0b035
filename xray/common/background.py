"""Work beside the main thread that must not keep the program alive."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any


def in_background(function: Callable[..., Any], *arguments: Any) -> Future:
    """The outcome of `function(*arguments)`, called in a daemon thread.

    Unlike an executor's thread, nobody waits for it when the program ends early.
    """
    future: Future = Future()

    def call() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


@contextmanager
def beside(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run `work(ended)` in a daemon thread while the block runs, and wait for its end.

    Args:
        work: is to return soon after `ended` is set, as it is when the block is left.
    """
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
