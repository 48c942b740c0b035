"""What a test lacks is skipped by people and failed by CI, which has it."""

import pytest

from tests.conftest import require


@pytest.mark.parametrize("named", ["", "hosts"])
def test_what_is_not_asked_for_is_skipped(monkeypatch, named):
    monkeypatch.setenv("XRAY_TESTS_REQUIRE", named)
    with pytest.raises(pytest.skip.Exception, match="^no browser: none is installed$"):
        require("browser", "none is installed")


@pytest.mark.parametrize("named", ["browser", "hosts,browser"])
def test_what_is_asked_for_has_to_be_there(monkeypatch, named):
    monkeypatch.setenv("XRAY_TESTS_REQUIRE", named)
    with pytest.raises(pytest.fail.Exception, match="no browser: none is installed"):
        require("browser", "none is installed")
