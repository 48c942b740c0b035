"""The weight server with real connections; a thread stands for each worker."""

import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge
from types import SimpleNamespace

import numpy as np
import pytest

from xray.common.errors import UserError
from xray.spark.resident.client import Link
from xray.spark.resident.connection import CHUNK, connect, send_vector
from xray.spark.resident.messages import (
    Answer,
    Average,
    Done,
    End,
    Join,
    RoundLost,
    Stopped,
)
from xray.spark.resident.server import WeightServer


@pytest.fixture
def serve():
    """A server for so many workers; keywords are the methods of its handler."""
    servers = []

    def serve(workers, weights, earlier=None, **methods):
        vector = np.array(weights, np.float32)
        handler = SimpleNamespace(
            **{
                "on_gather": lambda messages: messages,
                "on_average": lambda counts, images: False,
                "on_retry": lambda rounds, worker: None,
                **methods,
            }
        )
        server = WeightServer("127.0.0.1", workers, vector, handler, earlier)
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.close()


def together(workers, work):
    """What `work(number)` returns or raises, for all numbers at once."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, number) for number in range(workers)]
        return [future.exception() or future.result() for future in futures]


def vector(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize("workers", [1, 2, 16])
def test_mean_is_weighted_by_images(serve, workers):
    server = serve(workers, [0, 0])
    images = np.arange(1, workers + 1)

    def work(number):
        link = Link(server.address, number, attempt=1)
        values = vector(number, 1)
        for _ in range(3):
            link.average(values, int(images[number]))
        return values

    expected = np.average(np.arange(workers), weights=images)
    for values in together(workers, work):
        np.testing.assert_allclose(values, [expected, 1], rtol=1e-6)
    np.testing.assert_allclose(server.weights, [expected, 1], rtol=1e-6)
    assert (server.rounds, server.attempts) == (3, 1)
    assert server.bytes_received == 3 * 8
    assert server.bytes_between_workers == 3 * 2 * (workers - 1) * 8


def test_one_workers_mean_is_its_vector_to_the_last_bit(serve):
    values = np.random.default_rng(0).random(1000, np.float32)
    mean = values.copy()
    server = serve(1, np.zeros(1000))
    Link(server.address, 0, attempt=1).average(mean, 91)
    np.testing.assert_array_equal(mean, values)
    assert (mean * np.float32(91) / np.float32(91) != values).any()


def test_other_workers_go_on_and_those_before_are_sent_away(serve):
    retried = []
    server = serve(3, [0, 0], on_retry=lambda *lost: retried.append(lost))

    def average(number, attempt, team):
        values = vector(number, attempt)
        Link(server.address, number, attempt, team).average(values, 1)
        return values

    together(3, lambda number: average(number, 1, 0))
    server.regroup(2)
    # Of the job before, started again too late: its attempt is a new one all the same.
    (late,) = together(1, lambda number: average(2, 7, 0))
    assert isinstance(late, RoundLost)
    for values in together(2, lambda number: average(number, 9, 1)):
        np.testing.assert_allclose(values, [0.5, 9])
    assert (server.rounds, server.attempts) == (2, 2)
    assert len(retried) == 1


WORKER = """
import sys
from ast import literal_eval
import numpy as np
from xray.spark.resident.client import Link
from xray.spark.resident.messages import ServerKey
server, number, size = literal_eval(sys.argv[1])
vector = np.full(size, number, np.float32)
link = Link(ServerKey(*server), number, 1)
for _ in range(3):
    link.average(vector, 1)
"""


def peak_vectors(serve, workers, size=1 << 22):
    """The most that the server's process allocates meanwhile, in vectors of 16 MiB."""
    tracemalloc.start()
    server = serve(workers, np.zeros(size))
    address = (server.address.host, server.address.port, server.address.key)
    tracemalloc.reset_peak()
    began = tracemalloc.get_traced_memory()[0]
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, repr((address, number, size))])
        for number in range(workers)
    ]
    assert [process.wait(60) for process in processes] == [0] * workers
    peak = tracemalloc.get_traced_memory()[1] - began
    tracemalloc.stop()
    assert server.rounds == 3
    return peak / (4 * size)


def test_the_driver_holds_two_vectors_however_many_workers(serve):
    # What a round takes beside sum and mean: a few pieces of 1 MiB for each worker.
    assert peak_vectors(serve, 1) < 0.25
    assert peak_vectors(serve, 3) < 0.75


