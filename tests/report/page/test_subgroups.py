"""AUC in groups of patients, in the report and on the model card."""

import pytest

from tests.factories import make_elephas, make_record, make_scores
from tests.model.test_card import make_info
from tests.report.test_comparison import cells, only_group
from xray.model.card import model_card
from xray.records.wording import DASH
from xray.report.page import subgroups


def make_grouped(macro=0.7, conditions=("F", "M")):
    whole = make_scores(macro)
    small = {**whole["findings"]["Edema"], "auc": {}, "positives": 9}
    groups = [
        {
            "column": "Patient Sex",
            "condition": condition,
            "images": 500 - 100 * place,
            "patients": 300,
            "macro_auc": {"value": macro - place / 10, "low": 0.5, "high": 0.9},
            "findings_scored": 14,
            "findings": {**whole["findings"], "Edema": small},
        }
        for place, condition in enumerate(conditions)
    ]
    return {**whole, "subgroups": groups}


@pytest.fixture
def group():
    return only_group(
        make_record(scores=make_grouped(0.7)),
        make_elephas(2, 50, scores=make_grouped(0.66, ("M", "other"))),
    )


def test_groups_stand_side_by_side(group):
    macro, findings = subgroups.tables(group)
    assert macro.columns[1:] == [f"Patient Sex {one}" for one in ("F", "M", "other")]
    first = cells(macro, "Sequential")
    assert first[1:] == ["0.700 (0.500–0.900)", "0.600 (0.500–0.900)", DASH]
    assert cells(macro, "Elephas 2×1")[1:] == [DASH, "0.660 (0.500–0.900)",
                                               "0.560 (0.500–0.900)"]  # fmt: skip
    assert "14 findings of which every group has 10 test images" in macro.notes[0]
    assert findings.columns[1:] == [
        "F: 500 images, 300 patients",
        "M: 400 images, 300 patients",
    ]
    assert cells(findings, "Edema")[1:] == [f"{DASH}; 9"] * 2
    assert cells(findings, "Atelectasis")[1].startswith("0.630 (")


def test_a_run_without_groups_has_no_such_table():
    assert subgroups.tables(only_group(make_record())) == []


def test_the_card_tells_them_and_no_longer_that_nobody_looked():
    info = make_info(scores=make_grouped(0.7, ("F|M", "18..")))
    card = model_card(info, "NAME")
    assert "| Patient Sex F\\|M | 500 | 300 | 0.700 (0.500–0.900) | 14 |" in card
    assert "was not examined for differences" not in card
    assert "was not examined for differences" in model_card(make_info(), "NAME")
