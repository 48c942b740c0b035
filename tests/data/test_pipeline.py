"""Batches drawn ahead: the same ones in the same order, and nothing left running."""

import threading

import pytest

from xray.data.pipeline import AHEAD, draw_ahead


def test_same_batches_in_the_same_order():
    assert list(draw_ahead(iter(range(10)))) == list(range(10))
    assert list(draw_ahead(iter([]))) == []


def test_next_batches_are_made_while_one_is_used():
    enough = threading.Event()

    def batches():
        for number in range(10):
            if number == AHEAD:
                enough.set()
            yield number

    ahead = draw_ahead(batches())
    assert next(ahead) == 0
    assert enough.wait(timeout=30)  # nobody has asked for that one yet
    ahead.close()


def test_no_more_are_made_than_ahead_and_none_after_the_end():
    made = []

    def batches():
        for number in range(10):
            made.append(number)
            yield number

    ahead = draw_ahead(batches())
    next(ahead)
    ahead.close()  # waits for the thread
    assert len(made) <= 1 + AHEAD


def test_failure_reaches_who_asks():
    def batches():
        yield 1
        raise OSError("disk gone")

    ahead = draw_ahead(batches())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(ahead)


def test_every_wait_is_told():
    waits = []
    assert list(draw_ahead(iter("abc"), waits.append)) == ["a", "b", "c"]
    assert len(waits) == 4  # the end is waited for as well
    assert min(waits) >= 0
