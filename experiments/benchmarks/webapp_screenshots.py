"""Pictures of the page for the README: in light, in dark, and on a phone.

    python experiments/benchmarks/webapp_screenshots.py --model models/RUN_last.keras

Needs a Chromium or Chrome of this machine.
"""

import argparse
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from xray.common.command import command
from xray.common.errors import UserError
from xray.webapp.child import serve_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGUMENTS = ("--no-sandbox", "--disable-gpu")
SAMPLES = ("Cardiomegaly", "Mass")
VIEWS = {
    "light": {"viewport": {"width": 1000, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1000, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Write webapp-light.png, webapp-dark.png and webapp-phone.png."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help=".keras file")
    parser.add_argument("--out", type=Path, default=Path("results/inference"))
    options = parser.parse_args(arguments)
    with serve_page("--model", options.model) as page:
        for path in take(page.address, options.out):
            print(path)
    return 0


def take(address: str, folder: Path) -> list[Path]:
    """The screenshots of the page at `address`, written into `folder`.

    Raises:
        UserError: no browser.
    """
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise UserError(f"No browser: none of {', '.join(BROWSERS)} is installed.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=BROWSER_ARGUMENTS
        )
        for name, view in VIEWS.items():
            page = browser.new_page(**view, reduced_motion="reduce")
            page.goto(address)
            for title in SAMPLES:
                page.get_by_role("button", name=title).first.click()
            page.wait_for_function(
                "() => document.querySelectorAll('.finding').length >= 30"
            )
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)  # the canvases are painted in the next frame
            paths.append(folder / f"webapp-{name}.png")
            write_small(page.screenshot(full_page=True), paths[-1])
            page.close()
        browser.close()
    return paths


def write_small(png: bytes, path: Path) -> None:
    """A screenshot in 256 colours, half its size."""
    with Image.open(io.BytesIO(png)) as image:
        rgb = image.convert("RGB")
        # Dithered by a second step: the first has no gradients left.
        rgb.quantize(256, palette=rgb.quantize(256)).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
