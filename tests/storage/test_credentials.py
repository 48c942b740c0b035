"""Credentials: the file, boto3's chain, and what never shows."""

import json
import logging
import os
import pickle
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from tests.refusals import SECRET, refused
from xray.storage.credentials import S3Access, load_access
from xray.storage.s3 import Storage, _make_client

FILE = {"aws_access_key_id": "AKID", "aws_secret_key_id": SECRET}


@pytest.fixture
def write(tmp_path):
    def write(content: object, mode: int = 0o600) -> Path:
        path = tmp_path / "credentials.yaml"
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    """A machine on which boto3 finds nothing."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("name", ["aws_secret_key_id", "aws_secret_access_key"])
def test_published_and_usual_name_of_the_secret(write, name):
    access = load_access(write({"aws_access_key_id": "AKID", name: SECRET}))
    assert access == S3Access("AKID", SECRET)


def test_all_keys(write):
    more = {"aws_session_token": "T", "region": "eu-west-1", "endpoint_url": "http://h"}
    access = load_access(write(FILE | more))
    assert access == S3Access("AKID", SECRET, "T", "eu-west-1", "http://h")


def test_a_public_bucket_needs_no_keys(write):
    assert load_access(write({"unsigned": True})) == S3Access(unsigned=True)
    paid = load_access(write(FILE | {"requester_pays": True}))
    assert paid == S3Access("AKID", SECRET, requester_pays=True)


def test_spaces_and_line_breaks_around_values_do_not_count(write):
    content = {**FILE, "aws_secret_key_id": f" {SECRET}\n", "aws_session_token": "T\n"}
    access = load_access(write(content))
    assert (access.secret_access_key, access.session_token) == (SECRET, "T")


def test_endpoint_of_the_configuration_comes_first(write):
    path = write(FILE | {"endpoint_url": "http://file"})
    assert load_access(path).endpoint_url == "http://file"
    access = load_access(path, endpoint_url="http://configuration")
    assert access.endpoint_url == "http://configuration"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"aws_access_key_id": "AKID"}, "needs aws_secret_key_id. Add it"),
        ({"aws_secret_key_id": SECRET}, "needs aws_access_key_id. Add it"),
        (FILE | {"aws_access_key_id": " "}, "needs aws_access_key_id"),
        (FILE | {"aws_secret_key_id": None}, "needs aws_secret_key_id"),
        (FILE | {"aws_access_key_id": 123}, "aws_access_key_id as text; quote it"),
        (FILE | {"aws_secret_key_id": 123}, "aws_secret_key_id as text; quote it"),
        (FILE | {"aws_secret_key_id": [SECRET]}, "aws_secret_key_id as text"),
        (FILE | {"aws_session_token": 5}, "aws_session_token as text"),
        (FILE | {"region": 5}, "region as text"),
        (FILE | {"endpoint_url": 9000}, "endpoint_url as text"),
        (FILE | {"aws_secret": SECRET}, "unknown key 'aws_secret'. Known keys: aws_ac"),
        (FILE | {"unsigned": True}, "has aws_access_key_id and `unsigned: true`"),
        (FILE | {"requester_pays": "yes"}, "requester_pays to be true or false. Got"),
        (f"aws_access_key_id: AKID\n {SECRET}: [", "not valid YAML at line"),
        (f"aws_secret_key_id={SECRET}", "must hold `key: value` lines"),
        ("", "must hold `key: value` lines"),
    ],
)
def test_refused_file(write, content, message):
    with refused(message):
        load_access(write(content))


def test_missing_file(tmp_path):
    with refused("Credentials file .*none.yaml cannot be read: No such file"):
        load_access(tmp_path / "none.yaml")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_file_open_to_others_is_warned_of(write, caplog, mode):
    load_access(write(FILE, mode))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "chmod 600" in record.getMessage()
    assert SECRET not in record.getMessage()


def test_file_of_the_owner_alone_is_not_warned_of(write, caplog):
    load_access(write(FILE))
    assert not caplog.records


def test_printing_hides_keys():
    shown = repr(S3Access("AKID", SECRET, "TOKEN", "eu-west-1", "http://host"))
    assert shown == (
        "S3Access(region='eu-west-1', endpoint_url='http://host', unsigned=False, "
        "requester_pays=False)"
    )


def test_environment(no_credentials, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "T")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert load_access() == S3Access("AKID", SECRET, "T", "eu-west-1")


def test_endpoint_of_the_environment_comes_last(no_credentials, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://any")
    assert load_access().endpoint_url == "http://any"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3")
    assert load_access().endpoint_url == "http://s3"
    assert load_access(endpoint_url="http://own").endpoint_url == "http://own"


def test_profile_in_the_home_folder(no_credentials, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = AKID\naws_secret_access_key = {SECRET}\n"
    )
    assert load_access() == S3Access("AKID", SECRET)


def test_nothing_found(no_credentials):
    with refused("No S3 credentials found: data.credentials is not set"):
        load_access()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "nobody", r"profile \(nobody\) could not be found"),
        ("AWS_SECRET_ACCESS_KEY", SECRET, "No S3 credentials found"),
        ("AWS_ACCESS_KEY_ID", "AKID", "missing: AWS_SECRET_ACCESS_KEY. Repair them"),
    ],
)
def test_half_an_environment(no_credentials, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with refused(message):
        load_access()


class Metadata(BaseHTTPRequestHandler):
    """The metadata service of an EC2 machine whose role has the server's keys."""

    def do_PUT(self) -> None:
        self.answer(b"token")

    def do_GET(self) -> None:
        if self.path.endswith("/security-credentials/"):
            return self.answer(b"role")
        return self.answer(json.dumps(self.server.role).encode())

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_keys_of_an_instance_role_are_asked_for_by_each_machine(
    no_credentials, monkeypatch, bucket
):
    """So that executors renew them, and none travels from the driver."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    expires = datetime.now(UTC) + timedelta(hours=6)
    with HTTPServer(("127.0.0.1", 0), Metadata) as server:
        server.role = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": bucket.server.access_key,
            "SecretAccessKey": bucket.server.secret_key,
            "Token": "T",
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        access = load_access(endpoint_url=bucket.server.endpoint_url)
        assert access == S3Access(endpoint_url=bucket.server.endpoint_url)
        assert bucket.server.secret_key.encode() not in pickle.dumps(access)
        labels = Storage(access).read("s3://nih/Data_Entry_2017_v2020.csv")
        server.shutdown()
    _make_client.cache_clear()  # the next test has no such machine
    assert labels == (bucket.folder / "Data_Entry_2017_v2020.csv").read_bytes()
