"""The table of accuracy, for other labels than NIH's fifteen."""

import pytest

from tests.factories import make_record, make_scores
from tests.report.test_comparison import only_group
from xray.report.page.accuracy import accuracy


@pytest.mark.parametrize(
    ("names", "columns", "told"),
    [
        (("Edema", "Mass"), ("2 labels", "2 pathologies"), "2 labels, 2 pathologies."),
        (
            ("Edema", "No Finding"),
            ("2 labels", "1 pathologies"),
            "2 labels, 1 pathologies and No Finding.",
        ),
    ],
)
def test_labels_are_counted_as_they_are(names, columns, told):
    scores = make_scores()
    scores["findings"] = {name: scores["findings"][name] for name in names}
    scores["findings_scored"] = len(names)
    table = accuracy(only_group(make_record(scores=scores)))
    assert table.columns[1:3] == [f"Macro AUC, {columns[0]}", columns[1]]
    assert f"mean over 2 of {told}" in table.notes[0]
