"""What a field of the label file must be."""

import pytest

from tests.refusals import refused
from xray.config.conditions import Condition, parse_condition
from xray.config.file import load_config

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("PA", Condition(("PA",))),
        (" F | M ", Condition(("F", "M"))),
        ("18..64", Condition(None, 18, 64)),
        ("18..", Condition(None, 18, INFINITE)),
        ("..0.5", Condition(None, 0, 0.5)),
        ("18", Condition(("18",))),
    ],
)
def test_conditions(text, condition):
    assert parse_condition(text) == condition


@pytest.mark.parametrize("text", ["", "F|", "..", "64..18"])
def test_what_allows_nothing_or_everything_is_no_condition(text):
    with pytest.raises(ValueError, match="must "):
        parse_condition(text)


def test_a_configuration_with_such_a_condition_is_refused(bucket, tmp_path):
    path = bucket.write_config(tmp_path / "run.yaml")
    with refused(r"data.where: '64..18' must lead from one number to a higher one"):
        load_config(path, ["data.where={Patient Age: 64..18}"])
    config = load_config(path, ["data.where={'Follow-up #': 0, Patient Sex: F}"])
    assert config.data.where == {"Follow-up #": "0", "Patient Sex": "F"}
