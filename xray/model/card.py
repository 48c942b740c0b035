"""The model card: what a saved model is and is not, in Markdown, for people.

Its sections follow Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from xray.config.backbones import BACKBONES
from xray.config.runners import SEQUENTIAL, runner_of
from xray.model.label_source import doubt, form, labelled_by
from xray.model.sidecar import ModelInfo
from xray.records.scores import LEAST, OperatingPoint
from xray.records.wording import DASH, interval, number

FRONT_MATTER = """---
library_name: keras
pipeline_tag: image-classification
tags: [chest-x-ray, multi-label, research]
---"""
# At an AUC of 0.75, so many positives give a 95% interval of about +-0.12 (Hanley and
# McNeil, Radiology 143, 1982).
FEW_POSITIVES = 20
WHICH = {
    "best": "the weights after the epoch with the best validation AUC",
    "last": "the weights after the last epoch",
}


def model_card(info: ModelInfo, name: str) -> str:
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
        *_subgroups(info),
        *_calibration(info),
        _how_to_load(info, name),
        _how_to_reproduce(info, name),
    )
    return "\n\n".join(parts) + "\n"


def _what_it_is(info: ModelInfo, name: str) -> str:
    model, size = info.config.get("model", {}), info.image_size
    facts = {
        "Network": f"{_network(model.get('backbone', 'unknown'))}, "
        f"initial weights {_shown(model.get('weights'))}, and a dense head; scaling, "
        "and augmentation while it trains, are layers inside",
        "Input": f"`uint8 (N, {size}, {size}, 1)`, grey, 0 black to 255 white",
        "Output": f"`float32 (N, {len(info.findings)})`, independent probabilities in "
        f"this order: {', '.join(info.findings)}",
        "Weights": f"{WHICH[info.which]}, epoch {_shown(info.epoch)}",
        "Id": f"`{info.model_id}`, the first 16 digits of the SHA-256 of the .keras "
        "file",
        "Made": f"{info.created:%Y-%m-%d %H:%M} UTC by runner {info.runner}, run "
        f"`{_shown(info.run_id)}`, work `{_shown(info.work_id)}`",
    }
    lines = [f"**{title}**: {text}." for title, text in facts.items()]
    return f"""# {name}

A neural network that gives a chest X-ray {len(info.findings)} probabilities, one a
finding. Research software, **not a medical device**.

{_bullets(lines)}"""


def _network(name: str) -> str:
    foreign = name not in BACKBONES or BACKBONES[name].published
    return f"{name} of {'`keras.applications`' if foreign else 'this project'}"


def _intended_use() -> str:
    return """## Intended use

