"""What the page takes: files by their content, so many, so large; and samples."""

import threading
import time

import numpy as np
import pytest
from PIL import Image
from werkzeug.exceptions import HTTPException, ServiceUnavailable, TooManyRequests

from experiments.benchmarks.fuzz_upload import encode, fuzz, main
from tests.pictures import huge_png, noise
from tests.refusals import refused
from xray.local.dicom import encode_dicom
from xray.webapp.limits import CLIENTS, Gate, Limits, RateLimit
from xray.webapp.samples import drawn_samples, folder_samples
from xray.webapp.uploads import read_picture

GREY = Image.fromarray(noise(32))
LIMIT = 1_000_000

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:pydicom", "ignore::PIL.Image.DecompressionBombWarning"
)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encode(GREY, "PNG"), "PNG"),
        (encode(Image.fromarray(noise(32).astype(np.uint16) * 257), "PNG"), "PNG"),
        (encode(GREY.convert("CMYK"), "JPEG"), "JPEG"),
        (encode(GREY.convert("RGB"), "MPO"), "JPEG"),
        (encode_dicom(noise(32)), "DICOM"),
    ],
)
def test_pictures_that_are_read(content, kind):
    picture = read_picture(content, LIMIT)
    assert (picture.kind, picture.grey.mode, picture.grey.size) == (kind, "L", (32, 32))


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "The file is empty"),
        (b"A text file called chest.png", 415, "its name does not matter"),
        (encode(GREY, "GIF"), 415, "no PNG, JPEG or DICOM"),
        (encode(GREY, "PNG")[:300], 422, "truncated"),
        (encode(GREY, "JPEG")[:400], 422, "truncated"),
        (huge_png(50_000, 50_000), 413, "more than 1000000 pixels"),
        (huge_png(2_000, 2_000), 413, "2000x2000 pixels"),
        (encode_dicom(noise(8), Rows=50_000, Columns=50_000), 413, "50000x50000"),
        (
            encode(GREY, "PNG", save_all=True, append_images=[GREY.rotate(90)]),
            422,
            "an animation of 2 frames",
        ),
        (encode_dicom(noise(8), PixelData=None), 422, "it holds no pixels"),
    ],
)
def test_refused_uploads(content, status, words):
    with pytest.raises(HTTPException, match=words) as caught:
        read_picture(content, LIMIT)
    assert caught.value.code == status
    assert "\n" not in caught.value.description


def test_mutated_files_get_an_answer():
    results = fuzz(400, seed=7)
    assert results["faults"] == []
    assert sum(results["outcomes"].values()) == 400
    assert {"read", "415", "422"} <= set(results["outcomes"])


def test_fuzz_script_tells_a_fault(monkeypatch, tmp_path, capsys):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("experiments.benchmarks.fuzz_upload.read_picture", fail)
    assert main(["--files", "2", "--first", "5", "--out", str(tmp_path)]) == 1
    assert '{"file": 5, "fault": "ZeroDivisionError()"}' in capsys.readouterr().out


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_client_has_so_many_uploads_a_minute():
    clock = Clock()
    rate = RateLimit(6, clock)
    for _ in range(6):
        rate.take("a")
    with pytest.raises(TooManyRequests, match="At most 6 uploads a minute") as caught:
        rate.take("a")
    assert dict(caught.value.get_headers())["Retry-After"] == "10"
    rate.take("b")
    clock.now = 9.9
    with pytest.raises(TooManyRequests):
        rate.take("a")
    clock.now = 10
    rate.take("a")
    clock.now = 1e6
    for _ in range(6):
        rate.take("a")
    with pytest.raises(TooManyRequests):
        rate.take("a")


def test_clients_are_forgotten_not_kept_for_ever():
    rate = RateLimit(1, Clock())
    for number in range(CLIENTS + 5):
        rate.take(str(number))
    rate.take("0")  # forgotten
    with pytest.raises(TooManyRequests):
        rate.take(str(CLIENTS))


def sent_away(gate: Gate) -> pytest.ExceptionInfo:
    """The refusal of a gate, as soon as the thread that waits has taken its place."""
    with pytest.raises(ServiceUnavailable, match="busy") as caught:
        while gate._places.acquire(blocking=False):
            gate._places.release()
            time.sleep(0.001)
        with gate.enter():
            pass
    return caught


def test_gate_lets_some_work_some_wait_and_sends_away_the_others():
    gate, working, waiting = Gate(1, 1), threading.Event(), threading.Event()
    release = threading.Event()

    def work(entered: threading.Event) -> None:
        with gate.enter():
            entered.set()
            release.wait(30)

    first = threading.Thread(target=work, args=(working,))
    first.start()
    assert working.wait(30)
    second = threading.Thread(target=work, args=(waiting,))
    second.start()
    caught = sent_away(gate)
    assert "Retry-After" in dict(caught.value.get_headers())
    assert not waiting.is_set()
    release.set()
    first.join(30)
    second.join(30)
    assert waiting.is_set()
    with gate.enter():
        pass


def test_drawn_samples_are_pictures_that_are_taken():
    samples = drawn_samples()
    assert len({sample.name for sample in samples}) == len(samples) >= 5
    for sample in samples:
        assert read_picture(sample.read(), Limits.pixels).kind == "PNG"
        assert max(read_picture(sample.thumbnail, Limits.pixels).grey.size) < 200


def test_samples_of_a_folder(tmp_path, caplog):
    (tmp_path / "b.dcm").write_bytes(encode_dicom(noise(64)))
    (tmp_path / "a.jpg").write_bytes(encode(GREY, "JPEG"))
    (tmp_path / "c.png").write_text("text")
    (tmp_path / "folder").mkdir()
    samples = folder_samples(tmp_path, Limits())
    assert [(sample.name, sample.mimetype) for sample in samples] == [
        ("a.jpg", "image/jpeg"),
        ("b.dcm", "application/dicom"),
    ]
    assert "c.png is left out" in caplog.text


def test_folder_without_pictures_is_refused(tmp_path):
    with refused("holds no PNG, JPEG or DICOM picture"):
        folder_samples(tmp_path, Limits())
    with refused("is no folder"):
        folder_samples(tmp_path / "none", Limits())
