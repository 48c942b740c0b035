"""The model card: everything a reader must be told, and nothing private."""

import json
import re

import pytest
import yaml

from tests.factories import (
    make_calibration,
    make_elephas,
    make_record,
    make_scores,
)
from tests.refusals import SECRET
from xray.config.run import RunConfig
from xray.model.card import model_card
from xray.model.sidecar import ModelInfo

CONFIG = {
    "data": {
        "images": "s3://nih/images/",
        "labels": "s3://nih/Data_Entry_2017_v2020.csv",
        "credentials": f"/home/someone/{SECRET}.yaml",
        "endpoint_url": "http://storage.internal:9000",
        "cache_dir": "/home/someone/cache",
        "image_size": 64,
    },
    "model": {"backbone": "MobileNet", "weights": "imagenet", "head_units": [8, 4]},
    "training": {"epochs": 5},
    "runner": {"master": "spark://host:7077", "spark_conf": {"spark.x.key": SECRET}},
    "output": {"models": "/home/someone/models"},
}


def make_info(scored: bool = True, **fields) -> ModelInfo:
    record = make_record(config=CONFIG, **fields)
    info = ModelInfo.of_run(record, "last", 5, scored)
    return info.model_copy(update={"model_id": "0123456789abcdef"})


@pytest.fixture(scope="module")
def card() -> str:
    return model_card(make_info(), "NAME")


@pytest.mark.parametrize(
    "told",
    [
        "not a medical device",
        "MobileNet of `keras.applications`, initial weights imagenet",
        "uint8 (N, 64, 64, 1)",
        "Pneumonia, Pneumothorax",
        "`0123456789abcdef`",
        "4,000 images to train and 1,000 to test",
        "by patient",
        "over 90%",
        "Wang et al.",
        "| `training.epochs` | `5` |",
        "| Pneumonia | 111 | 889 | 0.780 (0.740–0.820) | 0.200 |",
        "| **mean of 15** | | | 0.720 (0.700–0.740) | 0.200 |",
        "Intended use",
        "not a diagnosis",
        "not calibrated",
        'load_model("NAME.keras")',
        "Commit `0123456789abcdef0123456789abcdef01234567`",
        "keras 3.15.1",
    ],
)
def test_tells(card, told):
    assert told in " ".join(card.split())


def test_findings_with_few_positives_are_named():
    scores = make_scores(undefined=("Hernia",))
    scores["findings"]["Edema"]["positives"] = 19
    card = model_card(make_info(scores=scores), "NAME")
    assert "Fewer than 20 test images have Edema, Hernia:" in " ".join(card.split())
    assert "| Hernia | 0 | 1000 | – | – |" in card


def test_validation_images_are_counted_where_there_are_any(card):
    images = {"train": 4000, "test": 1000, "validation": 500}
    told = "4,000 images to train, 500 to choose the best epoch and 1,000 to test"
    assert told in " ".join(model_card(make_info(images=images), "NAME").split())
    assert "to choose" not in card


def test_settings_of_spark_are_told_where_there_was_spark(card):
    assert "runner.workers" not in card
    config = {**CONFIG, "runner": {"workers": 2}}
    record = make_elephas(2, 10.0, config=config)
    told = model_card(ModelInfo.of_run(record, "last", 5, True), "NAME")
    assert "| `runner.workers` | `2` |" in told


def test_a_model_that_was_not_scored_has_no_table():
    card = model_card(make_info(scored=False), "NAME")
    assert "was not scored on the test set" in card
    assert "| Pneumonia |" not in card


def test_thresholds_and_calibration_are_told_where_they_are_known(card):
    calibration = make_calibration(undefined=("Hernia",))
    told = model_card(make_info(calibration=calibration), "NAME")
    point = calibration.findings["Mass"].thresholds["youden"]
    (row,) = (
        line for line in told.splitlines() if f"| {point.threshold:.3g} |" in line
    )
    assert row.startswith("| Mass | 0.")
    assert f"| {point.sensitivity.value:.3f} (" in row
    assert "| Hernia | – | – | – | – | – | – | – | – |" in told
    assert "which chose none of them" in " ".join(told.split())
    assert "## Calibration" not in card + model_card(make_info(scored=False), "NAME")
    untold = model_card(make_info(calibration=make_calibration(chosen=False)), "NAME")
    assert "there was no validation set to choose it on" in " ".join(untold.split())
    for text in (told, untold):
        test_every_row_of_a_table_has_its_columns(text)


def test_thresholds_are_saved_with_the_model_they_were_measured_on():
    calibration = make_calibration()
    info = make_info(calibration=calibration)
    assert info.calibration == calibration
    assert info.thresholds == calibration.thresholds()
    assert set(info.thresholds["Mass"]) == {"youden", "sensitivity_0.9"}
    other = make_info(scored=False, calibration=calibration)
    assert (other.calibration, other.thresholds) == (None, None)
    assert make_info(calibration=make_calibration(chosen=False)).thresholds is None


def test_the_temperature_is_saved_and_told_with_what_it_brings(card):
    calibration = make_calibration()
    info = make_info(calibration=calibration)
    assert info.temperature == calibration.temperature
    assert make_info(scored=False, calibration=calibration).temperature is None
    told = model_card(info, "NAME")
    before, after = (
        f"{found.macro_brier.value:.3f}" for found in (calibration, calibration.scaled)
    )
    assert before != after
    assert f"| **mean** | {before} (" in told
    temperature = f"{calibration.temperature:.3g}"
    assert f"| **mean at temperature {temperature}** | {after} (" in told
    assert "--calibrated" in told
    assert "temperature" not in card
    test_every_row_of_a_table_has_its_columns(told)


def test_nothing_private_is_passed_on(card):
    text = card + make_info().model_dump_json()
    for private in (SECRET, "/home/someone", "storage.internal", "spark://host"):
        assert private not in text


def test_a_network_of_our_own_is_not_called_one_of_keras():
    config = CONFIG | {"model": {"backbone": "Tiny"}}
    info = ModelInfo.of_run(make_record(config=config), "last", 5, True)
    assert "Tiny of this project, initial weights" in model_card(info, "NAME")


def test_its_front_matter_and_configuration_can_be_read(card):
    _, front, _ = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "keras"
    config = json.loads(json.dumps(make_info().config))
    assert RunConfig.model_validate(config).data.image_size == 64


def test_every_row_of_a_table_has_its_columns(card):
    for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1
