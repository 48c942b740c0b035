"""A configuration that ran on several commits, by the order of its first runs."""

from datetime import timedelta

from tests.factories import START, make_elephas, make_record
from tests.report.test_comparison import only_group
from xray.report.page.history import history


def at(commit, hours, make=make_record, *arguments, **fields):
    git = {"commit": commit * 40, "dirty": False}
    return make(*arguments, git=git, created=START + timedelta(hours=hours), **fields)


def test_the_same_configuration_by_commit_oldest_first():
    records = [
        at("b", 9, phases={"fit": 50}),
        at("a", 1, phases={"fit": 80}),
        at("a", 2, phases={"fit": 84}),
        at("b", 3, make_elephas, 2, 40),  # on one commit alone
    ]
    table = history(only_group(*records))
    assert [row[:2] + row[3:4] for row in table.rows] == [
        ["Sequential", "aaaaaaa", "2"],
        ["Sequential", "bbbbbbb", "1"],
    ]
    assert [row[5] for row in table.rows] == ["82.0 (80.0–84.0)", "50.0"]


def test_one_commit_has_no_history():
    assert history(only_group(make_record(), make_record())) is None