Research on training methods: how fast, at what cost and with what AUC one network is
trained by one thread, one GPU or a Spark cluster. It must not be used to diagnose, to
triage or to decide on the care of a person, nor to label data for such a use."""


def _limits(info: ModelInfo) -> str:
    lines = [
        "It is not a medical device and was not tested as one. Its output is not a "
        "diagnosis.",
        f"It learned from labels that {labelled_by(info)}, and is measured against "
        "such labels: their errors are in it and in its AUC.",
        "X-rays of other hospitals, machines, views or ages differ from those it was "
        "trained on, and its scores are worth less there: such networks also learn the "
        "hospital (Zech et al., PLOS Medicine 15, 2018). The same holds for images of "
        "another source: a lossy file format, another window or scaling of the greys.",
        "How its AUC differs between groups of patients stands below, and why it does "
        "was not examined."
        if info.scores and info.scores.subgroups
        else "It was not examined for differences between groups of patients.",
    ]
    lines.append(
        "It gives probabilities for any picture, of a hand or a tree as well."
        + (
            " `unlike` of `experiments/predict.py` is above 1 for those that look "
            "unlike its training pictures."
            if info.appearance
            else ""
        )
    )
    lines.append(
        "Its probabilities are not calibrated: they rank X-rays, and 0.5 is no natural "
        "threshold."
        + (" A temperature for them stands below." if info.temperature else "")
    )
    if few := _few_positives(info):
        lines.append(
            f"Fewer than {FEW_POSITIVES} test images have {', '.join(few)}: their AUC "
            "is uncertain, see the intervals."
        )
    return f"## Limits\n\n{_bullets(lines)}"


def _few_positives(info: ModelInfo) -> list[str]:
    findings = info.scores.findings if info.scores else {}
    return [name for name, f in findings.items() if f.positives < FEW_POSITIVES]


def _training_data(info: ModelInfo) -> str:
    data, images = info.config.get("data", {}), info.images
    validation = f", {images.validation:,} to choose the best epoch"
    lists = data.get("train_list"), data.get("test_list")
    published = f" and follows {_shown(lists[0])} and {_shown(lists[1])}"
    text = f"""Images from `{_shown(data.get("images"))}` with labels from
        `{_shown(data.get("labels"))}`, a label file in the form of {form(info)}:
        {images.train:,} images to
        train{validation if images.validation else ""} and {images.test:,} to test. The
        split is by patient{published if all(lists) else ""}: no patient is in two of
        them. {doubt(info)}Whether the images are those of that archive, only who
        filled the bucket knows."""
    return f"## Training data\n\n{_wrapped(text)}"


def _training(info: ModelInfo) -> str:
    rows = ["| setting | value |", "|---|---|"]
    for section in ("data", "model", "training", "runner"):
        for key, value in info.config.get(section, {}).items():
            if section != "runner" or runner_of(info.runner).is_told(key):
                rows.append(f"| `{section}.{key}` | {_cell(value)} |")
    return "## Training\n\n" + "\n".join(rows)


def _evaluation(info: ModelInfo) -> str:
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
    text = f"""On the test set of {info.images.test:,} images, of patients it never saw.
        The intervals are of {scores.resamples} bootstrap resamples by patient; a dash
        means that the test set has one value only."""
    return "\n".join(["## Evaluation", "", _wrapped(text), "", *rows])


def _subgroups(info: ModelInfo) -> list[str]:
    """The section, where groups of the test images were scored apart."""
    groups = info.scores.subgroups if info.scores else []
    if not groups:
        return []
    rows = [
        "| group | images | patients | macro AUC (95%) | over findings |",
        "|---|---|---|---|---|",
    ]
    for one in groups:
        name = f"{one.column} {one.condition}".replace("|", "\\|")
        rows.append(
            f"| {name} | {one.images} | {one.patients} | {interval(one.macro_auc)} | "
            f"{one.findings_scored} |"
        )
    text = f"""Each mean is over the findings of which every group of the same column
        has {LEAST} test images with and {LEAST} without."""
    return ["\n".join(["## Groups of patients", "", _wrapped(text), "", *rows])]


def _calibration(info: ModelInfo) -> list[str]:
    """The section, where this model's calibration was measured."""
    found = info.calibration
    if found is None:
        return []
    rules = list(
        dict.fromkeys(r for each in (info.thresholds or {}).values() for r in each)
    )
    heads = ["finding", "Brier (95%)", "reference"]
    for rule in rules:
        heads += [f"`{rule}`", "sensitivity (95%)", "specificity (95%)"]
    rows = [_row(heads), _row(["---"] * len(heads))]
    for name, each in found.findings.items():
        cells = [name, interval(each.brier), number(each.brier_reference, 3)]
        for rule in rules:
            cells += _point(each.thresholds.get(rule))
        rows.append(_row(cells))
    reference = number(found.macro_brier_reference, 3)
    means = {"**mean**": found}
    if found.scaled:
        means[f"**mean at temperature {found.temperature:.3g}**"] = found.scaled
    for name, each in means.items():
        brier = [interval(each.macro_brier), reference]
        rows.append(_row([name, *brier, *[""] * 3 * len(rules)]))
    text = """The Brier score is the mean squared difference of probability and label on
        the test set; the reference is that of always saying the finding's share of it.
        """
    if rules:
        text += """A threshold is a probability from which on a finding is called
            present. `youden` has the largest sum of sensitivity and specificity on the
            validation set, `sensitivity_0.9` the fewest false positives there of those
            that reach a sensitivity of 0.9, and so on. What they reach is shown on the
            test set, which chose none of them, with Wilson's intervals by image."""
    else:
        text += "No threshold was chosen: there was no validation set to choose it on."
    if info.temperature:
        text += f""" With every logit divided by {info.temperature:.6g}, a temperature
            fitted on the validation set (Guo et al., ICML 2017), the mean is as in the
            last row: `1 / (1 + exp(-logit / {info.temperature:.6g}))`, which
            `experiments/predict.py --calibrated` writes. No order and no AUC changes;
            the thresholds here are of the probabilities as they come."""
    title = "## Calibration and thresholds"
    return ["\n".join([title, "", _wrapped(text), "", *rows])]


def _point(point: OperatingPoint | None) -> list[str]:
    if point is None:
        return [DASH] * 3
    reached = interval(point.sensitivity), interval(point.specificity)
    return [f"{point.threshold:.3g}", *reached]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _how_to_load(info: ModelInfo, name: str) -> str:
    size = info.image_size
    return f"""## How to load it

With `{name}.json` beside it:

    from xray.saved_model import load_model

    model, info = load_model("{name}.keras")
    probabilities = model.predict(pixels)  # uint8 (N, {size}, {size}, 1)

Without this project: `keras.saving.load_model("{name}.keras", compile=False)`."""


def _how_to_reproduce(info: ModelInfo, name: str) -> str:
    script = runner_of(info.runner).script or SEQUENTIAL.script
    dirty = ", with uncommitted changes" if info.git.get("dirty") else ""
    packages = ", ".join(f"{key} {value}" for key, value in info.packages.items())
    text = f"""Commit `{_shown(info.git.get("commit"))}`{dirty};
        {packages or "versions unknown"}. The configuration is in `{name}.json`, without
        the way to your data and cluster:"""
    return f"""## How to make it again

{_wrapped(text)}

    python -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["config"]))' \\
        < {name}.json > again.yaml
    python experiments/{script} --config again.yaml \\
        --set data.credentials=credentials.yaml

Equal commit, versions, images and settings give the same `work_id`; runs on several
cores agree to float tolerance only."""


def _wrapped(text: str, **indents: str) -> str:
    """A paragraph in lines of 88 characters."""
    return textwrap.fill(
        " ".join(text.split()),
        width=88,
        break_long_words=False,
        break_on_hyphens=False,
        **indents,
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(_wrapped(f"- {line}", subsequent_indent="  ") for line in lines)


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _cell(value: Any) -> str:
    """A setting in a table: a bar would end its cell."""
    return f"`{json.dumps(value)}`".replace("|", "\\|")
