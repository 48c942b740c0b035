"""Momentum on averages: a hand-worked case, and Keras' own Nesterov momentum."""

import numpy as np
import pytest

from xray.spark.resident.outer import OuterMomentum


def test_two_averages_by_hand():
    """Momentum 0.5 on the first element; the second takes its average."""
    values = np.array([1.0, 1.0], np.float32)
    outer = OuterMomentum(values, np.array([True, False]), 0.5)
    values[:] = [3, 3]  # the average: 2 more, so v = 2, and half of that is added
    outer.step(values)
    assert values.tolist() == [4, 3]
    values[:] = [5, 5]  # 1 more, so v = 0.5 * 2 + 1 = 2, and 1 is added
    outer.step(values)
    assert values.tolist() == [6, 5]
    assert outer.velocity.tolist() == [2, 0]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_is_a_step_of_nesterovs_momentum(momentum):
    """Keras' SGD takes the change of an average for a gradient the other way."""
    import keras

    random = np.random.default_rng(0)
    variable = keras.Variable(random.normal(size=5).astype(np.float32))
    optimizer = keras.optimizers.SGD(1.0, momentum=momentum, nesterov=momentum > 0)
    optimizer.build([variable])
    values = np.array(variable)
    outer = OuterMomentum(values, np.ones(5, bool), momentum)
    for _ in range(4):
        change = random.normal(size=5).astype(np.float32)
        values += change
        outer.step(values)
        optimizer.apply([keras.ops.convert_to_tensor(-change)])
        np.testing.assert_allclose(values, np.array(variable), rtol=1e-5, atol=1e-6)


def test_it_goes_on_where_another_stopped():
    moved, changes = np.ones(3, bool), np.arange(12, dtype=np.float32).reshape(4, 3)
    whole, values = np.zeros(3, np.float32), np.zeros(3, np.float32)
    once, outer = OuterMomentum(whole, moved, 0.7), OuterMomentum(values, moved, 0.7)
    for number, change in enumerate(changes):
        if number == 2:
            outer = OuterMomentum(values.copy(), moved, 0.7, outer.velocity)
        for each, vector in ((once, whole), (outer, values)):
            vector += change
            each.step(vector)
    np.testing.assert_array_equal(values, whole)
