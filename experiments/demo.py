"""The whole experiment on demo data and an embedded S3 server: records and report.

Runs every runner as a user would, each in a process of its own, and writes the report.
"""

import argparse
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

from xray.common.command import command
from xray.common.processes import exit_on_termination
from xray.config.options import add_set_option
from xray.config.runners import RUNNERS
from xray.local.s3 import serve
from xray.local.synthetic import generate
from xray.records.wording import plural

ROOT = Path(__file__).resolve().parent
CONFIG = ROOT / "configs" / "demo.yaml"
NO_DEVICE = 3
WORKERS = (1, 2)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, serve, train and report; 0 when every runner but the GPU's worked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1200, help="images to generate")
    parser.add_argument("--size", type=int, default=1024, help="their pixels a side")
    parser.add_argument(
        "--folder", type=Path, default=Path(".demo"), help="of the demo data"
    )
    parser.add_argument("--results", type=Path, default=Path("results/demo"))
    parser.add_argument(
        "--open", action="store_true", help="show the report in a browser at the end"
    )
    add_set_option(parser, what=" of demo.yaml")
    return run_demo(parser.parse_args(arguments))


def run_demo(options: argparse.Namespace) -> int:
    """See `main`."""
    started = time.monotonic()
    bucket = options.folder / "s3" / "nih-demo"
    generate(bucket, images=options.images, size=options.size)
    failed = []
    with serve(options.folder / "s3") as server:
        credentials = options.folder / "credentials.yaml"
        server.write_credentials(credentials)
        settings = [f"data.credentials={credentials}", *options.set]
        for name, script, extra in runs():
            print(f"== {name}", flush=True)
            code = run_script(script, options.results, [*settings, *extra])
            if code == NO_DEVICE:
                print(f"== {name}: skipped, for the reason above", flush=True)
            elif code:
                failed.append(name)
    report = write_report(options.results)
    page = (options.results / "report" / "report.html").resolve()
    seconds = time.monotonic() - started
    print(f"== done in {seconds:.0f} s; the report is {page.as_uri()}", flush=True)
    if options.open and not report:
        webbrowser.open(page.as_uri())
    if failed:
        print(f"== failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed or report else 0


def write_report(results: Path) -> int:
    """The exit code of the report, which prints the verdict."""
    script, out = ROOT / "report.py", results / "report"
    command = [sys.executable, script, results, "--out", out]
    return subprocess.run(command, check=False).returncode


def runs() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What to print, the script and its settings for each run of the demo."""
    for runner in RUNNERS.values():
        if not runner.has_workers:
            yield runner.name, runner.script, ()
            continue
        for count in WORKERS:
            name = f"{runner.label}, {plural(count, 'worker')}"
            yield name, runner.script, (f"runner.workers={count}",)


def run_script(script: str, results: Path, settings: Sequence[str]) -> int:
    """The exit code of one runner on the demo's configuration."""
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, ROOT / script, "--config", CONFIG, *overrides]
    return subprocess.run([*command, "--results", results], check=False).returncode


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
