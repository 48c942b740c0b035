"""Files are there whole or not at all, and held by one process at a time."""

import stat
import subprocess
import sys

import pytest

from xray.common.files import Held, locked, write_whole


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("sync", [True, False])
def test_makes_folder_and_file_and_replaces_it(tmp_path, sync):
    path = tmp_path / "new" / "folder" / "file"
    for content in (b"one", b"two"):
        write_whole(path, lambda file, text=content: file.write(text), sync=sync)
        assert content_of(path.parent) == {"file": content}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_secret_is_never_open_to_others(tmp_path):
    path, modes = tmp_path / "file", []

    def write(file):
        modes.extend(stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir())

    write_whole(path, write, mode=0o600)
    assert [*modes, stat.S_IMODE(path.stat().st_mode)] == [0o600, 0o600]


@pytest.mark.parametrize("error", [OSError(28, "No space"), KeyboardInterrupt()])
def test_what_fails_in_the_middle_leaves_what_was_there(tmp_path, error):
    def fail(file):
        file.write(b"half")
        raise error

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(type(error)):
        write_whole(tmp_path / "file", fail)
    assert content_of(tmp_path) == {"file": b"old"}


HOLD = """
import sys, time
from pathlib import Path
from xray.common.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_holds_a_lock_and_a_killed_one_lets_go(tmp_path):
    path = tmp_path / "new" / "a.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(Held, match=f"process {other.pid} on "), locked(path):
                pass
            assert path.exists()
        finally:
            other.kill()
    assert path.exists()  # stale, and held by nobody
    with locked(path), pytest.raises(Held), locked(path):
        pass
    assert not path.exists()