def test_a_worker_without_images_does_not_move_the_mean(serve):
    server = serve(2, [0])

    def work(number):
        values = vector(10 * number)
        Link(server.address, number, 1).average(values, images=5 * number)
        return float(values[0])

    assert together(2, work) == [10, 10]


def test_a_round_in_which_nobody_trained_leaves_the_mean(serve):
    server = serve(2, [7])

    def work(number):
        values = vector(10 * number)
        Link(server.address, number, 1).average(values, images=0)
        return float(values[0])

    assert together(2, work) == [7, 7]
    assert server.rounds == 1


def test_gather_answers_all_in_the_order_of_the_workers(serve):
    server = serve(3, [0])

    def work(number):
        time.sleep(0.2 * (2 - number))  # the last one comes first
        return Link(server.address, number, 1).gather(number * 10)

    assert together(3, work) == [[0, 10, 20]] * 3


@pytest.mark.parametrize("error", [UserError("no"), KeyError("no")])
def test_the_drivers_refusal_or_fault_stops_all(serve, error):
    def refuse(messages):
        raise error

    server = serve(2, [0], on_gather=refuse)
    outcomes = together(
        2, lambda number: Link(server.address, number, 1).gather(Done())
    )
    assert [type(outcome) for outcome in outcomes] == [Stopped, Stopped]
    assert server.error is error


def test_a_failing_worker_ends_the_job_with_its_reason(serve):
    server = serve(2, [0])

    def work(number):
        link = Link(server.address, number, 1)
        if number:
            link.fail(RuntimeError("disk full"))
        else:
            link.average(vector(1), 1)

    first, _ = together(2, work)
    assert isinstance(first, RoundLost)
    assert str(server.error) == "disk full"


def test_a_lost_worker_loses_the_round_and_the_next_try_goes_on(serve):
    retries = []
    server = serve(2, [0], on_retry=lambda *lost: retries.append(lost))

    def finish_one_round_then_lose_one(number):
        link = Link(server.address, number, attempt=10)
        values = vector(4)
        link.average(values, 1)
        if number:
            link.close()  # as when its process is killed
        else:
            link.average(vector(100), 1)

    first, _ = together(2, finish_one_round_then_lose_one)
    assert isinstance(first, RoundLost)
    assert (server.rounds, float(server.weights[0])) == (1, 4)

    def start_again(number):
        link = Link(server.address, number, attempt=12)
        values = vector(0)
        link.weights(values)
        values += 2 * number
        link.average(values, 1)
        return float(values[0])

    # The 100 that reached the lost round has left no trace.
    assert together(2, start_again) == [5, 5]
    assert (server.rounds, server.attempts) == (2, 2)
    assert retries == [(1, 1)]  # after one round, for want of worker 1


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_vector_that_stops_in_the_middle_holds_up_nobody(serve):
    server = serve(2, np.zeros(3 * CHUNK))
    stalled = connect(server.address)
    stalled.send(Join(worker=0, attempt=1))
    stalled.send(Average(1, 0, 3 * CHUNK))
    stalled.send_bytes(np.full(CHUNK, 100, np.float32))
    wait_until(lambda: server.bytes_received)

    links = together(2, lambda number: Link(server.address, number, attempt=2))

    def average(number):
        values = np.full(3 * CHUNK, 2 * number, np.float32)
        links[number].average(values, 1)
        return values

    for values in together(2, average):
        assert set(values) == {1}
    first, second = (link._connection for link in links)
    send_part(first, 0, 2 * CHUNK)
    with pytest.raises(OSError):
        for _ in range(100):  # what it still sends is of no use to anyone
            stalled.send_bytes(np.full(CHUNK, 100, np.float32))
    send_part(second, 2 * CHUNK, 3 * CHUNK)
    assert [first.recv(), second.recv()] == [Answer(False)] * 2
    assert set(server.weights) == {5}


def send_part(connection, start, stop):
    connection.send(Average(1, start, stop))
    send_vector(connection, np.full(stop - start, 5, np.float32))


