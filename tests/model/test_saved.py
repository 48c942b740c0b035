"""Saved models: read back equal from disk and S3, and refused in one line otherwise."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.factories import make_record
from tests.model.test_network import make_config
from tests.pictures import noise
from tests.refusals import refused
from xray.data.labels import FINDINGS
from xray.model.archive import pack
from xray.model.network import build_model
from xray.model.saved import load_model, save_model
from xray.model.sidecar import ModelInfo
from xray.storage.credentials import S3Access, load_access

pytestmark = pytest.mark.slow  # imports TensorFlow

SIZE = 32


def make_info(**fields) -> ModelInfo:
    config = {"data": {"image_size": SIZE}, "model": {}, "training": {"epochs": 2}}
    info = ModelInfo.of_run(make_record(config=config), "last", 2, scored=True)
    return info.model_copy(update=fields)


def network(
    size: int = SIZE,
    outputs: int = len(FINDINGS),
    dtype: str = "uint8",
    layers: tuple = (),
):
    """As real models: a scaling, an operation, a nested network, sigmoids; compiled."""
    import keras

    pixels = keras.Input((size, size, 1), dtype=dtype, name="pixels")
    grey = keras.layers.Rescaling(1 / 255)(pixels)
    for layer in layers:
        grey = layer(grey)
    rgb = keras.ops.tile(grey, (1, 1, 1, 3))
    inside = keras.Input((size, size, 3))
    conv = keras.layers.Conv2D(4, 3, strides=4)(inside)
    features = keras.Model(inside, keras.layers.BatchNormalization()(conv))(rgb)
    flat = keras.layers.GlobalAveragePooling2D()(features)
    scores = keras.layers.Dense(outputs, activation="sigmoid", dtype="float32")(flat)
    model = keras.Model(pixels, scores, name="xray")
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model


@pytest.fixture(scope="module")
def model():
    """Trained one step, so that it has an optimizer's state."""
    model = network()
    labels = np.zeros((8, len(FINDINGS)), np.float32)
    model.fit(images(8), labels, verbose=0)
    return model


@pytest.fixture(scope="module")
def archive(model) -> bytes:
    return pack(model)


def images(count: int = 3) -> np.ndarray:
    return np.stack([noise(SIZE, seed)[..., None] for seed in range(count)])


