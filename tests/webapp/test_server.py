"""What the whole page promises, asked of one that runs."""

import http.client
import json
import re
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

from tests.data.test_dicom import ITEM, UNDEFINED, sequence, with_element
from tests.pictures import encode, many_chunks, many_scans
from tests.webapp.test_connections import MANY, POST, connect, is_open, wait_until
from xray.local.dicom import encode_dicom
from xray.webapp.limits import Limits

pytestmark = pytest.mark.slow  # starts TensorFlow in a process of its own
PREDICT = "/api/v1/predict"
LARGE = np.random.default_rng(0).integers(0, 256, (2000, 2000), dtype=np.uint8)


def ask(page, method="GET", path="/healthz", body=None, **headers):
    """(status, what was said) of one request."""
    connection = http.client.HTTPConnection(urlsplit(page.address).netloc, timeout=30)
    with closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def family(page) -> list[psutil.Process]:
    process = psutil.Process(page.pid)
    return [process, *process.children(recursive=True)]


def peak_bytes(page) -> int:
    """The most memory that its processes ever had."""
    texts = [Path(f"/proc/{one.pid}/status").read_text() for one in family(page)]
    return sum(int(re.search(r"VmHWM:\s+(\d+)", text)[1]) for text in texts) * 1024


def test_it_answers_to_no_other_name(served):
    port = urlsplit(served.address).port
    assert ask(served, Host=f"localhost:{port}")[0] == 200
    status, said = ask(served, Host="evil.example")
    assert status == 421
    assert "This server is called" in said["detail"]


def test_two_hundred_slow_uploads_leave_it_answering(served):
    port = urlsplit(served.address).port
    with ExitStack() as stack:
        slow = []
        for _ in range(MANY):
            one = stack.enter_context(closing(connect(port)))
            one.sendall(POST % 1_000_000)
            one.settimeout(0)
            slow.append(one)
        workers = max(2, len(psutil.Process(served.pid).cpu_affinity()))
        most = Limits(workers=workers).connections
        wait_until(lambda: sum(map(is_open, slow)) == most, seconds=3)
        started = time.monotonic()
        assert ask(served) == (200, {"status": "ok"})
        assert time.monotonic() - started < 2


def test_uploads_are_answered_where_nothing_can_be_written(served):
    """Where a file may have no bytes, one that is written ends in an error."""
    form = (
        b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n"
        + encode_dicom(LARGE)
        + b"\r\n--b--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    processes = family(served)
    limits = [resource.prlimit(one.pid, resource.RLIMIT_FSIZE) for one in processes]
    try:
        for one, (_, hard) in zip(processes, limits, strict=True):
            resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (0, hard))
        path = f"{PREDICT}?preview=true"
        status, said = ask(served, "POST", path, encode(LARGE))
        assert status == 200
        assert len(said["image"]["preview"]) > 2**20  # more than waitress keeps
        assert ask(served, "POST", path, form, **kind)[0] == 200
    finally:
        for one, limit in zip(processes, limits, strict=True):
            resource.prlimit(one.pid, resource.RLIMIT_FSIZE, limit)


def test_an_upload_is_decoded_in_another_process(served):
    """One that holds still does not hold the page."""
    children = psutil.Process(served.pid).children()
    for child in children:
        child.suspend()
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, served, "POST", PREDICT, encode(LARGE[:64]))
            with pytest.raises(TimeoutError):
                answer.result(1)
            assert ask(served)[0] == 200
            for child in children:
                child.resume()
            assert answer.result(30)[0] == 200
    finally:
        for child in children:
            child.resume()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(
            with_element(sequence(0x00081140, ITEM * 2_500_000, UNDEFINED)),
            "thousands of elements",
            id="DICOM",
        ),
        pytest.param(many_chunks(1_000_000), "more than 20000 chunks", id="PNG"),
        pytest.param(many_scans(3000), "more than 50 scans", id="JPEG"),
    ],
)
def test_two_bombs_at_once_cost_neither_seconds_nor_memory(served, content, words):
    before = peak_bytes(served)
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: ask(served, "POST", PREDICT, content), "12"))
    assert time.monotonic() - started < 4  # two each
    for status, said in answers:
        assert status == 422
        assert words in said["detail"]
    assert peak_bytes(served) - before < 2**29
