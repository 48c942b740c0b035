"""The three files, from records on disk, through the command line."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.report import main
from tests.conftest import ROOT, assert_one_line, require
from tests.factories import make_elephas, make_gpu, make_record, make_scores, make_work
from xray.report.comparison import compare
from xray.report.costs import PRICES, load_prices
from xray.report.page.build import escape_markdown
from xray.report.page.figures import Overlay, charts, speedup_chart

HOSTILE = "<script>alert(1)</script> | **bold** $x_1$ =cmd() \x00"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def hundred_records():
    """Two works, every runner, repeats, and runs that failed."""
    for repeat in range(10):
        yield make_record(phases={"fit": 80 + repeat})
        yield make_gpu(8 + repeat / 10)
        for workers in (1, 2, 4, 8):
            yield make_elephas(workers, 90 / workers + repeat)
        yield make_elephas(4, 33 + repeat, mode="hogwild")
        yield make_record(status="failed", error=HOSTILE, scores=None)
        yield make_record(work=make_work(epochs=10))
        yield make_gpu(work=make_work(epochs=10))


def write(records, folder):
    for record in records:
        record.write(folder)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    results = write(hundred_records(), folder / "results" / "deep")
    (results / "odd.json").write_text("{}")
    assert main([str(results.parent), "--out", str(folder / "out")]) == 0
    return folder / "out"


def rows(report):
    with (report / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_hundred_records_give_all_files(report):
    names = {path.name for path in report.iterdir()}
    assert names == {"report.html", "report.md", "report.csv"}
    assert len(rows(report)) == 100
    assert (report / "report.html").read_text().count("<svg") == 12


def test_the_verdict_of_a_single_work_is_printed_before_the_paths(tmp_path, capsys):
    write([make_record(), make_elephas(2, 50)], tmp_path / "results")
    assert main([str(tmp_path / "results"), "--out", str(tmp_path / "out")]) == 0
    verdict, *paths = capsys.readouterr().out.splitlines()
    assert "Elephas 2×1" in verdict
    assert f"> {verdict}" in (tmp_path / "out" / "report.md").read_text().splitlines()
    assert [Path(line).name for line in paths] == [
        "report.html",
        "report.md",
        "report.csv",
    ]


def test_of_several_works_the_paths_alone_are_printed(tmp_path, capsys):
    write([make_record(), make_record(work_id="another")], tmp_path / "results")
    main([str(tmp_path / "results"), "--out", str(tmp_path / "out")])
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["report.html", "report.md", "report.csv"]


def test_page_asks_no_other_host(report):
    page = (report / "report.html").read_text()
    addresses = set(re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]+)', page))
    assert all(address.startswith(("#", "data:,")) for address in addresses)


def test_ids_are_unique_and_references_resolve(report):
    page = (report / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page)
    assert {one or other for one, other in used} <= set(ids)


def test_records_cannot_inject_markup(report):
    page = (report / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x00" not in page
    assert r"&lt;script&gt;alert(1)&lt;/script&gt; \| \*\*bold\*\*" in (
        report / "report.md"
    ).read_text(encoding="utf-8")


def test_hostile_names_are_drawn(tmp_path):
    machine = make_record().machine | {"cpu_model": HOSTILE, "gpu": "$\\frac{$"}
    scores = make_scores()
    scores["findings"][HOSTILE] = scores["findings"]["Hernia"]
    runs = [
        make_record(scores=scores),
        make_record(machine=machine),
        make_elephas(2, 50),
        make_elephas(2, 50, mode=HOSTILE),
        make_elephas(2, 50, runner=HOSTILE, run_id="hostile"),
    ]
    results = write(runs, tmp_path / "results")
    assert main([str(results), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "\x00" not in page


def test_an_odd_record_is_named_and_the_others_are_reported(tmp_path):
    good = [make_record(), make_elephas(2, 50)]
    results = write(good, tmp_path / "results")
    odd = {
        "optimizer": ("config", {"training": {"optimizer": ["adam"]}}),
        "cores": ("machine", {"cores": "four"}),
        "images_trained": ("images_trained", 10**400),
    }
    for name, (part, value) in odd.items():
        content = json.loads(make_elephas(2, 50).model_dump_json())
        if isinstance(value, dict):
            content[part] |= value
        else:
            content[part] = value
        (results / f"{name}.json").write_text(json.dumps(content))
    assert main([str(results), "--out", str(tmp_path / "out")]) == 0
    assert len(rows(tmp_path / "out")) == len(good)
    page = (tmp_path / "out" / "report.html").read_text()
    for name in odd:
        (line,) = (line for line in page.splitlines() if f"{name}.json" in line)
        assert f"{name}: must be a " in line


def test_csv_holds_failed_runs_and_leaves_the_undefined_empty(tmp_path):
    runs = [
        make_record(scores=make_scores(undefined=("Hernia",))),
        make_record(status="failed", error="=1+1", scores=None),
    ]
    results = write(runs, tmp_path / "results")
    main([str(results), "--out", str(tmp_path)])
    good, failed = rows(tmp_path)
    assert (good["auc_Hernia"], good["positives_Hernia"]) == ("", "0")
    assert float(good["speedup_total"]) == 1.0
    assert failed["error"] == "'=1+1"
    assert failed["speedup_total"] == failed["cost_usd"] == ""


def test_undefined_auc_is_a_dash_in_the_page(tmp_path):
    run = make_record(scores=make_scores(undefined=("Hernia",)))
    main([str(write([run], tmp_path / "r")), "--out", str(tmp_path)])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<th scope="row">Hernia</th><td>0</td><td>–</td>' in page


def test_same_records_give_the_same_page(report, tmp_path):
    main([str(report.parent / "results"), "--out", str(tmp_path)])
    again = (tmp_path / "report.html").read_text()
    assert again == (report / "report.html").read_text()


def test_runs_without_scores_or_epochs_are_shown(tmp_path):
    bare = make_record(scores=None, epochs=[], machine={}, config={}, work={})
    assert main([str(write([bare], tmp_path / "r")), "--out", str(tmp_path)]) == 0
    assert "no price" not in (tmp_path / "report.md").read_text()


def test_a_prediction_is_a_dashed_line():
    records = [make_record(), make_elephas(2, 50), make_elephas(4, 30)]
    (group,) = compare(records, [], load_prices(PRICES)).groups
    curve = Overlay("Predicted", "elephas", [1, 2, 4], np.array([1.0, 1.8, 3.0]))
    plain = speedup_chart(group, "fit", "a").svg
    drawn = speedup_chart(group, "fit", "a", [curve]).svg
    assert "Predicted" in drawn and "Predicted" not in plain
    assert drawn.count("stroke-dasharray") > plain.count("stroke-dasharray")
    assert len(charts(group)) == 6


def test_lines_of_one_runner_differ_in_label_and_colour():
    runs = [make_elephas(2, 40, engine="resident") for _ in range(3)]
    for run, every in zip(runs, (1, 10, "epoch"), strict=True):
        run.config["runner"] = {"sync_every": every}
        for epoch in run.epochs:
            epoch.auc_macro = 0.6 + epoch.epoch / 100
    (group,) = compare(runs, [], load_prices(PRICES)).groups
    chart = next(c for c in charts(group) if c.name.endswith("auc-time"))
    said = " ".join(re.sub(r"<[^>]*>", " ", chart.svg).split())
    for part in group.configurations:
        assert part.label in said
    lines = re.findall(r"fill: none; stroke: (#\w+); stroke-width: 1.5", chart.svg)
    assert len(set(lines)) == 3


def test_markdown_is_escaped():
    assert escape_markdown("a|b\n<i>_c_") == r"a\|b &lt;i&gt;\_c\_"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "No folder"),
        (lambda folder: folder.mkdir(), "Run a runner first"),
        (
            lambda folder: write([make_record(status="failed", error="e")], folder),
            "No successful run",
        ),
    ],
)
def test_nothing_to_compare_is_one_line(tmp_path, capsys, prepare, message):
    prepare(tmp_path / "results")
    assert main([str(tmp_path / "results"), "--out", str(tmp_path / "out")]) == 2
    assert_one_line(capsys.readouterr().err, message)
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    results = write([make_record()], tmp_path / "results")
    (tmp_path / "file").write_text("")
    assert main([str(results), "--out", str(tmp_path / "file" / "out")]) == 2
    assert_one_line(capsys.readouterr().err, "Give another folder")


def test_heavy_libraries_stay_unloaded(tmp_path):
    results = write([make_record(), make_elephas(2, 50)], tmp_path / "results")
    code = (
        "import json, sys; from experiments.report import main; "
        "assert main(sys.argv[1:]) == 0; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(results), "--out", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"tensorflow", "keras", "pyspark", "elephas", "boto3", "torch"}


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        require("browser", f"none of {', '.join(names)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=CHROMIUM_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.mark.slow
def test_page_in_a_browser(report, browser, tmp_path):
    address = (report / "report.html").as_uri()
    requests, messages = [], []
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(address)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    page.close()
    assert requests == [address]
    assert messages == []
    assert width <= 360
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_accessible_and_nothing_is_cut_off(report, browser, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        bypass_csp=True,  # the page allows no script, and axe is one
    )
    page.goto((report / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert Axe().run(page).generate_snapshot() == ""
    cut_off = page.evaluate(
        """() => [...document.querySelectorAll('.chart svg')].flatMap(svg => {
          const box = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('text')].filter(text => {
            const {left, right, top, bottom} = text.getBoundingClientRect();
            return left < box.left - 1 || right > box.right + 1
              || top < box.top - 1 || bottom > box.bottom + 1;
          }).map(text => text.textContent);
        })"""
    )
    page.close()
    assert cut_off == []
