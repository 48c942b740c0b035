"""Give a saved model to another program: as SavedModel, ONNX or TFLite.

    python experiments/export.py --model models/RUN_last.keras --format onnx

Writes RUN_last.onnx (.tflite; a folder RUN_last for savedmodel) beside the model, or
under --out, a folder or s3://bucket/prefix/, with the model's sidecar RUN_last.json,
which names the findings in the order of the outputs. It maps the pixels that the Keras
model takes, uint8 (N, size, size, 1), to the probabilities that it gives: both are
compared first, and what differs by more than 0.0001 is not written.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from xray.common.command import command, log_warnings
from xray.common.processes import exit_on_termination
from xray.config.options import model_parser
from xray.model.export import SUFFIXES
from xray.storage.place import Place, access_for


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line says; 0, 1 a fault, 2 bad input, 130 stopped."""
    log_warnings()
    options = _parser().parse_args(arguments)
    print(_export(options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = model_parser(__doc__)
    parser.add_argument("--format", required=True, choices=tuple(SUFFIXES))
    parser.add_argument(
        "--out", help="folder or s3://bucket/prefix/; default: beside the model"
    )
    parser.add_argument("--credentials", type=Path, help="YAML with keys for S3")
    parser.add_argument("--endpoint-url", help="of an S3 other than Amazon's")
    return parser


def _export(options: argparse.Namespace) -> str:
    """What is said when everything is written."""
    from xray.model.export import check_packages, export_model
    from xray.model.saved import SUFFIX, load_model

    check_packages(options.format)
    keys = options.credentials, options.endpoint_url
    model, info = load_model(options.model, access_for(options.model, *keys))
    beside, name = Place.of_file(options.model)
    root = options.out or beside.root
    out = Place(root, access_for(root, *keys))
    out.try_to_write()
    stem = name.removesuffix(SUFFIX)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, stem + SUFFIXES[options.format])
        difference = export_model(model, info.findings, options.format, path)
        size = _copy(path, out)
    if out.root != beside.root:
        out.write(f"{stem}.json", (info.model_dump_json(indent=1) + "\n").encode())
    return (
        f"{out.at(path.name)}: {size / 2**20:.1f} MiB; probabilities of drawn patterns "
        f"are within {difference:.1e} of the Keras model's"
    )


def _copy(path: Path, out: Place) -> int:
    """Write a file, or every file of a folder, to `out`; the bytes."""
    files = [path] if path.is_file() else filter(Path.is_file, path.rglob("*"))
    written = 0
    for file in files:
        content = file.read_bytes()
        out.write(file.relative_to(path.parent).as_posix(), content)
        written += len(content)
    return written


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
