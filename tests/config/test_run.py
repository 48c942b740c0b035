"""The configuration: what is accepted, and one line for what is not."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from tests.conftest import ROOT
from tests.refusals import SECRET, refused
from xray.config.file import load_config
from xray.config.run import RunConfig, check_runner

DATA = {"images": "s3://bucket/images/", "labels": "s3://bucket/labels.csv"}
CONFIGS = ROOT / "experiments" / "configs"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"data": DATA}))
    return path


def write(path: Path, **sections: object) -> Path:
    path.write_text(yaml.safe_dump({"data": DATA} | sections))
    return path


def test_defaults_are_those_of_the_published_experiment(path):
    config = load_config(path)
    assert config.model.head_units == (256, 64)
    assert config.model.dropout == 0.1
    assert config.model.pooling == "flatten"
    assert (config.training.optimizer, config.training.learning_rate) == (
        "rmsprop",
        2e-5,
    )


@pytest.mark.parametrize("shipped", sorted(CONFIGS.glob("nih*.yaml")), ids=str)
def test_shipped_configurations_are_valid(shipped):
    load_config(shipped)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.image_sise=1", r"unknown key 'data.image_sise'. Did you mean 'data.im"),
        (
            "data.xyz=1",
            "unknown key 'data.xyz'. Known keys: images, labels, staged, cred",
        ),
        ("trainning.epochs=1", "unknown key 'trainning'. Did you mean 'training'"),
        ("zzz.epochs=1", "unknown key 'zzz'. Known keys: data, model, training, run"),
        ("training.epoch=1", "Did you mean 'training.epochs'"),
        (f"data.aws_secret_access_key={SECRET}", "unknown key 'data.aws_secret_acc"),
        ("data.images=null", "data.images: .*string. Got None"),
        ("data.images=gs://b/", "data.images: .*s3://.* a folder. Got 'gs://b/'"),
        ("data.labels=labels.txt", "data.labels: .*ending in .csv or .csv.gz"),
        ("data.images=s3:///key", "data.images: "),
        ("data.labels=s3://b/l.txt", "data.labels: .*csv.* Got 's3://b/l.txt'"),
        ("data.labels=s3://b", "data.labels: "),
        ("data.image_size=7", "data.image_size: .*greater than or equal to 8"),
        ("data.image_size=31", "data.image_size must be at least 32 for MobileNet. G"),
        ("data.image_size=4096", "data.image_size: .*2048. Got 4096"),
        ("data.image_size=big", "data.image_size: .*integer.* Got 'big'"),
        ("data.limit=1", "data.limit: .*2. Got 1"),
        ("data.limit=2020-13-45", "value is not YAML. Got '2020-13-45'"),
        ("data.test_fraction=0", "data.test_fraction: .*greater than 0. Got 0"),
        ("data.test_fraction=1", "data.test_fraction: .*less than 1. Got 1"),
        ("data.seed=1.5", "data.seed: .*integer.* Got 1.5"),
        ("data.min_train_positives=-1", "data.min_train_positives: .* Got -1"),
        ("data.max_bad_fraction=1.1", "data.max_bad_fraction: .* Got 1.1"),
        ("data.max_bad_fraction=-0.1", "data.max_bad_fraction: .* Got -0.1"),
        ("data.cache_dir=5", "data.cache_dir: .*path.* Got 5"),
        ("output.models=''", "output.models: must be a folder or s3://bucket/pref"),
        ("output.models=s3://", "output.models: must be a folder or s3://bucket/p"),
        ("output.models=gs://b/m", "output.models: must be a folder or s3.*Got 'gs:"),
        ("output.sensitivity=0", "output.sensitivity: input should be greater.*Got 0"),
        ("output.sensitivity=90", "output.sensitivity: input should be less.*Got 90"),
        ("output.tensorboard=s3://b/m", "output.tensorboard: must be a folder of th"),
        ("data.endpoint_url=5", "data.endpoint_url: .*string.* Got 5"),
        ("data.read_threads=0", "data.read_threads: .*1. Got 0"),
        ("data.read_threads=257", "data.read_threads: .*256. Got 257"),
        (
            "model.backbone=VGG99",
            "model.backbone: must be one of MobileNet, .*VGG99",
        ),
        ("model.weights=places", "model.weights: must be none, imagenet, or a .keras"),
        ("model.alpha=0", "model.alpha: .*0. Got 0"),
        ("model.alpha=2.5", "model.alpha: .*2. Got 2.5"),
        ("model.pooling=sum", "model.pooling: .*'flatten', 'avg' or 'max'. Got 'sum'"),
        ("model.batch_norm_momentum=1", "model.batch_norm_momentum: .* Got 1"),
        ("model.head_units=[8, 0]", r"model.head_units.1: .*1. Got 0"),
        ("model.head_units=8", "model.head_units: .*tuple. Got 8"),
        ("model.dropout=1", "model.dropout: .*less than 1. Got 1"),
        ("training.epochs=0", "training.epochs: .*1. Got 0"),
        ("training.epochs=", "training.epochs: .*integer. Got None"),
        ("training.batch_size=0", "training.batch_size: .*1. Got 0"),
        ("training.optimizer=lion", "training.optimizer: .*'lamb'. Got 'lion'"),
        ("training.optimizer=1", "training.optimizer: .* Got 1"),
        ("training.learning_rate=0", "training.learning_rate: .*0. Got 0"),
        ("training.learning_rate=.inf", "training.learning_rate: .*finite.* Got inf"),
        ("training.learning_rate=.nan", "training.learning_rate: .* Got nan"),
        ("training.evaluate_every_epoch=maybe", "evaluate_every_epoch: .* Got 'maybe'"),
        ("runner.workers=0", "runner.workers: .*1. Got 0"),
        ("runner.threads_per_worker=0", "runner.threads_per_worker: .*1. Got 0"),
        ("runner.mode=async", "runner.mode: .*'hogwild'. Got 'async'"),
        ("runner.frequency=step", "runner.frequency: .*'batch'. Got 'step'"),
        ("runner.frequency=batch", "runner: frequency batch needs mode asynchronous"),
        ("runner.precision=half", "runner.precision: .* Got 'half'"),
        ("runner.backend=torch", "runner.backend: .*'jax'. Got 'torch'"),
        ("runner.xla=auto", "runner.xla: .*boolean.* Got 'auto'"),
        ("runner.devices=0", "runner.devices: .*1. Got 0"),
        ("runner.devices=2", "runner: devices=2 needs backend=jax"),
        ("runner.spark_conf={a: 1}", "runner.spark_conf.a: .*string. Got 1"),
    ],
)
def test_refused_setting(path, override, message):
    with refused(message):
        load_config(path, [override])


def test_jax_without_xla_is_refused(path):
    with refused("runner: xla=false needs backend=tensorflow"):
        load_config(path, ["runner.backend=jax", "runner.xla=false"])


GPU_SETTINGS = [
    ("backend", "jax", "tensorflow"),
    ("xla", "true", "null"),
    ("devices", "1", "null"),
]


@pytest.mark.parametrize(("name", "value", "default"), GPU_SETTINGS)
def test_settings_of_the_gpu_runner_are_refused_elsewhere(path, name, value, default):
    config = load_config(path, [f"runner.{name}={value}"])
    check_runner(config, "gpu")
    check_runner(load_config(path, [f"runner.{name}={default}"]), "sequential")
    for runner in ("sequential", "elephas"):
        message = f"runner.{name} is for the gpu runner alone. Got .* for {runner}"
        with refused(f"{message}. .*--set runner.{name}={default}"):
            check_runner(config, runner)


def test_half_precision_is_for_gpus_and_bfloat16_for_cpus_too(path):
    half = load_config(path, ["runner.precision=mixed_float16"])
    check_runner(half, "gpu")
    for runner in ("sequential", "elephas"):
        with refused("runner.precision=mixed_float16 is for GPUs. .*mixed_bfloat16"):
            check_runner(half, runner)
        check_runner(load_config(path, ["runner.precision=mixed_bfloat16"]), runner)


@pytest.mark.parametrize("stock", ["engine=stock", "mode=hogwild"])
def test_stock_elephas_computes_as_it_comes(path, stock):
    overrides = [f"runner.{stock}", "runner.precision=mixed_bfloat16"]
    with refused("precision=mixed_bfloat16 needs engine=resident"):
        load_config(path, overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["workers=2", "min_workers=3"], "min_workers=3 must be at most workers=2"),
        (["engine=stock", "min_workers=1"], "min_workers=1 needs engine=resident"),
        (["mode=hogwild", "balance=true"], "balance=True needs engine=resident"),
        (["engine=stock", "outer_momentum=0.5"], "outer_momentum=0.5 needs engine="),
    ],
)
def test_shares_change_in_resident_workers_alone(path, overrides, said):
    with refused(said):
        load_config(path, [f"runner.{setting}" for setting in overrides])


def test_alpha_without_imagenet_weights_is_refused(path):
    with refused(r"model: alpha must be one of \(0.25, 0.5, 0.75, 1.0\) with imagenet"):
        load_config(path, ["model.weights=imagenet", "model.alpha=0.3"])


HUGE = "9" * 30


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.seed=-1", "data.seed: .*greater than or equal to 0. Got -1"),
        ("training.seed=-1", "training.seed: .* Got -1"),
        (f"data.seed={2**32}", "data.seed: .*equal to 4294967295. Got 4294967296"),
        (f"training.seed={2**32}", "training.seed: .* Got 4294967296"),
        (f"model.head_units=[{HUGE}]", f"model.head_units.0: .*65536. Got {HUGE}"),
        (f"training.epochs={HUGE}", "training.epochs: .*2147483647. Got 9"),
        (f"data.memory_mib={HUGE}", "data.memory_mib: .* Got 9"),
        (f"training.epochs=0x{'f' * 5000}", "Got a number of thousands of digits"),
        ("training.epochs=!!bool z", "training.epochs: the value is not YAML"),
        ("training.epochs=!!timestamp z", "the value is not YAML"),
        ("training.epochs=!!int ''", "the value is not YAML"),
        (f"model.head_units={'[' * 3000}", r"not YAML. Got '\[{79}\.\.\."),
        (r'data.cache_dir="a\0b"', "data.cache_dir: .*without a NUL"),
        (r'data.credentials="a\0b"', "data.credentials: .*without a NUL"),
        (r'output.models="a\0b"', "output.models: .*without a NUL"),
        (r'runner.spark_conf={a: "b\0"}', "runner.spark_conf: .*without a NUL"),
        (r'data.cache_dir="\ud800"', "data.cache_dir: .*half characters"),
        ('output.tensorboard=""', "output.tensorboard: must not be empty; null"),
        ('data.cache_dir=""', "data.cache_dir: must not be empty"),
        (
            "runner.spark_conf={spark.authenticate.secret: 12345}",
            r"spark.authenticate.secret: .*string. Got '\*\*\*'",
        ),
    ],
)
def test_what_no_library_below_could_take_is_refused(path, override, message):
    with refused(message):
        load_config(path, [override])


def test_seeds_reach_to_32_bits(path):
    config = load_config(path, [f"data.seed={2**32 - 1}", "training.seed=0"])
    assert (config.data.seed, config.training.seed) == (2**32 - 1, 0)


def test_only_the_first_of_many_is_told(path):
    with refused(r"training.epochs: .* Got 0. \(1 more\)"):
        load_config(path, ["training.epochs=0", "training.batch_size=0"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "--set takes section.key=value. Got 'training.epochs'"),
        ("epochs=3", "--set takes section.key=value. Got 'epochs'"),
        (f"aws_secret_access_key={SECRET}", "--set takes section.key=value"),
        (".epochs=3", "--set takes section.key=value"),
        ("training.=3", "--set takes section.key=value"),
        ("", "--set takes section.key=value. Got ''"),
        ("training.epochs=[1", "--set training.epochs: the value is not YAML"),
    ],
)
def test_malformed_override(path, override, message):
    with refused(message):
        load_config(path, [override])


def test_override_in_a_section_that_is_a_list(path):
    with refused("--set model.alpha: section 'model' holds no keys"):
        load_config(write(path, model=[1]), ["model.alpha=1"])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.limit=12", 12),
        ("data.limit=null", None),
        ("data.limit=", None),
        ("data.cache_dir=/tmp/a=b", Path("/tmp/a=b")),
        ("data.endpoint_url=http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("model.head_units=[8, 4, 2]", (8, 4, 2)),
        ("model.head_units=[]", ()),
        ("model.weights=none", None),
        ("model.weights=None", None),
        ("model.weights=s3://bucket/a.weights.h5", "s3://bucket/a.weights.h5"),
        ("model.backbone=mobilenetv2", "MobileNetV2"),
        ("training.optimizer=RMSprop", "rmsprop"),
        ("training.learning_rate=2e-5", 2e-5),  # a text in YAML 1.1
        ("training.evaluate_every_epoch=true", True),
        ("runner.master=local[2]", "local[2]"),
        (
            "runner.spark_conf={spark.ui.enabled: 'false'}",
            {"spark.ui.enabled": "false"},
        ),
    ],
)
def test_override(path, override, value):
    section, key = override.split("=")[0].split(".")
    config = load_config(path, [override])
    assert getattr(getattr(config, section), key) == value


def test_later_override_wins_over_earlier_and_file(path):
    write(path, training={"epochs": 1, "batch_size": 2})
    config = load_config(path, ["training.epochs=2", "training.epochs=3"])
    assert (config.training.epochs, config.training.batch_size) == (3, 2)


def test_override_adds_a_section_and_fills_an_empty_one(path):
    write(path, model=None)
    config = load_config(path, ["model.alpha=0.5", "runner.workers=2"])
    assert (config.model.alpha, config.runner.workers) == (0.5, 2)


def test_empty_section_takes_the_defaults(path):
    assert load_config(write(path, model=None)).model.backbone == "MobileNet"


def test_empty_data_section_lacks_its_keys(path):
    with refused(r"data.images is required. Add it to the file or give --set.*1 more"):
        load_config(write(path, data=None))


def test_missing_data_section(path):
    path.write_text("training:\n  epochs: 1\n")
    with refused("data is required"):
        load_config(path)


def test_section_that_is_no_mapping(path):
    with refused("data: .*dictionary"):
        load_config(write(path, data=[SECRET]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"data: [{SECRET}", "not valid YAML at line"),
        (f"key: {SECRET}: more", "not valid YAML at line 1"),
        (f"data:\n\tsecret: {SECRET}", "not valid YAML at line 2"),
        (f"!!python/name:{SECRET} x", "not valid YAML at line 1"),
        ("data: 2020-13-45", "not valid YAML"),
        ("data: \x00", "not valid YAML"),
        ("data: !!bool z", "not valid YAML"),
        ("data: !!timestamp z", "not valid YAML"),
        ("data: !!int ''", "not valid YAML"),
        ("data: " + 3000 * "[", "not valid YAML"),
        (SECRET, "must hold `key: value` lines"),
        (f"- {SECRET}", "must hold `key: value` lines"),
        ("", "must hold `key: value` lines"),
        (f"1: 2\ndata: {DATA}", "1: keys should be strings"),
    ],
)
def test_file_that_is_no_configuration(path, content, message):
    path.write_text(content)
    with refused(message):
        load_config(path)


def test_missing_file_folder_and_binary_file(tmp_path):
    with refused("Configuration .*none.yaml cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")
    with refused("cannot be read: Is a directory"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with refused("cannot be read: not a text file"):
        load_config(tmp_path / "binary.yaml")
    with refused(r"Configuration '.*a.x00b' cannot be read"):
        load_config(f"{tmp_path}/a\0b")


def test_configuration_is_immutable(path):
    config = load_config(path)
    for section, key in (("data", "seed"), ("training", "epochs"), ("model", "alpha")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(getattr(config, section), key, 1)
    with pytest.raises(ValidationError, match="frozen"):
        config.data = config.data


def test_record_of_the_configuration_repeats_it(path):
    overrides = ["data.cache_dir=/tmp/x", "model.head_units=[8]", "runner.workers=2"]
    config = load_config(path, overrides)
    assert config.to_dict()["model"]["head_units"] == [8]
    assert RunConfig.model_validate(config.to_dict()) == config
