"""The table of runners holds what there is, and knows what it does not hold."""

import importlib
import inspect

import pytest

from tests.conftest import ROOT
from xray.config.run import RunnerConfig
from xray.config.runners import RUNNERS, runner_of


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=lambda runner: runner.name)
class TestEntry:
    def test_its_module_runs_a_configuration(self, runner):
        run = importlib.import_module(runner.module).run
        assert [*inspect.signature(run).parameters] == ["config", "journal"]

    def test_its_script_runs_it(self, runner):
        script = (ROOT / "experiments" / runner.script).read_text()
        assert f'main("{runner.name}", __doc__)' in script

    def test_its_settings_are_settings(self, runner):
        assert {*(runner.heeds or ()), *runner.alone} <= {*RunnerConfig.model_fields}
        assert all(runner.is_told(name) for name in runner.alone)


def test_every_runner_has_a_name_a_label_and_a_colour_of_its_own():
    for field in ("name", "label", "colour", "script", "module"):
        values = [getattr(runner, field) for runner in RUNNERS.values()]
        assert all(values)
        assert len({*values}) == len(values)
    assert sum(runner.is_baseline for runner in RUNNERS.values()) == 1


def test_a_runner_that_is_not_known_has_nothing_but_its_name():
    unknown = runner_of("quantum")
    assert (unknown.name, unknown.label, unknown.script) == ("quantum", "quantum", "")
    assert not (unknown.is_baseline or unknown.has_gpu or unknown.has_workers)
