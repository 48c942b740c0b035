"""The network: its shape, its initial weights and the weights it is given."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tests.pictures import noise
from tests.refusals import refused
from xray.config.recipe import TrainingConfig
from xray.config.run import RunConfig
from xray.model.network import (
    build_model,
    find_backbone,
    make_optimizer,
    unfreeze,
    weights_digest,
)
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage

pytestmark = pytest.mark.slow  # imports TensorFlow

SMALL = {"alpha": 0.25, "head_units": [8], "pooling": "avg"}


def make_config(
    size: int = 32, seed: int = 0, training: dict | None = None, **model: object
) -> RunConfig:
    """A small network; `model={}` settings on top."""
    return RunConfig.model_validate(
        {
            "data": {
                "images": "s3://nih/i/",
                "labels": "s3://nih/l.csv",
                "image_size": size,
            },
            "model": SMALL | model,
            "training": {"seed": seed, **(training or {})},
        }
    )


def images(count: int = 3) -> np.ndarray:
    return np.stack([noise(32, seed)[..., None] for seed in range(count)])


def predictions(model) -> np.ndarray:
    return model.predict(images(), verbose=0)


def batch_norms(model) -> list:
    import keras

    found = []
    for layer in model.layers:
        inner = getattr(layer, "layers", [layer])
        found += [x for x in inner if isinstance(x, keras.layers.BatchNormalization)]
    return found


@pytest.fixture(scope="module")
def model():
    return build_model(make_config())


@pytest.mark.parametrize("backbone", ["MobileNet", "DenseNet121", "ResNet50"])
def test_pixels_are_scaled_as_keras_own_preprocessing_does(backbone):
    import keras

    module = {"MobileNet": "mobilenet", "DenseNet121": "densenet", "ResNet50": "resnet"}
    theirs = getattr(keras.applications, module[backbone]).preprocess_input
    model = build_model(make_config(backbone=backbone, alpha=1.0))
    pixels = images()
    rgb = np.repeat(pixels.astype(np.float32), 3, axis=-1)
    entering = find_backbone(model)._inbound_nodes[-1].input_tensors[0]
    ours = keras.Model(model.input, entering)(pixels)
    np.testing.assert_allclose(ours, theirs(rgb), atol=1e-4)


AUGMENT = {
    "flip": True,
    "brightness": 0.2,
    "rotation_degrees": 10,
    "translation": 0.1,
}


def entering(model, pixels, training):
    """What the backbone gets, (N, H, W, 3)."""
    import keras

    tensor = find_backbone(model)._inbound_nodes[-1].input_tensors[0]
    return np.asarray(keras.Model(model.input, tensor)(pixels, training=training))


@pytest.mark.parametrize("part", AUGMENT)
def test_augmentation_is_for_training_only_and_repeats(part):
    config, pixels = make_config(augment={part: AUGMENT[part]}), images(8)
    plain = entering(build_model(make_config()), pixels, training=True)
    first = entering(build_model(config), pixels, training=True)
    assert (first != plain).any()
    np.testing.assert_array_equal(
        first, entering(build_model(config), pixels, training=True)
    )
    still = entering(build_model(config), pixels, training=False)
    np.testing.assert_array_equal(still, plain)


def test_the_network_sees_the_middle_of_the_image():
    config = make_config(48, crop=32)
    model = build_model(config)
    pixels = np.zeros((1, 48, 48, 1), np.uint8)
    pixels[:, 8:40, 8:40] = 255
    assert (entering(model, pixels, training=False) == 1).all()
    assert find_backbone(model).input_shape == (None, 32, 32, 3)


def test_head_with_penalty_and_dropout_alone():
    model = build_model(make_config(head_units=[], dropout=0.2, head_l2=0.01))
    assert [layer.name for layer in model.layers[-2:]] == ["dropout", "findings"]
    kernel = model.get_layer("findings").kernel
    assert float(model.losses[0]) == pytest.approx(0.01 * np.sum(np.square(kernel)))


@pytest.mark.cluster
def test_a_frozen_backbone_keeps_its_weights_until_it_is_unfrozen():
    config = make_config(training={"frozen_epochs": 1, "learning_rate": 0.1})
    model = build_model(config)
    before = [np.array(w) for w in find_backbone(model).weights]
    head = np.array(model.get_layer("findings").bias)
    model.fit(images(), np.ones((3, 15)), verbose=0)
    for one, other in zip(before, find_backbone(model).weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (head != np.array(model.get_layer("findings").bias)).any()
    unfreeze(model, make_optimizer(config.training))
    model.fit(images(), np.ones((3, 15)), verbose=0)
    changed = [
        (one != np.array(other)).any()
        for one, other in zip(before, find_backbone(model).weights, strict=True)
    ]
    assert all(changed)


def test_pixels_are_scaled_to_what_the_backbone_was_made_for(model):
    ends = np.array([0, 255], np.uint8).reshape(1, 2, 1)
    assert model.get_layer("scale")(ends).numpy().ravel() == pytest.approx([-1, 1])


def test_head_is_that_of_the_published_experiment():
    config = make_config().to_dict()
    config["model"] = {"alpha": 0.25}
    model = build_model(RunConfig.model_validate(config))
    names = [type(layer).__name__ for layer in model.layers[-5:]]
    assert names == ["Flatten", "Dense", "Dropout", "Dense", "Dense"]
    _, first, dropout, second, last = (x.get_config() for x in model.layers[-5:])
    assert (first["units"], first["activation"]) == (256, "relu")
    assert dropout["rate"] == 0.1
    assert (second["units"], second["activation"]) == (64, "relu")
    assert (last["units"], last["activation"]) == (15, "sigmoid")


@pytest.mark.parametrize(
    ("pooling", "layer", "width"),
    [
        ("flatten", "Flatten", 256),
        ("avg", "GlobalAveragePooling2D", 256),
        ("max", "GlobalMaxPooling2D", 256),
    ],
)
def test_pooling(pooling, layer, width):
    model = build_model(make_config(pooling=pooling))
    assert type(model.get_layer(pooling)).__name__ == layer
    assert model.get_layer(pooling).output.shape == (None, width)


def test_head_without_hidden_layers():
    model = build_model(make_config(head_units=[]))
    assert [layer.name for layer in model.layers[-3:]] == ["avg", "dropout", "findings"]


@pytest.mark.parametrize("momentum", [0.99, 0.5])
def test_momentum_is_set_in_every_batch_normalization(momentum):
    found = batch_norms(build_model(make_config(batch_norm_momentum=momentum)))
    assert len(found) == 27  # MobileNet v1
    assert {layer.momentum for layer in found} == {momentum}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("rmsprop", "RMSprop"), ("adam", "Adam"), ("adamw", "AdamW")),
        *(("sgd", "SGD"), ("lamb", "Lamb")),
    ],
)
def test_optimizer_and_loss(name, expected):
    model = build_model(
        make_config(training={"optimizer": name, "learning_rate": 0.125})
    )
    assert type(model.optimizer).__name__ == expected
    assert float(model.optimizer.learning_rate) == 0.125
    assert model.loss == "binary_crossentropy"


def test_optimizer_settings():
    sgd = make_optimizer(
        TrainingConfig(optimizer="sgd", momentum=0.9, weight_decay=0.01, clip_norm=2)
    )
    settings = sgd.get_config()
    assert (settings["momentum"], settings["weight_decay"]) == (0.9, 0.01)
    assert settings["global_clipnorm"] == 2
    assert make_optimizer(TrainingConfig(optimizer="adamw")).weight_decay == 0


@pytest.mark.parametrize(
    ("xla", "compiled"), [(None, False), (False, False), (True, True)]
)
def test_xla_is_compiled_as_asked(xla, compiled):
    config = make_config().to_dict()
    config["runner"]["xla"] = xla
    assert build_model(RunConfig.model_validate(config)).jit_compile is compiled


@pytest.mark.parametrize(
    ("precision", "optimizer"),
    [("mixed_float16", "LossScaleOptimizer"), ("mixed_bfloat16", "RMSprop")],
)
def test_mixed_precision(precision, optimizer):
    import keras

    keras.config.set_dtype_policy(precision)
    try:
        model = build_model(make_config())
    finally:
        keras.config.set_dtype_policy("float32")
    assert type(model.optimizer).__name__ == optimizer
    assert model.get_layer("dense_0").compute_dtype == precision.removeprefix("mixed_")
    assert model.get_layer("findings").compute_dtype == "float32"
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}


def digest_and_json() -> tuple[str, dict]:
    """Of the small network, as the first that its process builds."""
    import keras

    keras.utils.clear_session()  # Keras numbers the names that it invents
    model = build_model(make_config())
    return weights_digest(model.get_weights()), json.loads(model.to_json())


def test_same_configuration_same_model(model):
    first = digest_and_json()
    assert digest_and_json() == first
    assert weights_digest(model.get_weights()) == first[0]


def test_other_seed_other_weights(model):
    other = build_model(make_config(seed=1))
    assert weights_digest(other.get_weights()) != weights_digest(model.get_weights())


def test_digest_sees_values_and_order():
    one, two = np.zeros(3, np.float32), np.ones(3, np.float32)
    digests = {weights_digest(w) for w in ([one, two], [two, one], [one, one])}
    assert len(digests) == 3
    assert all(len(digest) == 16 for digest in digests)


def test_same_weights_in_another_process_with_other_threads():
    code = (
        "import tensorflow as tf\n"
        "tf.config.threading.set_intra_op_parallelism_threads(1)\n"
        "tf.config.threading.set_inter_op_parallelism_threads(1)\n"
        "import json; from tests.model.test_network import digest_and_json\n"
        "print(json.dumps(digest_and_json()))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "5"}
    command = [sys.executable, "-c", code]
    shown = subprocess.check_output(command, text=True, env=environment).splitlines()
    assert json.loads(shown[-1]) == list(digest_and_json())


def test_json_carries_the_whole_model(model):
    import keras

    copy = keras.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(predictions(copy), predictions(model))
    assert {layer.momentum for layer in batch_norms(copy)} == {0.99}


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_from_a_file_and_from_s3(own_bucket, tmp_path, suffix):
    trained = build_model(make_config(seed=7))
    path = tmp_path / f"trained{suffix}"
    (trained.save if suffix == ".keras" else trained.save_weights)(path)
    (own_bucket.folder / path.name).write_bytes(path.read_bytes())
    storage = Storage(load_access(own_bucket.credentials))
    for place in (str(path), f"s3://nih/{path.name}"):
        model = build_model(make_config(weights=place), storage)
        assert weights_digest(model.get_weights()) == weights_digest(
            trained.get_weights()
        )


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras lists the layers
@pytest.mark.parametrize("other", [{"head_units": [9]}, {"head_units": [8, 8]}])
def test_weights_of_another_model_are_refused(model, tmp_path, other):
    path = tmp_path / "other.weights.h5"
    model.save_weights(path)
    with refused(f"model.weights {path} does not fit this model .*same model section"):
        build_model(make_config(weights=str(path), **other))


def save_as_published(backbone, path):
    """In the older HDF5 format, as keras.applications' files are."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, backbone)


