"""Child processes: exit codes, and none that stays."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.refusals import refused
from xray.common import processes
from xray.common.processes import run_command, stop

WAIT_SECONDS = 30


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_code(code):
    assert run_command(python(f"raise SystemExit({code})")) == code


def test_signal_counts_as_in_a_shell():
    assert run_command(["sh", "-c", "kill -TERM $$"]) == 128 + signal.SIGTERM


def test_environment_replaces_our_own(monkeypatch):
    monkeypatch.setenv("FROM_HERE", "1")
    code = "import os; raise SystemExit(len({'FROM_HERE', 'GIVEN'} & set(os.environ)))"
    assert run_command(python(code)) == 1
    assert run_command(python(code), os.environ | {"GIVEN": "1"}) == 2


def test_no_such_program(tmp_path):
    with refused("/none cannot be run: No such file or directory"):
        run_command([str(tmp_path / "none")])


def test_program_without_permission(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("/file cannot be run: Permission denied"):
        run_command([str(tmp_path / "file")])


def test_stop_ends_a_process():
    process = subprocess.Popen(["sleep", "600"])
    stop(process)
    assert process.returncode == -signal.SIGTERM
    stop(process)  # a second time does no harm


def test_stop_kills_what_does_not_end(monkeypatch):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(python(code), stdout=subprocess.PIPE)
    process.stdout.readline()
    stop(process)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL


def test_sigterm_leaves_no_temporary_folder(tmp_path):
    code = (
        "import tempfile, time; from xray.common.processes import exit_on_termination\n"
        "exit_on_termination()\n"
        f"with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}) as folder:\n"
        "    print(folder, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    assert os.path.isdir(process.stdout.readline().strip())
    process.terminate()
    assert process.wait(WAIT_SECONDS) == 128 + signal.SIGTERM
    process.stdout.close()
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is a call of Linux")
def test_child_ends_with_a_killed_parent():
    code = (
        "import subprocess, time; from xray.common.processes import die_with_parent\n"
        "child = subprocess.Popen(['sleep', '600'], preexec_fn=die_with_parent)\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + WAIT_SECONDS
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)
