"""What is waited for of processes that stay, and what is said when they do not."""

import contextlib
import sys

import pytest

from xray.common.errors import UserError
from xray.local import daemons
from xray.local.daemons import start_daemon, wait_for


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(name, code):
            log = tmp_path / f"{name}.log"
            return start_daemon(stack, log, [sys.executable, "-uc", code], {}), log

        yield start


READY = "import time; print('ready'); time.sleep(60)"


def test_the_words_are_waited_for(start):
    process, log = start("one", READY)
    wait_for(log, "ready", "Toy", [(process, log)])
    assert process.poll() is None


def test_a_daemon_that_ends_is_told_with_its_own_words(start):
    told, log = start("one", READY)
    ends = start("two", "print('a port is taken'); raise SystemExit(3)")
    with pytest.raises(UserError, match=r"Toy cluster ended \(code 3\): a port is ta"):
        wait_for(log, "ready", "Toy", [(told, log), ends])


def test_silence_is_not_borne_for_ever(start, monkeypatch):
    monkeypatch.setattr(daemons, "START_SECONDS", 1)
    process, log = start("one", "import time; time.sleep(60)")
    with pytest.raises(UserError, match="Toy cluster did not start in 1 s: no output"):
        wait_for(log, "ready", "Toy", [(process, log)])
