"""Every backbone through every runner, on the smallest of everything: what works.

    python experiments/benchmarks/backbones.py                  # more than an hour
    python experiments/benchmarks/backbones.py --backbones ResNet50 --runners stock

Each cell of the table is a run of a runner's own script in a process of its own, on a
few drawn X-rays behind the embedded S3 server: one epoch at the smallest image and the
narrowest width that the backbone takes, Elephas with two workers, scores and a saved
model at the end. Where there is no GPU, a CPU stands in for it
(peers/gpu_stand_in.py), which says nothing about a GPU's arithmetic or memory.

The table is `backbones.json` in --out, written after every cell. What succeeded there
with the same settings is not run again, so that an interrupted call goes on where it
stopped.

Exit codes: 0 every cell asked for succeeded, 1 some did not, 2 bad input.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import CONFIG, PEERS, Bench, start_bench
from xray.common.command import command
from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.common.processes import exit_on_termination
from xray.config.backbones import BACKBONES
from xray.config.runners import ELEPHAS, GPU, SEQUENTIAL
from xray.records.machine import describe_machine, package_versions
from xray.records.record import RunRecord

ON_GPU = GPU.script if shutil.which("nvidia-smi") else str(PEERS / "gpu_stand_in.py")
COLUMNS = {
    "sequential": (SEQUENTIAL.script, ()),
    "gpu": (ON_GPU, ()),
    "gpu-jax": (ON_GPU, ("runner.backend=jax",)),
    "resident": (ELEPHAS.script, ("runner.workers=2",)),
    "stock": (ELEPHAS.script, ("runner.workers=2", "runner.engine=stock")),
}
SETTINGS = (
    "training.epochs=1",
    "training.batch_size=4",
    "model.batch_norm_momentum=0.9",
)
IMAGES, DRAWN_SIZE = 40, 96
DONE = "✓"


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and print the table; the exit code of the module's text."""
    options = _parser().parse_args(arguments)
    table = Table(options.out / "backbones.json")
    run_missing(table, options.backbones, options.runners)
    print(*table.lines(), sep="\n")
    wanted = [(b, r) for b in options.backbones for r in options.runners]
    return 0 if all(table.done(*cell) for cell in wanted) else 1


def run_missing(
    table: "Table", backbones: Sequence[str], runners: Sequence[str]
) -> None:
    """Fill the cells that have not succeeded yet."""
    cells = [(b, r) for b in backbones for r in runners if not table.done(b, r)]
    if not cells:
        return
    with start_bench(IMAGES, DRAWN_SIZE) as bench:
        for number, (backbone, runner) in enumerate(cells):
            print(f"== {number + 1}/{len(cells)}: {backbone}, {runner}", flush=True)
            table.add(backbone, runner, run_cell(bench, backbone, runner))


def run_cell(bench: Bench, backbone: str, runner: str) -> dict[str, Any]:
    """What came of one run: status, and figures or the reason of its failure."""
    script, settings = COLUMNS[runner]
    models = bench.folder / "models" / f"{backbone}-{runner}"
    try:
        record = bench.run(
            script,
            *(*SETTINGS, *settings, *smallest(backbone)),
            f"output.models={models}",
        )
    except UserError as error:
        return {"status": "failed", "reason": str(error)}
    finally:
        shutil.rmtree(models, ignore_errors=True)
    return {"status": record.status, **_figures(record)}


def smallest(backbone: str) -> list[str]:
    """Settings of the smallest network that the backbone allows."""
    taken = BACKBONES[backbone]
    alpha = min(taken.alphas, default=1.0)
    settings = {
        "model.backbone": backbone,
        "model.alpha": alpha,
        "data.image_size": taken.smallest,
    }
    return [f"{key}={value}" for key, value in settings.items()]


def _figures(record: RunRecord) -> dict[str, Any]:
    return {
        "seconds": round(record.phases.total, 1),
        "loss": record.epochs[-1].loss,
        "macro_auc": record.scores.macro_auc.value,
        "initial_weights": record.initial_weights,
        "model_id": record.models["last"].model_id,
        "gpu": record.machine["gpu"],
        "commit": record.git["commit"],
    }


class Table:
    """The cells so far, kept in a file.

    Args:
        path: of the file; what it holds already counts if it is of these settings.

    Raises:
        UserError: it is of other settings.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = {"config": CONFIG, "set": [*SETTINGS], "images": IMAGES}
        self.cells: dict[str, dict[str, Any]] = {}
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["settings"] != self.settings:
                raise UserError(f"{path} is of other settings. Give another --out.")
            self.cells = kept["cells"]

    def done(self, backbone: str, runner: str) -> bool:
        """Whether that cell succeeded."""
        return self._cell(backbone, runner).get("status") == "success"

    def add(self, backbone: str, runner: str, cell: dict[str, Any]) -> None:
        """Note a cell, in the file as well."""
        self.cells.setdefault(backbone, {})[runner] = cell
        print(f"   {json.dumps(cell)}", flush=True)
        content = {
            "settings": self.settings,
            "cells": self.cells,
            "machine": describe_machine(),
            "packages": package_versions(),
        }
        text = json.dumps(content, indent=1) + "\n"
        write_whole(self.path, lambda file: file.write(text.encode()))

    def lines(self) -> list[str]:
        """The table in Markdown: a tick and seconds, the reason, or a dash."""
        rows = [["backbone", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
        for backbone in BACKBONES:
            rows.append([backbone, *(self._shown(backbone, r) for r in COLUMNS)])
        return [f"| {' | '.join(row)} |" for row in rows]

    def _cell(self, backbone: str, runner: str) -> dict[str, Any]:
        return self.cells.get(backbone, {}).get(runner, {})

    def _shown(self, backbone: str, runner: str) -> str:
        cell = self._cell(backbone, runner)
        if self.done(backbone, runner):
            return f"{DONE} {cell['seconds']:.0f} s"
        return cell.get("reason", "–")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {"backbones": list(BACKBONES), "runners": list(COLUMNS)}
    for name, known in names.items():
        parser.add_argument(f"--{name}", nargs="+", choices=known, default=known)
    parser.add_argument("--out", type=Path, default=Path("results/backbones"))
    return parser


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
