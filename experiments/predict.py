"""Score every X-ray of a bucket or a folder with a saved model.

    python experiments/predict.py --model models/RUN_last.keras \\
        --images s3://BUCKET/PREFIX/ --credentials credentials.yaml --out predictions/

Reads PNG, JPEG and DICOM, told by their content, and writes to --out, a folder or
s3://bucket/prefix/: predictions.parquet and predictions.csv with a row an image (key,
15 probabilities, unlike, model_id, status), summary.json and, where labels are known,
auc.csv. `unlike` is above 1 where a picture looks unlike those that the model was
trained on, as 0.5% of its test pictures do. A picture that cannot be read is a row
without probabilities whose status says why. Run it again after an interruption, or
when images have changed: it scores what is missing.

Without --images it scores the images of the model's own run, as the model's sidecar
tells; with --subset test those that the run was scored on. Decoded images: --set
data.staged=s3://BUCKET/PREFIX/. On a Spark cluster, a task for each thousand images:

    spark-submit --num-executors 4 experiments/predict.py --model ...

and on this machine with --set runner.workers=2.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from xray.common.command import command, log_warnings
from xray.common.processes import exit_on_termination
from xray.config.options import add_config_options, model_parser
from xray.inference.settings import EVERYTHING, SUBSETS


@command(again="run it again to go on")
def main(arguments: Sequence[str] | None = None) -> int:
    """Score as the command line says; 0, 1 a fault, 2 bad input, 130 stopped."""
    log_warnings()
    options = _parser().parse_args(arguments)

    from xray.inference.predict import predict_archive  # seconds, spared to --help

    print(predict_archive(options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = model_parser(__doc__)
    parser.add_argument("--out", required=True, help="folder or s3://bucket/prefix/")
    parser.add_argument("--images", help="s3://bucket/prefix/ or folder (data.images)")
    parser.add_argument("--labels", help="s3://bucket/key.csv or a path (data.labels)")
    parser.add_argument(
        "--credentials", type=Path, help="YAML with keys for S3 (data.credentials)"
    )
    parser.add_argument(
        "--subset",
        choices=SUBSETS,
        default=EVERYTHING,
        help="all images under the prefix, or one set as a run splits them",
    )
    parser.add_argument(
        "--calibrated",
        action="store_true",
        help="divide the logits by the model's temperature, so that probabilities can "
        "be taken more at their word; their order, and every AUC, stays",
    )
    add_config_options(parser, required=False)
    return parser


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
