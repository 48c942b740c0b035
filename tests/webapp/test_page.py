"""The page in a real browser, served by a process of its own."""

import contextlib
import csv
import io
import json
import shutil

import pytest
from PIL import Image

from experiments.benchmarks.webapp_screenshots import BROWSERS
from tests.conftest import require, save_untrained_model
from tests.pictures import encode, noise
from tests.report.page.test_build import CHROMIUM_ARGUMENTS
from xray.local.dicom import encode_dicom
from xray.webapp.child import serve_page

pytestmark = pytest.mark.slow
FINDING = "input[type=radio]"
MOST_OPEN = 4  # as app.js has it


@pytest.fixture(scope="module")
def address(served):
    return served.address


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        require("browser", f"none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=CHROMIUM_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address, request):
    """The page, at phone width unless a test asks for another; nothing may go wrong."""
    with opened(browser, address, **getattr(request, "param", {})) as page:
        yield page


@contextlib.contextmanager
def opened(browser, address, **options):
    page = browser.new_page(
        **{"viewport": {"width": 390, "height": 844}, "reduced_motion": "reduce"}
        | options
    )
    hosts, messages = set(), []
    page.on("request", lambda request: hosts.add(request.url[: len(address)]))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(address)
    yield page
    page.close()
    assert {host for host in hosts if host.startswith("http")} == {address}
    # A refused upload is logged by the browser itself.
    assert [m for m in messages if "Failed to load resource" not in m] == []


def upload(page, *files: tuple[str, bytes]) -> None:
    page.set_input_files(
        "#files",
        [
            {"name": name, "mimeType": "application/octet-stream", "buffer": content}
            for name, content in files
        ],
    )


def wait_for_cards(page, count: int) -> None:
    page.wait_for_function(
        "count => document.querySelectorAll('.card:not(.waiting) .finding').length"
        " === 15 * count",
        arg=count,
    )


def wait_for_rows(page, count: int) -> None:
    """Of pictures that are not open, and answered."""
    page.wait_for_function(
        "count => [...document.querySelectorAll('#earlier .said')]"
        ".filter((said) => said.textContent.includes('%')).length === count",
        arg=count,
    )


def pixels(page) -> list[int]:
    """What the first card's canvas shows, after the frame under way."""
    return page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() =>
          requestAnimationFrame(() => {
            const {width, height} = document.querySelector('.card canvas');
            const copy = new OffscreenCanvas(width, height).getContext('2d');
            copy.drawImage(document.querySelector('.card canvas'), 0, 0);
            done([...copy.getImageData(0, 0, width, height).data]);
          })
        ))"""
    )


def violations(page) -> str:
    from axe_playwright_python.sync_playwright import Axe

    # Without its stylesheet, links seem to be pale on white where dark is asked for.
    assert page.evaluate("document.readyState") == "complete"
    return Axe().run(page).generate_snapshot()


@pytest.mark.parametrize(
    "page",
    [{}, {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}}],
    indirect=True,
)
def test_pictures_side_by_side_with_heat_maps(page):
    chest = ("chest.png", encode(noise(64)))
    upload(page, chest, ("deep.dcm", encode_dicom(noise(48).astype("uint16") * 100)))
    wait_for_cards(page, 2)
    assert "2 pictures" in page.text_content("#results-title")
    labels = [c.get_attribute("aria-label") for c in page.query_selector_all("canvas")]
    assert all("heat map for" in label for label in labels)
    assert (
        page.evaluate("document.documentElement.scrollWidth")
        <= page.viewport_size["width"]
    )
    assert violations(page) == ""
    with page.expect_navigation():  # until everything is loaded
        page.get_by_role("link", name="Model card").click()
    assert violations(page) == ""
    with page.expect_navigation():  # until everything is loaded
        page.get_by_role("link", name="API").click()
    assert violations(page) == ""


def test_findings_are_read_against_their_own_threshold(page):
    upload(page, ("chest.png", encode(noise(64))))
    wait_for_cards(page, 1)
    rows = page.evaluate(
        """() => [...document.querySelectorAll('.finding')].map((row) => ({
          name: row.querySelector('input').value,
          fill: parseFloat(row.querySelector('.fill').style.width) / 100,
          above: row.classList.contains('above'),
          told: row.querySelector('.visually-hidden').textContent,
        }))"""
    )
    assert rows[-1]["name"] == "No Finding", "apart, and never flagged"
    assert not rows[-1]["above"]
    findings = rows[:-1]
    fills = [row["fill"] for row in findings]
    assert fills == sorted(fills, reverse=True)
    for row in findings:
        assert row["above"] == (row["fill"] >= 0.5) == ("at or above" in row["told"])
    above = [row["name"].replace("_", " ") for row in findings if row["above"]]
    said = page.text_content(".flagged")
    expected = f"At or above the threshold: {', '.join(above)}"
    assert said == (expected if above else "No finding reaches its threshold.")
    assert said in page.text_content("#status")


def test_sliders_change_what_is_seen(page):
    slope = [[4 * x for x in range(64)] for _ in range(64)]
    image = Image.new("L", (64, 64))
    image.putdata([value for row in slope for value in row])
    upload(page, ("slope.png", encode(image)))
    wait_for_cards(page, 1)
    page.locator(".opacity").fill("0")
    plain = pixels(page)
    assert plain[:: 4 * 16][:4] == pytest.approx([0, 64, 128, 192], abs=3)
    page.locator(".window").fill("64")
    page.locator(".level").fill("128")
    windowed = pixels(page)
    assert windowed[:: 4 * 16][:4] == pytest.approx([0, 0, 128, 255], abs=6)
    page.get_by_role("button", name="Reset view").click()
    assert page.locator(".window").input_value() == "255"


def test_inverted_is_white_for_black(page):
    upload(page, ("dark.png", encode(Image.new("L", (64, 64), 40))))
    wait_for_cards(page, 1)
    page.locator(".opacity").fill("0")
    page.get_by_label("Invert").check()
    assert pixels(page)[:3] == pytest.approx([215] * 3, abs=2)
    page.get_by_role("button", name="Reset view").click()
    page.locator(".opacity").fill("0")
    assert pixels(page)[:3] == pytest.approx([40] * 3, abs=2)


def test_a_picture_is_looked_at_closely_by_keys_and_wheel(page):
    upload(page, ("chest.png", encode(noise(64))))
    wait_for_cards(page, 1)

    def shown():
        return tuple(
            page.evaluate(
                """() => {
                  const canvas = document.querySelector('.card canvas');
                  const {a, e} = new DOMMatrix(getComputedStyle(canvas).transform);
                  return [a, e];
                }"""
            )
        )  # times, and pixels to the right

    assert shown() == (1, 0)
    page.locator(".stage").focus()
    for key in ("+", "+", "ArrowLeft"):
        page.keyboard.press(key)
    times, right = shown()
    assert times == pytest.approx(1.25**2)
    wide = page.evaluate("document.querySelector('.card canvas').offsetWidth")
    assert right == pytest.approx(0.1 * wide, abs=1)
    page.locator(".stage").hover()
    page.mouse.wheel(0, 100)
    page.wait_for_function(
        "() => new DOMMatrix(getComputedStyle(document.querySelector('.card canvas'))"
        ".transform).a < 1.5"
    )
    page.get_by_role("button", name="Reset view").click()
    assert shown() == (1, 0)


def test_another_finding_sends_nothing(page):
    upload(page, ("chest.png", encode(noise(64))))
    wait_for_cards(page, 1)
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    seen = set()
    for finding in page.locator(FINDING).all():
        finding.check()
        seen.add(page.get_attribute(".card canvas", "aria-label"))
    assert len(seen) == 15
    assert not sent


@pytest.fixture(scope="module")
def two_models(saved_model, tmp_path_factory):
    """A page with a second model, of other findings."""
    data = {"label_schema": "chexpert", "images": "images/", "image_size": 48}
    other = tmp_path_factory.mktemp("model") / "other"
    save_untrained_model(other, {**data, "labels": "labels.csv"})
    model = other.with_suffix(".keras")
    with serve_page("--model", saved_model, "--model", model) as page:
        yield page.address


def test_another_model_sends_nothing_and_stands_beside_the_first(browser, two_models):
    chest = encode(noise(64))
    with opened(browser, two_models) as page:
        upload(page, ("chest.png", chest))
        wait_for_cards(page, 1)
        sent = []
        page.on("request", lambda request: sent.append(request.url))
        page.locator(FINDING).first.check()  # which the other may not know
        page.locator("#model").select_option(index=1)
        assert page.locator(".finding").count() == 14
        assert "read by Tiny 48 px" in page.text_content(".facts")
        page.get_by_text("All models side by side").click()
        assert violations(page) == ""
        rows = page.evaluate(
            """() => [...document.querySelectorAll('.compare tr')].map(
              (row) => [...row.cells].map((cell) => cell.textContent))"""
        )
        assert not sent
        url = f"{two_models}api/v1/predictions"
        answers = page.request.post(url, data=chest).json()["predictions"]
    assert [len(answer["findings"]) for answer in answers] == [15, 14]
    heads, *rows = rows
    assert [head.partition(" px")[0] for head in heads[1:]] == ["Tiny 32", "Tiny 48"]
    shown = {name: cells for name, *cells in rows}
    assert list(shown)[-1] == "No Finding"
    known = [
        {one["name"].replace("_", " "): one for one in a["findings"]} for a in answers
    ]
    assert shown.keys() == known[0].keys() | known[1].keys()
    for name, cells in shown.items():
        for cell, findings in zip(cells, known, strict=True):
            if name not in findings:
                assert cell == "–"
                continue
            one = findings[name]
            assert float(cell.partition("%")[0]) == pytest.approx(
                100 * one["probability"], abs=0.5
            )
            above = one["probability"] >= one["threshold"]["value"]
            assert ("at or above its threshold" in cell) == above


def test_many_pictures_wait_their_turn_in_the_page(page):
    """Of a server that is busy at times, all are answered, four at a time."""
    under_way, most, refused = set(), [], []

    def answer(route):
        under_way.add(route.request)
        most.append(len(under_way))
        if len(most) % 3 == 0:
            refused.append(route)
            headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
            return route.fulfill(status=503, headers=headers, body="{}")
        return route.continue_()

    page.route("**/predict*", answer)
    page.on("requestfinished", lambda request: under_way.discard(request))
    upload(page, *((f"{n}.png", encode(noise(64))) for n in range(12)))
    wait_for_cards(page, MOST_OPEN)
    wait_for_rows(page, 12 - MOST_OPEN)
    assert max(most) == 4
    assert refused
    assert page.locator("#errors p").count() == 0


def test_earlier_pictures_are_rows_that_can_be_sorted_and_opened(page):
    upload(page, *((f"{n}.png", encode(noise(64, seed=n))) for n in range(7)))
    wait_for_cards(page, MOST_OPEN)
    wait_for_rows(page, 3)
    assert page.text_content("#results-title") == "7 pictures"

    def rows():
        return page.locator("#earlier tbody .name").all_text_contents()

    def titles():
        return page.locator(".card h3").all_text_contents()

    assert (titles(), sorted(rows())) == (
        ["3.png", "4.png", "5.png", "6.png"],
        ["0.png", "1.png", "2.png"],
    )
    page.get_by_role("button", name="Name", exact=True).click()
    assert rows() == ["2.png", "1.png", "0.png"]
    page.get_by_role("button", name="Name", exact=True).click()
    assert rows() == ["0.png", "1.png", "2.png"]
    assert violations(page) == ""
    page.get_by_role("button", name="Open 1.png").click()
    assert (titles(), sorted(rows())) == (
        ["4.png", "5.png", "6.png", "1.png"],
        ["0.png", "2.png", "3.png"],
    )
    assert page.evaluate("document.activeElement.textContent") == "1.png"
    page.get_by_role("button", name="Remove all").click()
    assert page.locator("#results").is_hidden()


def test_what_is_shown_can_be_saved(page, address):
    chest, name = encode(noise(64)), '=1+1,"quoted".png'
    upload(page, (name, chest))
    wait_for_cards(page, 1)
    answer = page.request.post(f"{address}api/v1/predict", data=chest).json()

    def saved(button):
        with page.expect_download() as download:
            page.get_by_role("button", name=button, exact=True).click()
        return download.value.path().read_text()

    rows = list(csv.DictReader(io.StringIO(saved("CSV"), newline="")))
    assert {row["picture"] for row in rows} == {f"'{name}"}, "no formula"
    assert [
        (row["finding"], float(row["probability"]), float(row["threshold"]))
        for row in rows
    ] == [
        (one["name"], one["probability"], one["threshold"]["value"])
        for one in answer["findings"]
    ]
    (shown,) = json.loads(saved("JSON"))
    assert shown["picture"] == name
    assert shown["findings"] == answer["findings"]


def test_what_the_server_did_not_answer_can_be_tried_again(page):
    page.route("**/predict*", lambda route: route.abort(), times=1)
    upload(page, ("chest.png", encode(noise(64))))
    page.get_by_role("button", name="Retry").click()
    wait_for_cards(page, 1)
    assert page.text_content(".card h3") == "chest.png"
    assert page.locator("#errors p").count() == 0


def test_a_file_that_calls_itself_no_chest_x_ray_is_told(page):
    head = encode_dicom(noise(48).astype("uint16"), Modality="CT")
    upload(page, ("head.dcm", head), ("chest.png", encode(noise(64))))
    wait_for_cards(page, 2)
    said = page.locator(".doubt:visible").all_text_contents()
    told = "The file calls its modality CT, not CR or DX or DR."
    assert said == [f"Is this a chest X-ray? {told}"]
    assert violations(page) == ""


def test_a_picture_of_something_else_is_told(page):
    def unlike(route):
        answer = route.fetch()
        (said,) = answer.json()["predictions"]
        changed = {"predictions": [said | {"unlike": 1.2}]}
        route.fulfill(response=answer, json=changed)

    page.route("**/predict*", unlike, times=1)
    upload(page, ("flower.png", encode(noise(48))))
    wait_for_cards(page, 1)
    upload(page, ("chest.png", encode(noise(64))))
    wait_for_cards(page, 2)
    said = page.locator(".doubt:visible").all_text_contents()
    told = "It looks unlike those that the model was trained on."
    assert said == [f"Is this a chest X-ray? {told}"]
    assert violations(page) == ""


def test_keyboard_alone(page):
    upload(page, ("chest.png", encode(noise(64))))
    wait_for_cards(page, 1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(60):
        if page.evaluate("document.activeElement.type") == "radio":
            break
        page.keyboard.press("Tab")
    before = page.locator(f"{FINDING}:checked").input_value()
    page.keyboard.press("ArrowDown")
    chosen = page.locator(f"{FINDING}:checked").input_value()
    assert chosen != before
    spoken = chosen.replace("_", " ")
    page.wait_for_function(
        "name => document.querySelector('#status').textContent.includes(name)",
        arg=f"Heat map for chest.png: {spoken}",
    )
    assert page.evaluate("document.activeElement.value") == chosen
    assert spoken in page.get_attribute(".card canvas", "aria-label")


def test_samples_and_removal(page):
    page.get_by_role("button", name="Cardiomegaly").click()
    wait_for_cards(page, 1)
    page.get_by_role("button", name="Remove drawn-cardiomegaly.png").click()
    assert page.locator("#results").is_hidden()
    assert page.evaluate("document.activeElement.id") == "files"


def test_errors_are_told_and_dismissed(page):
    chest = ("chest.png", encode(noise(64)))
    upload(page, ("text.png", b"text"), chest, ("huge.png", bytes(21 * 2**20)))
    wait_for_cards(page, 1)
    page.wait_for_function("() => document.querySelectorAll('#errors p').length === 2")
    shown = page.inner_text("#errors")
    assert "text.png The file is no PNG, JPEG or DICOM picture" in shown
    assert "huge.png It has 21.0 MiB" in shown
    assert violations(page) == ""
    page.get_by_role("button", name="Dismiss").first.click()
    assert page.locator("#errors p").count() == 1


def test_files_can_be_dropped(page):
    page.evaluate(
        """async () => {
          const blob = await (await fetch('samples/0')).blob();
          const data = new DataTransfer();
          data.items.add(new File([blob], 'dropped.png'));
          document.querySelector('main').dispatchEvent(
            new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data})
          );
        }"""
    )
    wait_for_cards(page, 1)
    assert page.text_content(".card h3") == "dropped.png"
