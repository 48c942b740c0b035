"""Phases of a run: they add up, never nest, and survive a failure."""

import subprocess
import sys
import time

import pytest

from xray.records.timing import PHASES, Timer, program_age_seconds


def test_new_timer():
    timer = Timer(age_seconds=100)
    assert tuple(timer.seconds) == PHASES
    assert timer.seconds["startup"] == 100
    assert sum(timer.seconds.values()) == 100
    assert timer.elapsed_seconds() >= 100


def test_phase_entered_twice_adds_up():
    timer = Timer()
    with timer.phase("fit"):
        time.sleep(0.01)
    first = timer.seconds["fit"]
    with timer.phase("evaluate"):
        pass
    with timer.phase("fit"):
        time.sleep(0.01)
    assert first >= 0.01
    assert timer.seconds["fit"] >= first + 0.01


def test_startup_continues_the_age_of_the_program():
    timer = Timer(age_seconds=2)
    with timer.phase("startup"):
        time.sleep(0.001)
    assert timer.seconds["startup"] > 2


def test_phases_add_up_to_no_more_than_the_total():
    timer = Timer(age_seconds=1)
    for name in PHASES:
        with timer.phase(name):
            time.sleep(0.001)
    phases = timer.phases()
    assert set(phases) == {*PHASES, "total"}
    assert sum(phases[name] for name in PHASES) <= phases["total"]


def test_sleeping_takes_no_cpu_and_computing_does():
    timer = Timer()
    with timer.phase("load"):
        time.sleep(0.05)
    with timer.phase("fit"):
        start = time.process_time()
        while time.process_time() < start + 0.02:
            pass
    assert timer.cpu_seconds["load"] < timer.seconds["load"]
    assert timer.cpu_seconds["fit"] >= 0.02


def test_failed_phase_counts_and_is_left():
    timer = Timer()
    with pytest.raises(KeyboardInterrupt), timer.phase("load"):
        time.sleep(0.001)
        raise KeyboardInterrupt
    assert timer.seconds["load"] > 0
    with timer.phase("fit"):
        pass


def test_phases_do_not_nest():
    timer = Timer()
    with timer.phase("fit"):
        with pytest.raises(ValueError, match="do not nest. Got 'evaluate' in 'fit'"):
            with timer.phase("evaluate"):
                pass
    with timer.phase("evaluate"):
        pass


def test_unknown_phase():
    with pytest.raises(ValueError, match="phase must be one of .* Got 'training'"):
        with Timer().phase("training"):
            pass


def test_age_of_the_program_is_that_of_its_process():
    code = (
        "import time; time.sleep(0.5)\n"
        "from xray.records.timing import program_age_seconds as age\n"
        "print(age(False), age(True))"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    own, parents = map(float, shown.split())
    assert 0.4 <= own <= parents
    assert program_age_seconds(under_spark_submit=False) > 0
