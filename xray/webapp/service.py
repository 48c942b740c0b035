"""What a request works with: the models, the samples and the limits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flask import current_app
from werkzeug.exceptions import BadRequest, InternalServerError, NotFound

from xray.data.images import Picture, shrink
from xray.webapp import answers
from xray.webapp.limits import Gate, Limits, RateLimit
from xray.webapp.samples import Sample
from xray.webapp.scoring import Scorer, reading
from xray.webapp.uploads import preview

HIGHEST = "highest"
ALL = "all"
NO_FINDING = "no finding"  # some archives write "No Finding"


class Service:
    """The parts that all requests share.

    Args:
        scorers: models, the default first.
        samples: pictures to try.
        limits: what is taken.
    """

    def __init__(
        self, scorers: Sequence[Scorer], samples: Sequence[Sample], limits: Limits
    ) -> None:
        self.scorers, self.samples, self.limits = scorers, samples, limits
        self.rate = RateLimit(limits.uploads_per_minute)
        self.gate = Gate(limits.workers, limits.waiting)

    def scorer(self, model_id: str | None) -> Scorer:
        """The model of that id, or the first.

        Raises:
            NotFound: 404.
        """
        for scorer in self.scorers:
            if model_id in (None, "", scorer.info.model_id):
                return scorer
        raise NotFound(f"There is no model {model_id!r} here. See /api/v1/models.")

    def sample(self, number: int) -> Sample:
        """One of the samples, by its place.

        Raises:
            NotFound: 404.
        """
        if number >= len(self.samples):
            raise NotFound(f"There are {len(self.samples)} samples, counted from 0.")
        return self.samples[number]


def service() -> Service:
    """The service of the application that handles this request."""
    return current_app.extensions["xray"]


def predict(
    scorer: Scorer, picture: Picture, explain: str | None, with_preview: bool
) -> answers.Prediction:
    """Everything the API says of one picture.

    Args:
        scorer: the model.
        picture: the upload.
        explain: a finding, or "highest", the illness with the highest reading, or
            "all"; None draws no heat map.
        with_preview: whether the browser needs the picture as PNG.

    Raises:
        BadRequest: 400, no such finding.
        InternalServerError: 500, the model gives no numbers.
    """
    names = scorer.info.findings
    if explain and explain not in (HIGHEST, ALL, *names):
        raise BadRequest(
            f"explain must be {HIGHEST!r}, {ALL!r} or one of {', '.join(names)}. "
            f"Got {explain!r}."
        )
    pixels = shrink(picture.grey, scorer.info.image_size)
    probabilities, features = scorer.score(pixels)
    if not np.isfinite(probabilities).all():
        raise InternalServerError("The model gives no probabilities for this picture.")
    findings = [
        _finding(scorer, name, float(probability))
        for name, probability in zip(names, probabilities, strict=True)
    ]
    heat_maps = _heat_maps(scorer, features) if explain else []
    return answers.Prediction(
        model_id=scorer.info.model_id,
        image=answers.Image(
            kind=picture.kind,
            width=picture.grey.width,
            height=picture.grey.height,
            doubt=picture.doubt,
            preview=preview(picture) if with_preview else None,
        ),
        unlike=_unlike(scorer, pixels),
        findings=findings,
        heat_map=heat_maps[_index(findings, explain)] if explain else None,
        heat_maps=heat_maps if explain == ALL else None,
    )


def _unlike(scorer: Scorer, pixels: np.ndarray) -> float | None:
    appearance = scorer.info.appearance
    return float(appearance.unlike([pixels])[0]) if appearance else None


def _heat_maps(scorer: Scorer, features: Any) -> list[answers.HeatMap]:
    start, share = scorer.seen
    box = answers.Box(left=start, top=start, width=share, height=share)
    maps = scorer.heat_maps(features).round(4).tolist()
    return [
        answers.HeatMap(finding=name, rows=rows, box=box)
        for name, rows in zip(scorer.info.findings, maps, strict=True)
    ]


def _index(findings: Sequence[answers.Finding], explain: str) -> int:
    if explain not in (HIGHEST, ALL):
        return [finding.name for finding in findings].index(explain)
    # Where the model looked for nothing is nothing to look at.
    readings = [-1 if f.name.casefold() == NO_FINDING else f.reading for f in findings]
    return int(np.argmax(readings))


def _finding(scorer: Scorer, name: str, probability: float) -> answers.Finding:
    value, chosen = scorer.threshold(name)
    sensitivity, specificity = scorer.operating_point(name)
    return answers.Finding(
        name=name,
        probability=probability,
        threshold=answers.Threshold(
            value=value,
            chosen=chosen,
            sensitivity=sensitivity,
            specificity=specificity,
        ),
        reading=reading(probability, value),
    )


def describe(scorer: Scorer) -> answers.Model:
    """What the API says of one model."""
    info = scorer.info
    return answers.Model(
        model_id=info.model_id,
        name=scorer.name,
        title=_title(scorer),
        created=str(info.created),
        runner=info.runner,
        image_size=info.image_size,
        findings=list(info.findings),
        thresholds_chosen=bool(info.thresholds),
        macro_auc=info.scores.macro_auc.value if info.scores else None,
        card=f"/models/{info.model_id}",
    )


def _title(scorer: Scorer) -> str:
    info = scorer.info
    network = info.config.get("model", {}).get("backbone") or scorer.name
    parts = [f"{network} {info.image_size} px", f"{info.which} epoch"]
    if info.scores and info.scores.macro_auc.value is not None:
        parts.append(f"AUC {info.scores.macro_auc.value:.2f}")
    return ", ".join([*parts, f"{info.created:%d %b %Y %H:%M} UTC"])
