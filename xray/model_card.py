"""The model card: what a saved model is and is not, in Markdown, for people.

Its sections follow Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import json
from typing import TYPE_CHECKING, Any

from xray.report.wording import interval, number, plural

if TYPE_CHECKING:
    from xray.saved_model import ModelInfo

FRONT_MATTER = """---
library_name: keras
pipeline_tag: image-classification
tags: [chest-x-ray, multi-label, research]
---"""
# At an AUC of 0.75, so many positives give a 95% interval of about +-0.12 (Hanley and
# McNeil, Radiology 143, 1982).
FEW_POSITIVES = 20
SCRIPTS = {
    "sequential": "sequential.py",
    "gpu": "gpu.py",
    "elephas": "elephas_spark.py",
}
WHICH = {
    "best": "the weights after the epoch with the best validation AUC",
    "last": "the weights after the last epoch",
}


def model_card(info: "ModelInfo", name: str) -> str:
    """The card of the saved model `name`, as Markdown.

    Args:
        info: its sidecar; the card says nothing else.
        name: of its three files, without a suffix.
    """
    parts = (
        FRONT_MATTER,
        _what_it_is(info, name),
        _intended_use(),
        _limits(info),
        _training_data(info),
        _training(info),
        _evaluation(info),
        _how_to_load(info, name),
        _how_to_reproduce(info, name),
    )
    return "\n\n".join(parts) + "\n"


def _what_it_is(info: "ModelInfo", name: str) -> str:
    model, size = info.config.get("model", {}), info.image_size
    return f"""# {name}

A neural network that gives {len(info.findings)} probabilities to a chest X-ray, one a
finding. Research software, **not a medical device**.

- **Network**: {model.get("backbone", "unknown")} of `keras.applications`, initial
  weights {_shown(model.get("weights"))}, and a dense head; scaling, and augmentation
  while it trains, are layers inside.
- **Input**: `uint8 (N, {size}, {size}, 1)`, grey, 0 black to 255 white.
- **Output**: `float32 (N, {len(info.findings)})`, independent probabilities in this
  order: {", ".join(info.findings)}.
- **Weights**: {WHICH[info.which]} ({_shown(info.epoch)}).
- **Id**: `{info.model_id}`, the first 16 digits of the SHA-256 of `{name}.keras`.
- **Made**: {info.created:%Y-%m-%d %H:%M} UTC, runner {info.runner}, run
  `{_shown(info.run_id)}`, work `{_shown(info.work_id)}`."""


def _intended_use() -> str:
    return """## Intended use

Research on training methods: how fast, at what cost and with what AUC one network is
trained by one thread, one GPU or a Spark cluster. It must not be used to diagnose, to
triage or to decide on the care of a person, nor to label data for such a use."""


def _limits(info: "ModelInfo") -> str:
    lines = [
        "- It is not a medical device: no regulator has seen it, no clinician has "
        "tested it, and its output is not a diagnosis.",
        "- It learned from labels that a program mined from radiology reports, and is "
        "measured against such labels: their errors are in it and in its AUC.",
        "- X-rays of other hospitals, machines, views, ages or file formats differ "
        "from those it was trained on, and its scores are worth less there: such "
        "networks also learn the hospital (Zech et al., PLOS Medicine 15, 2018).",
        "- It was not examined for differences between groups of patients.",
    ]
    if info.calibration is None:
        lines.append(
            "- Its probabilities are not calibrated: they rank X-rays, and 0.5 is no "
            "natural threshold."
        )
    if few := _few_positives(info):
        lines.append(
            f"- Fewer than {FEW_POSITIVES} test images have {', '.join(few)}: what is "
            "said of these findings is little more than chance."
        )
    return "## Limits\n\n" + "\n".join(lines)


def _few_positives(info: "ModelInfo") -> list[str]:
    findings = info.scores.findings if info.scores else {}
    return [name for name, f in findings.items() if f.positives < FEW_POSITIVES]


def _training_data(info: "ModelInfo") -> str:
    data = info.config.get("data", {})
    return f"""## Training data

Images from `{_shown(data.get("images"))}` with labels from
`{_shown(data.get("labels"))}`, a label file as NIH ChestX-ray14 has it (Wang et al.,
ChestX-ray8, CVPR 2017): {plural(info.images.train, "image")} to train and
{plural(info.images.test, "image")} to test. The split is by patient: no patient is in
both. In ChestX-ray14 the labels were mined from reports, and are right in over 90% of
cases by their authors' estimate. Whether the images are NIH's own, only who filled the
bucket knows."""


def _training(info: "ModelInfo") -> str:
    rows = ["| setting | value |", "|---|---|"]
    for section in ("data", "model", "training", "runner"):
        for key, value in info.config.get(section, {}).items():
            rows.append(f"| `{section}.{key}` | {_cell(value)} |")
    return "## Training\n\n" + "\n".join(rows)


def _evaluation(info: "ModelInfo") -> str:
    scores = info.scores
    if scores is None:
        return "## Evaluation\n\nThis model was not scored on the test set."
    rows = [
        "| finding | positives | negatives | AUC (95%) | average precision |",
        "|---|---|---|---|---|",
    ]
    for name, finding in scores.findings.items():
        rows.append(
            f"| {name} | {finding.positives} | {finding.negatives} | "
            f"{interval(finding.auc)} | {number(finding.average_precision, 3)} |"
        )
    rows.append(
        f"| **mean of {scores.findings_scored}** | | | {interval(scores.macro_auc)} | "
        f"{number(scores.macro_average_precision, 3)} |"
    )
    return f"""## Evaluation

On the test set of {plural(info.images.test, "image")}, of patients it never saw. The
intervals are of {scores.resamples} bootstrap resamples by patient; a dash means that
the test set has one value only.

{chr(10).join(rows)}"""


def _how_to_load(info: "ModelInfo", name: str) -> str:
    size = info.image_size
    return f"""## How to load it

    from xray.saved_model import load_model

    model, info = load_model("{name}.keras")  # {name}.json beside it
    probabilities = model.predict(pixels)  # uint8 (N, {size}, {size}, 1)

Without this project: `keras.saving.load_model("{name}.keras", compile=False)`."""


def _how_to_reproduce(info: "ModelInfo", name: str) -> str:
    script = SCRIPTS.get(info.runner, "sequential.py")
    dirty = ", with uncommitted changes" if info.git.get("dirty") else ""
    packages = ", ".join(f"{key} {value}" for key, value in info.packages.items())
    return f"""## How to make it again

Commit `{_shown(info.git.get("commit"))}`{dirty}; {packages or "versions unknown"}.
The configuration is in `{name}.json`, without the way to your data and cluster:

    python -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["config"]))' \\
        < {name}.json > again.yaml
    python experiments/{script} --config again.yaml \\
        --set data.credentials=credentials.yaml

Equal commit, versions, images and settings give the same `work_id`; runs on several
cores agree to float tolerance only."""


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _cell(value: Any) -> str:
    """A setting in a table: a bar would end its cell."""
    return f"`{json.dumps(value)}`".replace("|", "\\|")
