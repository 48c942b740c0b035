"""The vector that workers exchange holds all it should, and gives it back."""

import numpy as np

from tests.spark.stock.test_elephas_models import small_model
from xray.spark.resident.weight_vector import WeightVector


def trained():
    model = small_model()
    images = np.random.default_rng(0).integers(0, 255, (24, 32, 32, 1), np.uint8)
    model.fit(images, np.ones((24, 15)), batch_size=8, verbose=0)
    return model


def state(variables):
    return [np.array(variable) for variable in variables]


def test_weights_alone_leave_the_optimizer():
    source, target = trained(), small_model()
    vector = WeightVector(target, with_optimizer=False)
    assert len(vector.values) == source.count_params()
    vector.values[:] = WeightVector(source, with_optimizer=False).values
    vector.restore()
    for one, other in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(target.optimizer.iterations) == 0


def test_the_optimizer_goes_along_with_its_count_of_steps():
    source, target = trained(), small_model()
    vector = WeightVector(target, with_optimizer=True)
    # Means of equal counts need not be whole numbers in float32.
    vector.values[:] = WeightVector(source, with_optimizer=True).values * (1 - 1e-7)
    vector.restore()
    assert int(target.optimizer.iterations) == int(source.optimizer.iterations) == 3
    both = state(source.optimizer.variables), state(target.optimizer.variables)
    for one, other in zip(*both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_what_gradients_move_is_told_from_moving_statistics():
    model = small_model()
    vector = WeightVector(model, with_optimizer=True)
    learned = vector.learned()
    assert learned.sum() == sum(np.prod(v.shape) for v in model.trainable_variables)
    vector.values[:] = np.where(learned, 0, vector.values)
    vector.restore()
    assert not any(np.any(v) for v in model.trainable_variables)
    variances = [v for v in model.weights if "moving_variance" in v.path]
    assert variances
    assert all(np.all(np.array(v) == 1) for v in variances), "as they began"
