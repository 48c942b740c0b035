"""The list of mutations fits the code, and the script tells the two cases apart."""

import pytest

from tests.mutate import ROOT, Mutation, listed, survives


@pytest.mark.parametrize("mutation", listed(), ids=lambda m: m.promise)
def test_each_mutation_changes_one_line_and_names_tests_that_exist(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.line) == 1
    assert mutation.becomes != mutation.line
    for test in mutation.tests.split():
        path, _, name = test.partition("::")
        assert name.partition("[")[0] in (ROOT / path).read_text()


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "code_of.py").write_text("def half(x):\n    return x / 2\n")
    (tmp_path / "test_code.py").write_text(
        "from code_of import half\n\ndef test_half():\n    assert half(2) == 1\n"
    )
    return tmp_path


@pytest.mark.parametrize(("becomes", "lives"), [("x / 2.0", True), ("x / 3", False)])
def test_a_mutation_that_no_test_notices_survives(checkout, capsys, becomes, lives):
    mutation = Mutation("halves", "code_of.py", "x / 2", becomes, "test_code.py")
    assert survives(mutation, checkout) is lives
    assert ("SURVIVED" in capsys.readouterr().out) is lives
    assert (checkout / "code_of.py").read_text().endswith("return x / 2\n")


def test_a_line_that_is_not_there_once_is_refused(checkout):
    with pytest.raises(ValueError, match="0 times, not once"):
        Mutation("halves", "code_of.py", "x / 4", "x", "test_code.py").apply(checkout)
