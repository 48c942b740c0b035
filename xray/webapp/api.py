"""The JSON API under /api/v1."""

from collections.abc import Sequence

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel

from xray.webapp import answers
from xray.webapp.openapi import describe_api
from xray.webapp.scoring import Scorer
from xray.webapp.service import describe, predict, service
from xray.webapp.uploads import read_picture, upload_content

api = Blueprint("api", __name__, url_prefix="/api/v1")


@api.post("/predict")
def post_predict() -> Response:
    """Probabilities of one X-ray, and a heat map when asked for."""
    (prediction,) = _predict([service().scorer(request.args.get("model"))])
    return _answer(prediction)


@api.post("/predictions")
def post_predictions() -> Response:
    """The same by every model, of one upload."""
    predictions = _predict(service().scorers)
    return _answer(answers.Predictions(predictions=predictions))


def _predict(scorers: Sequence[Scorer]) -> list[answers.Prediction]:
    """What the models say of the picture in this request; the first has its preview."""
    parts = service()
    parts.rate.take(request.remote_addr or "")
    content = upload_content()
    explain = request.args.get("explain")
    preview = request.args.get("preview") == "true"
    with parts.gate.enter():
        picture = read_picture(content, parts.limits.pixels)
        return [
            predict(scorer, picture, explain, preview and scorer is scorers[0])
            for scorer in scorers
        ]


@api.get("/models")
def get_models() -> Response:
    """The models that are served."""
    models = [describe(scorer) for scorer in service().scorers]
    return _answer(answers.Models(models=models))


@api.get("/models/<model_id>")
def get_model(model_id: str) -> Response:
    """One model."""
    return _answer(describe(service().scorer(model_id)))


@api.get("/openapi.json")
def get_openapi() -> Response:
    """This API, described."""
    return jsonify(describe_api(service().limits))


def _answer(content: BaseModel) -> Response:
    return Response(content.model_dump_json(), mimetype="application/json")