def put(folder: Path, content: bytes, **fields) -> Path:
    """A model file of this content with a sidecar that fits it."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    info = make_info(model_id=digest, **fields)
    (folder / "m.json").write_text(info.model_dump_json())
    (folder / "m.keras").write_bytes(content)
    return folder / "m.keras"


def test_reads_back_from_disk(model, tmp_path):
    saved = save_model(model, make_info(), tmp_path / "new" / "m")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["m.json", "m.keras", "m.md"]
    content = (tmp_path / "new" / "m.keras").read_bytes()
    assert saved.model_id == hashlib.sha256(content).hexdigest()[:16]
    read, info = load_model(tmp_path / "new" / "m.keras")
    assert info == saved
    assert not read.compiled
    np.testing.assert_allclose(
        read.predict(images(), verbose=0), model.predict(images(), verbose=0), rtol=1e-5
    )
    assert saved.model_id in (tmp_path / "new" / "m.md").read_text()


def test_reads_back_from_s3(model, own_bucket):
    access = load_access(own_bucket.credentials)
    saved = save_model(model, make_info(), "s3://nih/models/m", access)
    files = sorted(path.name for path in (own_bucket.folder / "models").iterdir())
    assert files == ["m.json", "m.keras", "m.md"]
    read, info = load_model("s3://nih/models/m.keras", access)
    assert info == saved
    np.testing.assert_array_equal(read.get_weights()[0], model.get_weights()[0])
    for name in ("m.json", "m.keras"):
        (own_bucket.folder / "models" / name).unlink()
        with refused(f"s3://nih/models/{name} cannot be read: no such key"):
            load_model("s3://nih/models/m.keras", access)
        put(own_bucket.folder / "models", pack(model))


def test_a_whole_recipe_reads_back_and_serves_as_weights(tmp_path):
    augment = {"flip": True, "brightness": 0.1, "rotation_degrees": 5}
    recipe = {"optimizer": "adamw", "class_weights": "balanced"}
    model = build_model(make_config(40, training=recipe, augment=augment, crop=32))
    save_model(model, make_info(image_size=40), tmp_path / "m")
    read, _ = load_model(tmp_path / "m.keras")
    pixels = np.stack([noise(40, seed)[..., None] for seed in range(3)])
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(read.predict(pixels, verbose=0), expected, rtol=1e-5)
    weights = str(tmp_path / "m.keras")
    config = make_config(40, 1, recipe, augment=augment, crop=32, weights=weights)
    again = build_model(config)
    np.testing.assert_allclose(again.predict(pixels, verbose=0), expected, rtol=1e-5)


def test_the_optimizer_stays_behind(model, archive, tmp_path):
    path = tmp_path / "whole.keras"
    model.save(path)
    assert len(archive) < path.stat().st_size
    assert model.optimizer.iterations > 0  # it keeps its own


def test_saving_again_replaces(model, tmp_path):
    first = save_model(model, make_info(), tmp_path / "m")
    second = save_model(model, make_info(epoch=3), tmp_path / "m")
    assert first.epoch != second.epoch
    assert load_model(tmp_path / "m.keras")[1] == second
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_cannot_be_is_refused(model, tmp_path):
    (tmp_path / "file").touch()
    with refused(r"file/m\.md cannot be written: (Not a dir|File exists)"):
        save_model(model, make_info(), tmp_path / "file" / "m")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"size": 48}, r"Got uint8 \(N, 48, 48, 1\) to float32 \(N, 15\)"),
        ({"outputs": 3}, r"Got uint8 \(N, 32, 32, 1\) to float32 \(N, 3\)"),
        ({"dtype": "float32"}, r"Got float32 \(N, 32, 32, 1\) to float32 \(N, 15\)"),
    ],
)
def test_another_network_is_neither_saved_nor_loaded(tmp_path, changes, shown):
    other = network(**changes)
    expected = r"must map uint8 \(N, 32, 32, 1\) to float32 \(N, 15\)"
    with refused(f"{expected}.*{shown}"):
        save_model(other, make_info(), tmp_path / "m")
    assert not list(tmp_path.iterdir())
    with refused(f"{expected}.*{shown}"):
        load_model(put(tmp_path, pack(other)))


def test_two_inputs_are_refused(tmp_path):
    import keras

    inputs = [keras.Input((SIZE, SIZE, 1), dtype="uint8") for _ in range(2)]
    both = keras.layers.Rescaling(1.0)(inputs[0]) + keras.layers.Rescaling(1.0)(
        inputs[1]
    )
    flat = keras.layers.Dense(len(FINDINGS))(keras.layers.Flatten()(both))
    with refused("must map"):
        load_model(put(tmp_path, pack(keras.Model(inputs, flat))))


def test_something_of_keras_that_is_no_model_is_refused(tmp_path, archive):
    config = {"module": "keras.layers", "class_name": "ReLU", "config": {}}
    with refused("cannot be loaded|must map"):
        load_model(put(tmp_path, with_config(archive, config, tmp_path)))


def with_config(archive: bytes, config: dict | str, folder: Path) -> bytes:
    """The archive with another config.json."""
    path = folder / "other.zip"
    path.write_bytes(archive)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    text = config if isinstance(config, str) else json.dumps(config)
    entries["config.json"] = text.encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path.read_bytes()


def rezip(archive: bytes, path: Path, **entries: bytes) -> bytes:
    """The archive compressed, with other `config` or `weights`."""
    names = {"config.json": "config", "model.weights.h5": "weights"}
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                content = entries.get(names.get(name, ""), old.read(name))
                new.writestr(name, content)
    return path.read_bytes()


def test_a_compressed_file_is_read(tmp_path, archive):
    path = put(tmp_path, rezip(archive, tmp_path / "small.zip"))
    assert path.stat().st_size < len(archive)
    assert load_model(path)[0].output_shape == (None, len(FINDINGS))


def test_weights_that_unfold_to_gigabytes_are_refused_before_they_do(tmp_path, archive):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED, True, 1) as new:
        with zipfile.ZipFile(io.BytesIO(archive)) as old:
            for name in ("config.json", "metadata.json"):
                new.writestr(name, old.read(name))
        with new.open("model.weights.h5", "w", force_zip64=True) as file:
            for _ in range(2**6):
                file.write(bytes(2**21))
    path = put(tmp_path, (tmp_path / "b.zip").read_bytes())
    with refused(r"its \d+ bytes unfold to 128 MiB. Copy it again"):
        load_model(path)


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": (2**20,)}])
def test_arrays_that_unfold_to_gigabytes_are_refused(tmp_path, archive, options):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for number in range(4):
            array = file.create_dataset(f"layers/{number}", 2**29, "f4", **options)
        array[: 2**20] = 0
    bomb = (tmp_path / "weights.h5").read_bytes()
    assert len(bomb) < 2**23
    with refused(r"its \d+ bytes unfold to 8192 MiB"):
        load_model(put(tmp_path, rezip(archive, tmp_path / "b.zip", weights=bomb)))
    with refused("its weights are damaged"):
        load_model(put(tmp_path, rezip(archive, tmp_path / "c.zip", weights=b"text")))


@pytest.mark.parametrize("keep", [0, 1, 1000, 0.5, 0.999])
def test_a_cut_file_is_refused(tmp_path, archive, keep):
    end = keep if isinstance(keep, int) else int(len(archive) * keep)
    with refused("it is empty" if end == 0 else "it is cut short"):
        load_model(put(tmp_path, archive[:end]))


class Evil:
    """Would leave a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_in_disguise_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "it-ran"
    with refused("it is a pickle"):
        load_model(put(tmp_path, pickle.dumps(Evil(trace))))
    with zipfile.ZipFile(tmp_path / "torch.zip", "w") as file:  # as torch.save does
        file.writestr("archive/data.pkl", pickle.dumps(Evil(trace)))
    with refused("it lacks config.json"):
        load_model(put(tmp_path, (tmp_path / "torch.zip").read_bytes()))
    assert not trace.exists()


