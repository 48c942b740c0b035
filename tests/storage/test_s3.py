"""Reading S3: a real server, and a web server that misbehaves as told."""

import dataclasses
import hashlib
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faulty_s3 import TRANSIENT, FaultyS3, outage
from tests.refusals import SECRET, refused
from xray.local.s3 import serve
from xray.storage import deadline, patience
from xray.storage.address import split_uri
from xray.storage.credentials import S3Access, load_access
from xray.storage.failures import ReplacedObject
from xray.storage.patience import LONGEST_PAUSE_SECONDS, patience_seconds
from xray.storage.s3 import Storage, UnreadableObject


def access_of(server, **changes: str | None) -> S3Access:
    fields = {
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
        "endpoint_url": server.endpoint_url,
    }
    return S3Access(**fields | changes)


@pytest.fixture
def storage(bucket) -> Storage:
    return Storage(load_access(bucket.credentials), connections=4)


class WebServer(ThreadingHTTPServer):
    """Answers each request with the next of `replies`: (status, body, length told)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[tuple[int, bytes, int]] = []
        self.requests = 0

    def access(self) -> S3Access:
        return S3Access(
            "AKID", SECRET, None, None, f"http://127.0.0.1:{self.server_port}"
        )


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        replies, self.server.requests = self.server.replies, self.server.requests + 1
        status, body, length = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web():
    with WebServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://bucket/a/b.png", ("bucket", "a/b.png")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket", ("bucket", "")),
    ],
)
def test_parts_of_an_address(uri, parts):
    assert split_uri(uri) == parts


def test_listing_shows_key_size_and_md5(bucket, storage):
    listed = storage.list_objects("s3://nih/images/")
    files = sorted((bucket.folder / "images").iterdir())
    assert [o.key for o in listed] == [f"images/{file.name}" for file in files]
    for found, file in zip(listed, files, strict=True):
        content = file.read_bytes()
        assert (found.size, found.etag) == (
            len(content),
            hashlib.md5(content).hexdigest(),
        )


def test_reading_gives_the_bytes(bucket, storage):
    file = next((bucket.folder / "images").iterdir())
    assert storage.read(f"s3://nih/images/{file.name}") == file.read_bytes()


def test_listing_of_more_than_one_page_in_order(tmp_path):
    folder = tmp_path / "big" / "i"
    folder.mkdir(parents=True)
    names = [f"i/{number:05d}.png" for number in range(1100)]
    for name in reversed(names):
        (tmp_path / "big" / name).write_bytes(b"x")
    (folder / "empty.png").touch()
    with serve(tmp_path, cache_seconds=10) as server:
        listed = Storage(access_of(server)).list_objects("s3://big/i/")
    assert [o.key for o in listed] == names  # the empty object is left out


def test_prefix_without_objects_is_empty(storage):
    assert storage.list_objects("s3://nih/none/") == []


def test_threads_share_one_storage(bucket, storage):
    files = sorted((bucket.folder / "images").iterdir())[:40]
    uris = [f"s3://nih/images/{file.name}" for file in files]
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(storage.read, uris))
    assert contents == [file.read_bytes() for file in files]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secret_access_key": SECRET}, "403 SignatureDoesNotMatch"),
        (
            {"access_key_id": "AKID", "secret_access_key": SECRET},
            "403 InvalidAccess",
        ),
    ],
)
@pytest.mark.parametrize("call", ["list_objects", "read"])
def test_wrong_keys(bucket, changes, code, call):
    storage = Storage(access_of(bucket.server, **changes))
    with refused(rf"S3 refuses these credentials \({code}"):
        getattr(storage, call)("s3://nih/images/a.png")


@pytest.mark.parametrize("call", ["list_objects", "read"])
def test_missing_bucket(storage, call):
    with refused("Bucket 'nowhere' does not exist at http://127.0.0.1:.*data.images"):
        getattr(storage, call)("s3://nowhere/a.png")


@pytest.mark.parametrize("uri", ["s3://no bucket/", "s3://nih$/"])
def test_bucket_name_that_cannot_be(storage, uri):
    with refused("is not valid: Parameter validation failed: Invalid bucket name"):
        storage.list_objects(uri)


@pytest.mark.parametrize("call", ["list_objects", "read"])
def test_endpoint_that_does_not_answer(call):
    with socket.socket() as probe:  # bound and not listening: connections are refused
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with refused(f"S3 endpoint {url} does not answer .EndpointConnectionError"):
            getattr(Storage(S3Access("A", SECRET, endpoint_url=url)), call)("s3://b/k")


def test_endpoint_that_is_no_address():
    with refused("s3://b/ is not valid: Invalid endpoint: nonsense"):
        Storage(S3Access("A", SECRET, endpoint_url="nonsense")).list_objects("s3://b/")


def test_no_credentials_on_the_reading_machine(monkeypatch, tmp_path, bucket):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    access = S3Access(endpoint_url=bucket.server.endpoint_url)
    with refused("No S3 credentials on this machine. Set data.credentials"):
        Storage(access).list_objects("s3://nih/")


def test_vanished_object_is_one_bad_object(own_bucket):
    (own_bucket.folder / "a.png").write_bytes(b"x")
    storage = Storage(access_of(own_bucket.server))
    (listed,) = storage.list_objects("s3://nih/")
    (own_bucket.folder / "a.png").unlink()
    with refused("no such key", UnreadableObject):
        storage.read(f"s3://nih/{listed.key}")


def first_file(bucket) -> tuple[str, bytes]:
    file = next((bucket.folder / "images").iterdir())
    return f"s3://nih/images/{file.name}", file.read_bytes()


@pytest.mark.parametrize("kind", [*TRANSIENT, "slow"])
def test_a_fault_that_passes_by_is_not_seen(faulty, kind):
    proxy, bucket = faulty
    uri, content = first_file(bucket)
    proxy.plan = lambda request: kind if request.number < 2 else None
    storage = Storage(load_access(bucket.credentials))
    assert storage.read(uri) == content
    assert proxy.count("GET", "/images/") == (1 if kind == "slow" else 3)


@pytest.mark.parametrize("call", ["list_objects", "check", "write", "delete"])
def test_every_request_bears_a_busy_s3(own_bucket, monkeypatch, call, caplog):
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "30")
    monkeypatch.setattr(patience, "_words", patience._Words())
    arguments = {"write": [b"x"]}.get(call, [])
    plan = outage(2, ["503", "SlowDown", "500", "drop"])
    with FaultyS3(own_bucket.server.endpoint_url, plan) as proxy:
        access = access_of(own_bucket.server, endpoint_url=proxy.endpoint_url)
        getattr(Storage(access), call)("s3://nih/a.png", *arguments)
        assert proxy.requests[-1].seconds >= 2
    (word,) = {record.getMessage() for record in caplog.records}
    assert re.search(
        "answers 503 ServiceUnavailable; trying again for up to 30 s", word
    )


def test_many_threads_bear_a_busy_s3(faulty):
    """boto3's own quota of retries, shared by its threads, would be used up."""
    proxy, bucket = faulty
    uri, content = first_file(bucket)
    proxy.plan = outage(2, ["503"])
    storage = Storage(load_access(bucket.credentials))
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(storage.read, [uri] * 64)) == {content}


