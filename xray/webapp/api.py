"""The JSON API under /api/v1."""

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel

from xray.webapp import answers
from xray.webapp.openapi import describe_api
from xray.webapp.service import describe, predict, service
from xray.webapp.uploads import read_picture, upload_content

api = Blueprint("api", __name__, url_prefix="/api/v1")


@api.post("/predict")
def post_predict() -> Response:
    """Probabilities of one X-ray, and a heat map when asked for."""
    parts = service()
    scorer = parts.scorer(request.args.get("model"))
    parts.rate.take(request.remote_addr or "")
    content = upload_content()
    with parts.gate.enter():
        picture = read_picture(content, parts.limits.pixels)
        prediction = predict(
            scorer,
            picture,
            explain=request.args.get("explain"),
            with_preview=request.args.get("preview") == "true",
        )
    return _answer(prediction)


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
