"""Averages among workers, each a thread with real connections to the others."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection

import numpy as np
import pytest

from xray.spark.resident.connection import CHUNK, connect
from xray.spark.resident.messages import CLOSED, RoundLost, ServerKey
from xray.spark.resident.peers import Peers

KEY = b"k" * 32
LENGTH = 3 * CHUNK + 7


def make(count):
    return [Peers("127.0.0.1", KEY, number) for number in range(count)]


def together(peers, work):
    """What `work` returns or raises for all peers at once, who have met before."""
    addresses = [each.address for each in peers]

    def meet_and_work(each):
        each.meet(addresses, lambda: None)
        return work(each)

    with ThreadPoolExecutor(len(peers)) as pool:
        futures = [pool.submit(meet_and_work, each) for each in peers]
        outcomes = [future.exception() or future.result() for future in futures]
    for each in peers:
        each.close()
    return outcomes


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_have_the_same_mean_by_images(count):
    peers = make(count)
    random = np.random.default_rng(count)
    vectors = random.normal(size=(count, LENGTH)).astype(np.float32)
    images = list(range(1, count + 1))
    expected = np.average(vectors.astype(float), axis=0, weights=images)

    def work(each):
        number = peers.index(each)
        vector = vectors[number].copy()
        part = each.reduce(vector, images[number])
        own = vector[part].copy()
        each.spread(vector)
        np.testing.assert_array_equal(vector[part], own)
        return part.start, part.stop, vector

    found = sorted(together(peers, work), key=lambda each: each[0])
    starts, stops, means = zip(*found, strict=True)
    assert (starts, stops[-1]) == ((0, *stops[:-1]), LENGTH), "each element once"
    for mean in means:
        np.testing.assert_allclose(mean, expected, atol=1e-5)
        np.testing.assert_array_equal(mean, means[0])


def test_a_vector_shorter_than_the_workers_are_many():
    peers = make(4)

    def work(each):
        vector = np.array([peers.index(each)], np.float32)
        each.reduce(vector, 1)
        each.spread(vector)
        return vector.tolist()

    assert together(peers, work) == [[1.5]] * 4


def test_strangers_are_not_let_in_and_keep_nobody_out():
    peers = make(2)
    address = peers[0].address
    socket.create_connection((address.host, address.port)).close()
    refused = ServerKey(address.host, address.port, b"x" * 32)
    stranger = threading.Thread(target=_is_refused, args=(refused,))
    stranger.start()

    def work(each):
        vector = np.full(3, peers.index(each), np.float32)
        each.reduce(vector, 1)
        each.spread(vector)
        return vector.tolist()

    assert together(peers, work) == [[0.5] * 3] * 2
    stranger.join(30)
    assert not stranger.is_alive()


def _is_refused(address):
    with pytest.raises((*CLOSED, AuthenticationError)):
        connect(address).recv()


def test_a_worker_that_goes_in_the_middle_of_its_vector_is_noticed():
    one, other = make(2)

    def leave(each):
        plain: Connection = each._others[0]
        plain.send(1)
        plain.send_bytes(np.zeros(CHUNK, np.float32))
        each.close()

    def work(each):
        return leave(each) if each is other else each.reduce(np.zeros(LENGTH), 1)

    gone, _ = together([one, other], work)
    assert isinstance(gone, CLOSED)


def test_a_wait_for_a_worker_that_does_not_come_asks_and_ends():
    asked = []

    def gone():
        asked.append(1)
        if len(asked) == 2:
            raise RoundLost

    one, other = make(2)
    with pytest.raises(RoundLost):
        one.meet([one.address, other.address], gone)
    one.close()
    other.close()


def test_a_worker_that_is_lost_just_then_is_not_called_out_of_reach():
    """Or two that die while all meet would be taken for a wall between the hosts."""
    (other,) = make(2)[1:]
    with socket.create_server(("127.0.0.1", 0)) as dying:
        address = ServerKey("127.0.0.1", dying.getsockname()[1], KEY)
        gone = threading.Thread(target=lambda: dying.accept()[0].close())
        gone.start()
        with pytest.raises(CLOSED):
            other.meet([address, other.address], lambda: None)
        gone.join(30)
    other.close()


def test_a_worker_that_cannot_be_reached_is_named():
    one, other = make(2)
    one.close()
    place = f"worker 0 at 127.0.0.1:{one.address.port}"
    with pytest.raises(RoundLost, match=f"^Worker 1 on .+ cannot reach {place} "):
        other.meet([one.address, other.address], lambda: None)
    other.close()
