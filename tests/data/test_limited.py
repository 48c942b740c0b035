"""Child processes whose memory and processor time are limited."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.conftest import ROOT
from tests.refusals import refused
from xray.common.errors import UserError
from xray.data import limited
from xray.data.limited import run_limited


def test_an_outcome_or_a_refusal_comes_back():
    assert run_limited(sorted, [3, 1, 2]) == [1, 2, 3]
    with refused("invalid literal", ValueError):
        run_limited(int, "x")
    with refused("^ZeroDivisionError$", RuntimeError):
        run_limited(divmod, 1, 0)


def test_a_child_is_kept_for_the_next():
    assert run_limited(os.getpid) == run_limited(os.getpid) != os.getpid()


def test_more_memory_than_there_is_for_one_is_refused():
    assert len(run_limited(bytes, 2**27)) == 2**27
    with pytest.raises(MemoryError):
        run_limited(bytes, limited.MEMORY_BYTES)
    assert run_limited(len, "goes on") == 7


def test_more_seconds_than_there_are_for_one_are_refused(monkeypatch):
    monkeypatch.setattr(limited, "CPU_SECONDS", 1)
    with refused("^it takes more than 1 s to decode$", ValueError):
        run_limited(pow, 3, 10**10)
    monkeypatch.undo()
    assert run_limited(len, "goes on") == 7


def test_seconds_are_counted_for_each_anew(monkeypatch):
    monkeypatch.setattr(limited, "CPU_SECONDS", 1)
    child = run_limited(os.getpid)
    for _ in range(4):
        run_limited(sum, range(10**7))
    assert psutil.Process(child).cpu_times().user > 0.4
    assert run_limited(os.getpid) == child


def test_a_decoder_that_breaks_is_replaced():
    with refused(r"^its decoder broke \(exit code 3\)$", ValueError):
        run_limited(os._exit, 3)
    with refused(r"^its decoder broke \(exit code -11\)$", ValueError):
        run_limited(signal.raise_signal, signal.SIGSEGV)
    assert run_limited(len, "goes on") == 7


def test_one_that_was_ended_is_no_fault_of_the_picture():
    with refused("was ended by signal 9. Free this machine's memory", UserError):
        run_limited(signal.raise_signal, signal.SIGKILL)
    os.kill(run_limited(os.getpid), signal.SIGKILL)  # between two pictures
    time.sleep(0.1)
    assert run_limited(len, "goes on") == 7


def test_no_answer_is_an_error_and_not_the_pictures_fault(monkeypatch):
    monkeypatch.setattr(limited, "ANSWER_SECONDS", 0.2)
    with refused("gave no answer for 0.2 s. Free this machine's", UserError):
        run_limited(time.sleep, 60)


def test_one_that_cannot_start_is_an_error(monkeypatch):
    monkeypatch.setattr(limited, "_idle", [])
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with refused("did not start", UserError):
        run_limited(len, "x")


def test_no_more_children_than_cores():
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: run_limited(os.getpid), range(40)))
    assert 1 <= len(found) <= limited._cores()


def test_executors_that_share_a_machine_have_fewer(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert limited._cores() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert limited._cores() == len(os.sched_getaffinity(0))


def test_a_child_ends_with_the_process_that_started_it():
    code = (
        "import os, time; from xray.data.limited import run_limited; "
        "print(run_limited(os.getpid), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert not alive
