"""Numbers as people read them."""

import pytest

from xray.records.scores import Interval
from xray.records.wording import interval, plain_interval

SCORE = Interval(value=0.75, low=0.7, high=0.8125)


@pytest.mark.parametrize(
    ("found", "text", "plain"),
    [
        (SCORE, "0.750 (0.700–0.812)", "0.7500 (0.700-0.812)"),
        (Interval(value=0.75), "0.750", "0.7500"),
        (Interval(), "–", "-"),
    ],
)
def test_a_score_has_its_interval_where_there_is_one(found, text, plain):
    assert interval(found) == text
    assert plain_interval(found, 4) == plain