def test_the_server_knows_since_when_a_worker_is_missing(serve):
    server = serve(2, [0], on_gather=lambda messages: End())
    assert server.missing()[1] is None
    assert server.home_seconds() is None
    links = together(2, lambda number: Link(server.address, number, 1))
    together(2, lambda number: links[number].average(vector(1), 1))
    assert server.missing() is None
    links[1].close()
    with pytest.raises(RoundLost):
        links[0].average(vector(1), 1)
    seconds, worker = server.missing()
    assert 0 <= seconds < 30
    assert worker == 1
    again = together(2, lambda number: Link(server.address, number, 2))
    together(2, lambda number: again[number].gather(Done()))
    for link in again:  # sent home
        link.close()
    time.sleep(0.2)
    assert server.missing() is None
    assert 0.2 <= server.home_seconds() < 30


def test_tries_in_vain_come_to_an_end_and_others_do_not(serve, monkeypatch):
    monkeypatch.setattr("xray.spark.resident.attempt.MAX_FRUITLESS", 3)
    server = serve(1, [0])

    def lose(attempt, average):
        link = Link(server.address, 0, attempt)
        if average:
            link.average(vector(1), 1)
        # One of which the server has not heard yet is none to it after the next.
        wait_until(lambda: server.attempts == attempt)
        link.close()

    for attempt in range(1, 6):
        lose(attempt, average=True)
    for attempt in range(6, 9):
        lose(attempt, average=False)
    with pytest.raises((RoundLost, Stopped)):
        Link(server.address, 0, 9).gather(Done())
    assert "Workers were lost 3 times" in str(server.error)
    with pytest.raises(Stopped):  # else Spark would start it again and again
        Link(server.address, 0, 10).gather(Done())


def test_a_worker_of_an_older_try_is_turned_away(serve):
    server = serve(1, [0])
    newer = Link(server.address, 0, attempt=5)
    newer.average(vector(1), 1)
    with pytest.raises(RoundLost):
        Link(server.address, 0, attempt=4).average(vector(9), 1)
    assert float(server.weights[0]) == 1
    newer.average(vector(2), 1)  # it has lost nothing
    assert float(server.weights[0]) == 2


def test_strangers_are_refused_and_the_key_is_not_shown(serve):
    server = serve(1, [0])
    address = (server.address.host, server.address.port)
    stranger = Connection(socket.create_connection(address).detach())
    with pytest.raises(AuthenticationError, match="rejected"):
        answer_challenge(stranger, b"guess")
    assert repr(server.address.key) not in repr(server.address)
    Link(server.address, 0, 1).average(vector(3), 1)
    assert float(server.weights[0]) == 3


def test_a_stranger_who_hangs_up_does_not_end_the_server(serve):
    server = serve(1, [0])
    for _ in range(3):
        socket.create_connection((server.address.host, server.address.port)).close()
    Link(server.address, 0, 1).average(vector(3), 1)
    assert float(server.weights[0]) == 3


def test_a_silent_stranger_keeps_nobody_waiting(serve, monkeypatch):
    monkeypatch.setattr("xray.spark.resident.connection.HANDSHAKE_SECONDS", 1)
    server = serve(1, [0])
    address = (server.address.host, server.address.port)
    with socket.create_connection(address) as stranger:
        Link(server.address, 0, 1).average(vector(3), 1)
        stranger.settimeout(30)
        while stranger.recv(100):  # the challenge, then the end of the connection
            pass
    assert float(server.weights[0]) == 3


def test_what_an_earlier_run_exchanged_is_added(serve):
    first = serve(1, [0])
    Link(first.address, 0, 1).average(vector(3), 1)
    second = serve(1, first.weights, earlier=first.counts())
    link = Link(second.address, 0, 1)
    link.average(vector(4), 1)
    assert second.counts() == {
        "rounds": 2,
        "attempts": 2,
        "bytes_received": 8,
        "bytes_between_workers": 0,
    }


def test_each_worker_gets_what_it_asks_for(serve):
    server = serve(2, [0], share=lambda worker: f"share {worker}")
    answers = together(2, lambda number: Link(server.address, number, 1).share())
    assert answers == ["share 0", "share 1"]


def test_an_answer_that_takes_long_keeps_nobody_else_waiting(serve):
    listed = threading.Event()
    server = serve(2, [0], share=lambda worker: worker or listed.wait(60))

    def work(number):
        answer = Link(server.address, number, 1).share()
        listed.set()  # by the second worker, for the first
        return answer

    assert together(2, work) == [True, 1]


def test_a_failing_answer_stops_the_job_with_its_reason(serve):
    def fail(worker):
        raise UserError("no image")

    server = serve(1, [0], share=fail)
    with pytest.raises(Stopped):
        Link(server.address, 0, 1).share()
    assert str(server.error) == "no image"
