"""Archives from a real web server that cuts connections, into folder and bucket."""

import hashlib
import io
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from tests.data.test_dataset import HEADER, find
from tests.pictures import encode, noise
from xray.data.fetch import LIST, main, read_list
from xray.storage import download
from xray.storage.place import Place

IMAGES = 12


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server, content = self.server, self.server.files.get(self.path)
        asked = self.headers.get("Range", "")
        server.asked.append((self.path, asked))
        if content is None:
            return self.send_error(404)
        if server.busy:
            server.busy -= 1
            return self.send_error(503)
        tag = hashlib.md5(content).hexdigest()
        start = int(asked[6:-1]) if asked else 0
        if start and self.headers.get("If-Range") not in (None, tag):
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            about = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", about)
        self.end_headers()
        end = len(content)
        if server.cuts:
            server.cuts -= 1
            end = start + (end - start) // 2
        self.wfile.write(content[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch):
    """A server of `files`, which cuts answers short, or is busy, as often as told."""
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.files, server.asked, server.cuts, server.busy = {}, [], 0, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def tar(numbers, mode="w:gz") -> bytes:
    """Images in a folder, as NIH has them, beside what is none."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        contents = {f"images/{n:08d}.png": encode(noise(64, seed=n)) for n in numbers}
        contents["../../outside.txt"] = b"no image"
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("images/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


@pytest.fixture
def listed(web, tmp_path):
    """A list of two archives and a label file."""
    rows = [f"{n:08d}.png,Mass,{n // 2}" for n in range(IMAGES)]
    web.files = {
        "/labels.csv": "\n".join([HEADER, *rows, ""]).encode(),
        "/one": tar(range(IMAGES // 2)),
        "/two": tar(range(IMAGES // 2, IMAGES), "w"),
    }
    at = f"http://127.0.0.1:{web.server_port}"
    archive = {
        "about": "Drawn.",
        "files": [{"name": "labels.csv", "address": f"{at}/labels.csv"}],
        "archives": [
            {
                "name": f"{name}.tar",
                "address": f"{at}/{name}",
                "sha256": hashlib.sha256(web.files[f"/{name}"]).hexdigest(),
            }
            for name in ("one", "two")
        ],
    }
    path = tmp_path / "list.yaml"
    path.write_text(yaml.safe_dump({"drawn": archive}))
    return path


@pytest.fixture
def fetch(listed, tmp_path, capsys):
    def fetch(*more, to=tmp_path / "to"):
        given = ["drawn", "--to", str(to), "--list", str(listed), *map(str, more)]
        code = main(given)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return fetch


def images(folder):
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def expected(numbers=range(IMAGES)):
    return {f"{n:08d}.png": encode(noise(64, seed=n)) for n in numbers}


def test_a_folder_gets_what_a_run_reads(fetch, web, tmp_path, own_bucket):
    code, said = fetch()
    assert code == 0, said
    assert "12 images came now" in said
    assert images(tmp_path / "to") == expected()
    assert not list(tmp_path.glob("**/.fetch"))
    assert not list(tmp_path.glob("**/outside*"))
    before = len(web.asked)
    code, said = fetch()
    assert (code, len(web.asked)) == (0, before)  # all is there
    assert "0 images came now" in said
    root = tmp_path / "to"
    place = {"images": f"{root}/images", "labels": f"{root}/labels.csv"}
    assert find(own_bucket, **place).listed == IMAGES


def test_a_bucket_gets_the_same(fetch, own_bucket):
    to = "s3://nih/fetched-here/"
    code, said = fetch("--credentials", own_bucket.credentials, to=to)
    assert code == 0, said
    assert images(own_bucket.folder / "fetched-here") == expected()
    place = {"images": f"{to}images/", "labels": f"{to}labels.csv"}
    assert find(own_bucket, **place).listed == IMAGES


def test_progress_tells_what_is_there_of_the_whole(web, tmp_path):
    web.files = {"/a": bytes(1000)}
    web.cuts, told = 2, []
    address = f"http://127.0.0.1:{web.server_port}/a"
    download.download(address, tmp_path / "a", progress=lambda *at: told.append(at))
    assert told == [(500, 1000), (750, 1000), (1000, 1000)]


def test_what_is_cut_short_goes_on_where_it_was(fetch, web, tmp_path):
    web.cuts, web.busy = 4, 1
    code, said = fetch()
    assert code == 0, said
    assert images(tmp_path / "to") == expected()
    starts = [int(asked[6:-1]) for _, asked in web.asked if asked]
    assert len(starts) == 4
    assert min(starts) > 0


def test_a_run_goes_on_with_what_an_earlier_one_left(fetch, web, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    assert fetch("--archives", 1)[0] == 0
    web.cuts, web.asked = 1, []
    code, said = fetch()
    assert code == 2
    assert "/two cannot be fetched in 1 tries: it was cut short. What has come" in said
    assert images(tmp_path / "to") == expected(range(IMAGES // 2))
    assert fetch()[0] == 0
    assert images(tmp_path / "to") == expected()
    half = len(web.files["/two"]) // 2
    assert web.asked == [("/two", ""), ("/two", f"bytes={half}-")]


def test_another_file_by_now_is_fetched_whole(
    fetch, web, listed, tmp_path, monkeypatch
):
    monkeypatch.setattr(download, "TRIES", 1)
    assert fetch("--archives", 1)[0] == 0
    web.cuts = 1
    assert fetch()[0] == 2
    web.files["/two"] = tar(range(IMAGES // 2, IMAGES), "w:gz")
    new = hashlib.sha256(web.files["/two"]).hexdigest()
    old = yaml.safe_load(listed.read_text())["drawn"]["archives"][1]["sha256"]
    listed.write_text(listed.read_text().replace(old, new))
    assert fetch()[0] == 0
    assert images(tmp_path / "to") == expected()


def test_unpacking_goes_on_after_an_interruption(fetch, tmp_path, monkeypatch):
    write, left = Place.write, [8]

    def interrupted(self, name, content):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return write(self, name, content)

    monkeypatch.setattr(Place, "write", interrupted)
    code, said = fetch()
    assert (code, "what has come is kept" in said) == (130, True)
    monkeypatch.undo()
    assert len(images(tmp_path / "to")) < IMAGES
    assert fetch()[0] == 0
    assert images(tmp_path / "to") == expected()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda web: web.files.pop("/one"), "/one answers 404 Not Found. Correct the"),
        (
            lambda web: web.files.update({"/one": b"other"}),
            "/one must have SHA-256 .* Got d9298a10d1b0735837dc4bd8",
        ),
    ],
)
def test_what_is_not_as_listed_is_refused(fetch, web, tmp_path, change, message):
    change(web)
    code, said = fetch()
    assert code == 2
    assert re.search(message, said), said
    assert not (tmp_path / "to" / "images").exists()


def test_what_is_no_tar_file_is_named(fetch, web, listed):
    listed.write_text(re.sub(r"\n *sha256: \w+", "", listed.read_text()))
    web.files["/one"] = b"<html>"
    code, said = fetch()
    assert code == 2
    assert "one.tar is no tar file that can be unpacked" in said


def test_the_list_that_comes_with_it(capsys, tmp_path):
    known = read_list(LIST)
    assert len({item.address for item in known["nih"].archives}) == 12
    assert main(["vindr", "--to", str(tmp_path / "to")]) == 2
    said = capsys.readouterr().err
    assert "signed its data use agreement: https://physionet.org" in said
    assert not (tmp_path / "to").exists()
    assert main(["other", "--to", str(tmp_path / "to")]) == 2
    said = capsys.readouterr().err
    assert "knows nih, chexpert, mimic-cxr, vindr. Got 'other'" in said
