"""Work in the background: its outcome is kept, and nobody waits for it at the end."""

import subprocess
import sys

import pytest

from xray.common.background import in_background


def test_the_outcome_is_that_of_the_call():
    assert in_background(divmod, 7, 2).result(60) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        in_background(divmod, 7, 0).result(60)


def test_a_program_ends_without_waiting_for_it():
    code = (
        "import threading\n"
        "from xray.common.background import in_background\n"
        "in_background(threading.Event().wait)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