def test_a_lambda_layer_is_refused_and_not_run(tmp_path):
    import keras

    layer = keras.layers.Lambda(lambda grey: grey * 2)
    with refused("it has a Lambda layer"):
        load_model(put(tmp_path, pack(network(layers=(layer,)))))


def test_a_foreign_class_is_refused_and_not_imported(tmp_path, archive):
    config = {
        "module": "antigravity",
        "class_name": "Model",
        "config": {},
        "registered_name": "Model",
    }
    with refused("cannot be loaded .TypeError: Could not locate"):
        load_model(put(tmp_path, with_config(archive, config, tmp_path)))
    with refused("config.json is damaged"):
        load_model(put(tmp_path, with_config(archive, "{", tmp_path)))


def test_a_missing_file_or_another_suffix_is_refused(tmp_path, archive):
    with refused(r"m\.keras does not exist"):
        load_model(tmp_path / "m.keras")
    with refused(r"is a \.keras file. Got '.*m\.h5'"):
        load_model(tmp_path / "m.h5")
    with refused("cannot be read: Is a directory"):
        (tmp_path / "d.keras").mkdir()
        load_model(tmp_path / "d.keras")
    path = put(tmp_path, archive)
    (tmp_path / "m.json").unlink()
    with refused(r"m\.json does not exist; it stands beside every saved model"):
        load_model(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not the sidecar of a saved model"),
        ("{", "is not the sidecar of a saved model"),
        ('{"a": 1}', "is not the sidecar of a saved model .*created: Field required"),
    ],
)
def test_a_foreign_sidecar_is_refused(tmp_path, archive, text, reason):
    path = put(tmp_path, archive)
    (tmp_path / "m.json").write_text(text)
    with refused(reason):
        load_model(path)
    (tmp_path / "m.json").write_text(make_record().model_dump_json())
    with refused("is not the sidecar of a saved model .which: Field required"):
        load_model(path)


def test_a_sidecar_of_another_time_or_other_findings_is_refused(tmp_path, archive):
    path = put(tmp_path, archive, schema_version=2)
    with refused("has schema 2, newer than 1"):
        load_model(path)
    path = put(tmp_path, archive, findings=["Cat", "Dog"])
    with refused(r"\(N, 2\) as its sidecar says"):
        load_model(path)


def test_the_sidecar_of_another_file_is_refused(tmp_path, archive):
    path = put(tmp_path, archive)
    path.write_bytes(rezip(archive, tmp_path / "other.zip"))
    with refused("is not the one that its sidecar describes: it has id"):
        load_model(path)


def test_a_damaged_file_is_refused(tmp_path, archive):
    damaged = bytearray(archive)
    damaged[len(damaged) // 2] ^= 1
    with refused("it is cut short, or something else. Copy it again"):
        load_model(put(tmp_path, bytes(damaged)))


def test_without_keys_boto3_is_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with refused("No S3 credentials on this machine"):
        load_model("s3://nih/m.keras", S3Access(endpoint_url="http://127.0.0.1:9"))
