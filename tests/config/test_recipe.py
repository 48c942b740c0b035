"""Recipes that are refused, and those that the configurations give."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.refusals import refused
from xray.config.backbones import BACKBONES
from xray.config.file import load_config
from xray.config.recipe import TrainingConfig

CONFIGS = ROOT / "experiments" / "configs"


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("data: {images: s3://b/i/, labels: s3://b/l.csv}\n")
    return path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.backbone=VGG16", "model.alpha=0.5"],
            "alpha belongs to the MobileNets, not to VGG16. Got 0.5",
        ),
        (
            ["model.backbone=Tiny", "model.weights=imagenet"],
            "there are no imagenet weights of Tiny",
        ),
        (["model.crop=200"], "model.crop must be at most data.image_size=128. Got 200"),
        (
            ["model.backbone=InceptionV3", "model.crop=64"],
            "model.crop must be at least 75 for InceptionV3. Got 64",
        ),
        (
            ["model.backbone=inceptionv3", "data.image_size=64"],
            "data.image_size must be at least 75 for InceptionV3. Got 64",
        ),
        (["model.augment.flop=true"], "unknown key 'model.augment.flop'"),
        (["model.augment={brightness: 2}"], "model.augment.brightness: .*1. Got 2"),
        (["training.warmup_epochs=9"], "warmup_epochs must be at most the 5 epochs"),
        (["training.frozen_epochs=6"], "frozen_epochs must be at most the 5 .* Got 6"),
        (
            ["data.validation_fraction=0.2", "training.early_stopping=6"],
            "early_stopping must be at most the 5 epochs of the run. Got 6",
        ),
        (
            ["training.early_stopping=2"],
            "training.early_stopping needs data.validation_fraction above 0",
        ),
        (
            ["training.optimizer=adam", "training.momentum=0.9"],
            "adam takes no momentum",
        ),
        (
            ["training.loss=focal", "training.class_weights=balanced"],
            "choose loss=focal or class_weights=balanced, not both",
        ),
        (
            ["runner.optimizer_state=averaged", "training.frozen_epochs=1"],
            "averaged cannot follow training.frozen_epochs",
        ),
        (["data.validation_fraction=1"], "data.validation_fraction: .* Got 1"),
    ],
)
def test_refused(path, overrides, message):
    with refused(message):
        load_config(path, overrides)


@pytest.mark.parametrize(
    "setting",
    [
        "training.schedule=cosine",
        "training.schedule=plateau",
        "training.warmup_epochs=1",
        "training.frozen_epochs=1",
        "training.class_weights=balanced",
        "training.scale_learning_rate=true",
        "data.validation_fraction=0.1",
    ],
)
@pytest.mark.parametrize(
    "runner", ["runner.engine=stock", "runner.mode=asynchronous", "runner.mode=hogwild"]
)
def test_elephas_as_it_comes_trains_plain_recipes_only(path, setting, runner):
    load_config(path, [setting])
    with refused("need runner.engine=resident and runner.mode=synchronous"):
        load_config(path, [setting, runner])


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_found_in_any_case(path, name):
    config = load_config(path, [f"model.backbone={name.upper()}"])
    assert config.model.backbone == name


@pytest.mark.parametrize(
    ("name", "backbone", "size"),
    [
        ("published", "MobileNet", 128),
        ("chexnet-densenet121", "DenseNet121", 224),
        ("resnet50-transfer", "ResNet50", 256),
        ("nih-sample-recipe", "MobileNet", 128),
    ],
)
def test_ready_configurations(name, backbone, size):
    config = load_config(CONFIGS / f"{name}.yaml")
    assert (config.model.backbone, config.data.image_size) == (backbone, size)


@pytest.mark.parametrize(
    ("epochs", "count", "expected"),
    [
        (12, 6, [2, 4, 6, 8, 10, 12]),
        (5, 6, [1, 2, 3, 4, 5]),
        (7, 3, [3, 5, 7]),
        (100, 1, [100]),
    ],
)
def test_scored_epochs_are_spread_evenly_and_the_last_is_one(epochs, count, expected):
    recipe = TrainingConfig(epochs=epochs, scored_epochs=count)
    assert [n for n in range(1, epochs + 1) if recipe.is_scored(n)] == expected