def test_refused_connections_are_borne_until_a_server_listens(bucket, monkeypatch):
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "30")
    uri, content = first_file(bucket)
    proxy = FaultyS3(bucket.server.endpoint_url, bind_and_activate=False)
    proxy.server_bind()  # and not listening: connections are refused
    late = threading.Timer(4, proxy.server_activate)
    late.start()
    access = access_of(bucket.server, endpoint_url=proxy.endpoint_url)
    storage, start = Storage(access), time.monotonic()
    with proxy:
        assert storage.read(uri) == content
    assert time.monotonic() - start > 0.5
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("truncate", "breaks off its answer"),
        ("reset", "breaks off its answer|does not answer"),
        ("wrong", "sends a damaged answer"),
        ("503", "answers 503 ServiceUnavailable"),
    ],
)
def test_what_never_comes_whole_is_an_error_of_s3_not_of_the_object(
    faulty, monkeypatch, kind, word
):
    proxy, bucket = faulty
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "1")
    proxy.plan = lambda request: kind
    with refused(
        rf"S3 .* ({word}).* and did so for 1 s \(XRAY_S3_.*s3://nih/images/.*run again"
    ):
        Storage(load_access(bucket.credentials)).read(first_file(bucket)[0])
    # With pauses that double from a tenth of a second, no second holds more.
    assert 2 < len(proxy.requests) < 9


def test_an_answer_that_trickles_is_asked_for_again(faulty, monkeypatch, caplog):
    proxy, bucket = faulty
    monkeypatch.setattr(deadline, "READ_SECONDS", 1)
    monkeypatch.setattr(patience, "_words", patience._Words())
    proxy.plan = lambda request: "trickle" if request.number < 1 else None
    uri, content = first_file(bucket)
    assert Storage(load_access(bucket.credentials)).read(uri) == content
    assert "breaks off its answer (ResponseStreamingError); trying" in caplog.text
    first, second = (request.seconds for request in proxy.requests)
    assert second - first < 5


def test_nobody_waits_for_what_was_given_up(faulty):
    proxy, bucket = faulty
    proxy.plan = lambda request: "503"
    storage = Storage(load_access(bucket.credentials))
    threading.Timer(0.5, storage.give_up).start()
    start = time.monotonic()
    with refused("answers 503 Service"):
        storage.read("s3://nih/a.png")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_patience_that_is_no_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", text)
    with refused("XRAY_S3_PATIENCE_SECONDS must be seconds from 0 to 86400. Got"):
        patience_seconds()


