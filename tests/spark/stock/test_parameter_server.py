"""The asynchronous modes' server, over real HTTP in its own process."""

import socket
import urllib.error
import urllib.request

import numpy as np
import pytest

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
        if server.server.is_alive():
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

    def test_no_debugger(self, served):
        _, address, client = served
        request = urllib.request.Request(
            f"http://{address.netloc}/console", headers=client.headers
        )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(request)

    def test_it_stops_and_never_holds_the_driver(self, served):
        server, address, _ = served
        assert server.server.daemon
        assert is_open(address)
        server.stop = type(server).stop.__get__(server)
        server.server.terminate()
        server.server.join()
        assert not is_open(address)
