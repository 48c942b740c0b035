"""The table of the Spark ML script, without Spark."""

from experiments.spark_ml import table
from tests.factories import make_scores
from xray.data.labels import FINDINGS


def test_each_finding_has_its_line():
    scores = make_scores(undefined=("Mass",))
    del scores["findings"]["Hernia"]
    theirs = {name: None if name == "Mass" else 0.71234 for name in FINDINGS}
    shown = table({"scores": scores, "spark_auc": theirs})
    lines = {line[:20].strip(): line[20:].split() for line in shown.splitlines()}
    assert lines["Mass"] == ["0", "-", "-"]
    assert lines["Hernia"][:2] == ["left", "out:"]
    assert lines["Edema"][2].startswith("(0.")
    assert lines["Edema"][-1] == "0.7123"
    assert lines["mean of 14"] == ["0.7200", "(0.700-0.740)"]