def test_the_default_patience_is_longer_than_a_minute(monkeypatch):
    monkeypatch.delenv("XRAY_S3_PATIENCE_SECONDS")
    assert patience_seconds() - LONGEST_PAUSE_SECONDS > 60


def test_an_object_that_was_replaced_since_its_listing_is_refused(own_bucket):
    file = own_bucket.folder / "a.png"
    file.write_bytes(b"one")
    storage = Storage(access_of(own_bucket.server))
    (listed,) = storage.list_objects("s3://nih/")
    asked = []
    storage.client.meta.events.register(
        "before-call.s3.GetObject",
        lambda params, **_: asked.append(params["headers"].get("If-Match")),
    )
    assert storage.read("s3://nih/a.png", listed.etag) == b"one"
    assert asked == [f'"{listed.etag}"']  # this server does not heed it, AWS does
    file.write_bytes(b"two")
    with refused(
        "s3://nih/a.png was replaced since it was listed. Run again", ReplacedObject
    ):
        storage.read("s3://nih/a.png", listed.etag)


def test_a_listing_is_allowed_where_only_its_prefix_is(faulty):
    """As by a bucket policy with a condition on s3:prefix."""
    proxy, bucket = faulty
    proxy.plan = lambda request: None if "prefix=images" in request.path else "denied"
    storage = Storage(load_access(bucket.credentials))
    storage.check("s3://nih/images/")
    assert len(storage.list_objects("s3://nih/images/")) == 160
    with refused("S3 denies access to s3://nih/ .403"):
        storage.check("s3://nih/")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("expired", "session token for S3 has expired .ExpiredToken.. Get new"),
        ("skewed", "clock is too far from that of S3 .RequestTimeTooSkewed.. Set it"),
        ("archived", "images/.* is archived .InvalidObjectState.. Restore it"),
    ],
)
def test_refusals_are_told_at_once_with_what_mends_them(faulty, kind, message):
    proxy, bucket = faulty
    uri, _ = first_file(bucket)
    storage = Storage(load_access(bucket.credentials))
    storage.read(uri)
    proxy.plan = lambda request: kind
    with refused(message):
        storage.read(uri)
    assert len(proxy.requests) == 2


def test_listing_from_something_other_than_s3(web):
    web.replies = [(404, b"<html>nothing here</html>", 25)]
    with refused("does not list s3://nih/ .404.*may not be an S3 server"):
        Storage(web.access()).list_objects("s3://nih/images/")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (
            403,
            "AccessDenied",
            "S3 denies access to s3://nih/a.*s3:ListBucket and s3",
        ),
        (400, "InvalidToken", "S3 refuses these credentials .400 InvalidToken"),
        (400, "AuthorizationHeaderMalformed", "S3 failed on s3://nih/a .400 Authoriz"),
    ],
)
def test_refusals_of_aws(web, status, code, message):
    body = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode()
    web.replies = [(status, body, len(body))]
    with refused(message):
        Storage(web.access()).read("s3://nih/a")


def sent_by(storage: Storage) -> list[dict[str, str]]:
    """The headers of every request that it makes from now on."""
    seen: list[dict[str, str]] = []

    def note(request, **_: object) -> None:
        headers = request.headers.items()
        seen.append(
            {k.lower(): v.decode() if isinstance(v, bytes) else v for k, v in headers}
        )

    storage.client.meta.events.register("before-send.s3", note)
    return seen


def test_a_public_bucket_is_asked_without_a_signature(bucket):
    signed = load_access(bucket.credentials)
    storage = Storage(S3Access(endpoint_url=signed.endpoint_url, unsigned=True))
    seen = sent_by(storage)
    with refused("S3 failed on s3://nih/images/ .400"):  # this one is not public
        storage.list_objects("s3://nih/images/")
    assert seen
    assert not any("authorization" in headers for headers in seen)
    storage = Storage(signed, connections=5)
    seen = sent_by(storage)
    storage.check("s3://nih/")
    assert "AWS4-HMAC-SHA256" in seen[0]["authorization"]


def test_a_requester_who_pays_says_so_in_every_request(own_bucket):
    access = load_access(own_bucket.credentials)
    for pays in (True, False):
        storage = Storage(dataclasses.replace(access, requester_pays=pays))
        seen = sent_by(storage)
        storage.write("s3://nih/a", b"1")
        assert [found.key for found in storage.list_objects("s3://nih/a")] == ["a"]
        assert storage.read("s3://nih/a") == b"1"
        storage.delete("s3://nih/a")
        told = [headers.get("x-amz-request-payer") for headers in seen]
        assert told == ["requester" if pays else None] * 4