def test_weights_of_the_backbone_alone(model, own_bucket, tmp_path):
    backbone = find_backbone(build_model(make_config(training={"seed": 9})))
    save_as_published(backbone, tmp_path / "no_top.h5")
    save_as_published(backbone, own_bucket.folder / "no_top.h5")
    storage = Storage(load_access(own_bucket.credentials))
    for place in (str(tmp_path / "no_top.h5"), "s3://nih/no_top.h5"):
        found = build_model(make_config(weights=place), storage)
        digest = weights_digest(find_backbone(found).get_weights())
        assert digest == weights_digest(backbone.get_weights())
        head = found.get_layer("findings").get_weights()
        assert weights_digest(head) == weights_digest(
            model.get_layer("findings").get_weights()
        )
    other = {"backbone": "Tiny", "alpha": 1.0}
    with refused(
        "no_top.h5 does not fit this model .*Use weights of the same backbone"
    ):
        build_model(make_config(weights=str(tmp_path / "no_top.h5"), **other))


@pytest.mark.parametrize("name", ["junk.weights.h5", "junk.keras", "junk.h5"])
def test_weights_that_are_no_weights_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"junk")
    with refused(f"model.weights .*{name} does not fit this model"):
        build_model(make_config(weights=str(tmp_path / name)))


def test_missing_weights_are_refused(own_bucket, tmp_path):
    with refused("model.weights .*none.keras does not exist. Check the path"):
        build_model(make_config(weights=str(tmp_path / "none.keras")))
    storage = Storage(load_access(own_bucket.credentials))
    with refused("model.weights s3://nih/none.keras cannot be read: no such key"):
        build_model(make_config(weights="s3://nih/none.keras"), storage)


def test_weights_on_s3_need_a_storage():
    with pytest.raises(ValueError, match="weights on S3 need a storage. Got s3://nih/"):
        build_model(make_config(weights="s3://nih/none.keras"))


def test_imagenet_weights_without_a_network(tmp_path):
    code = (
        "from tests.model.test_network import make_config, build_model, refused\n"
        "with refused('imagenet weights of MobileNet cannot be fetched .*=none'):\n"
        "    build_model(make_config(weights='imagenet'))"
    )
    closed = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = os.environ | closed | {"KERAS_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
