"""How a command ends: exit code, one line, and silence where nobody reads."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import assert_one_line, fill
from xray.common.command import command, one_line, split_command
from xray.common.errors import DeviceError, UserError


def end(capsys, error, **options):
    @command(**options)
    def main():
        raise error

    return main(), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("Mend it."), 2), (DeviceError("Mend it."), 3)]
)
def test_what_the_user_can_mend_is_told_as_it_is(capsys, error, code):
    assert end(capsys, error, again="try again") == (code, "error: Mend it.\n")


def test_a_fault_is_one_line(capsys):
    code, said = end(capsys, ValueError("first\nsecond"))
    assert code == 1
    assert said == "error: ValueError: first (python -X dev shows where)\n"
    _, said = end(capsys, ValueError("x"), again="run it again to go on")
    assert_one_line(said, "ValueError: x; run it again to go on (")


def test_a_full_disk_is_the_users_to_mend(capsys, small_disk):
    fill(small_disk)

    @command()
    def main():
        with tempfile.TemporaryDirectory(dir=small_disk) as folder:
            Path(folder, "model").write_bytes(bytes(2**16))

    assert main() == 2
    said = "error: No space left on device. Make room on that disk.\n"
    assert capsys.readouterr().err == said
    error = OSError(errno.EROFS, "Read-only", "/usr/x")
    said = "error: Read-only for /usr/x. Choose a place that can be written.\n"
    assert end(capsys, error) == (2, said)
    assert end(capsys, FileNotFoundError(2, "Gone", "/x"))[0] == 1


def test_an_error_is_told_without_its_secrets(capsys):
    error = UserError("S3 at http://me:TopSecret@box:9 does not answer.")
    _, said = end(capsys, error)
    assert said == "error: S3 at http://***@box:9 does not answer.\n"


def test_an_interruption_says_how_to_go_on(capsys):
    assert end(capsys, KeyboardInterrupt()) == (130, "interrupted\n")
    said = end(capsys, KeyboardInterrupt(), again="run it again")
    assert said == (130, "interrupted; run it again\n")


def test_codes_and_arguments_pass_through():
    @command()
    def main(code, more=0):
        return code + more

    assert main(1, more=2) == 3


def test_an_exit_passes_through():
    @command()
    def main():
        sys.exit(143)

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 143


def test_an_executors_error_is_told_in_its_own_words():
    text = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "worker.py", line 1, in main
xray.common.errors.UserError: S3 refuses these credentials.
"""
    assert one_line(RuntimeError(text)) == "UserError: S3 refuses these credentials."


def test_a_command_line_is_split_at_its_first_dashes():
    assert split_command(["a", "--", "b", "--", "c"]) == (["a"], ["b", "--", "c"])
    assert split_command(["a", "-b"]) == (["a", "-b"], [])


PROGRAM = """
import argparse, sys
from xray.common.command import command
from xray.common.errors import UserError

@command()
def main():
    argparse.ArgumentParser().parse_args()
    for line in range(LINES):
        print("line", line)
    BODY
    return 0

sys.exit(main())
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize(
    ("body", "arguments", "code", "said"),
    [
        ("", [], 141, ""),
        ("", ["--help"], 141, ""),
        ("raise UserError('Mend it.')", [], 2, "error: Mend it.\n"),
        ("raise BrokenPipeError('of a server')", [], 141, ""),
    ],
)
def test_where_nobody_reads_nothing_is_said(
    unbuffered, lines, body, arguments, code, said
):
    """As with `| head`: a pipe whose reader has gone."""
    program = PROGRAM.replace("LINES", str(lines)).replace("BODY", body)
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    print_fails = not arguments and (unbuffered or lines > 1)
    if unbuffered and arguments:
        code = 0  # argparse minds nothing
    assert (process.wait(), error) == ((141, "") if print_fails else (code, said))


def test_a_broken_pipe_elsewhere_is_a_fault(capsys):
    code, said = end(capsys, BrokenPipeError(32, "of a server"))
    assert code == 1
    assert_one_line(said, "BrokenPipeError", "of a server")
