"""The asynchronous modes' server, over real HTTP in its own process."""

import contextlib
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.conftest import ROOT
from xray.spark.stock.parameter_server import (
    apply_update,
    choose_address,
    make_client,
    make_server,
)


def test_trained_weights_take_the_whole_change():
    (after,) = apply_update([np.array([5.0])], [np.array([2.0])], frozenset(), 0.5)
    assert after == 3.0


def test_statistics_go_part_of_the_way_and_stay_positive():
    # Two workers start from variance 1 and both measure 0.0025. Adding both changes,
    # as Elephas does, would give 1 - 2 * 0.9975 = -0.995.
    variance = [np.array([1.0])]
    for _ in range(2):
        variance = apply_update(variance, [np.array([0.0025])], frozenset([0]), 0.5)
    assert 0 < variance[0] < 1


def test_each_job_has_its_own_port_and_token():
    one, other = choose_address("127.0.0.1"), choose_address("127.0.0.1")
    assert one.token != other.token
    assert one.token not in repr(one)


@pytest.fixture(scope="module")
def model():
    import keras

    inputs = keras.Input((2,))
    outputs = keras.layers.BatchNormalization()(keras.layers.Dense(3)(inputs))
    return keras.Model(inputs, outputs)


def is_open(address):
    with socket.socket() as probe:
        return probe.connect_ex((address.host, address.port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["asynchronous", "hogwild"])
class TestServer:
    @pytest.fixture
    def served(self, model, mode):
        from elephas.utils import model_to_dict

        address = choose_address("127.0.0.1")
        statistics = frozenset([4, 5])
        server = make_server(model_to_dict(model), address, mode, statistics, workers=2)
        server.start()
        yield server, address, make_client(address, statistics)
        with contextlib.suppress(ValueError):  # the test has stopped it
            server.stop()

    def test_weights_come_and_go(self, served, model):
        server, _, client = served
        before = client.get_parameters()
        for got, kept in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(got, kept)
        client.update_parameters([np.ones_like(weight) for weight in before])
        after = client.get_parameters()
        np.testing.assert_allclose(after[0], before[0] - 1)
        # The worker's variance is 1 - 1 = 0: half of the way from 1 is 0.5.
        np.testing.assert_allclose(after[5], 0.5)
        assert server.updates.value == 1
        assert len(client.update_times) == 1

    def test_strangers_are_refused(self, served):
        _, address, _ = served
        for path in ("parameters", "console"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"http://{address.netloc}/{path}")

    @pytest.mark.parametrize("change", [str.swapcase, lambda token: token[:-1]])
    def test_a_wrong_token_is_refused(self, served, change):
        _, address, client = served
        headers = client.headers | {"Authorization": change(address.token)}
        request = urllib.request.Request(
            f"http://{address.netloc}/parameters", headers=headers
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request)

    def test_no_debugger(self, served):
        _, address, client = served
        request = urllib.request.Request(
            f"http://{address.netloc}/console", headers=client.headers
        )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(request)

    def test_it_stops(self, served):
        server, address, _ = served
        assert is_open(address)
        server.stop()
        assert not is_open(address)


FAILING_DRIVER = """
import keras
from elephas.utils import model_to_dict
from xray.spark.stock.parameter_server import choose_address, make_server
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
address = choose_address("127.0.0.1")
make_server(model_to_dict(model), address, "hogwild", frozenset(), workers=2).start()
print(address.port, flush=True)
raise SystemExit(7)
"""


@pytest.mark.slow
def test_it_does_not_hold_up_a_driver_that_fails():
    command = [sys.executable, "-c", FAILING_DRIVER]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 7
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(done.stdout))) != 0
