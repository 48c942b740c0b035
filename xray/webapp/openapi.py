"""The OpenAPI 3.1 description of the JSON API."""

from typing import Any

from pydantic.json_schema import models_json_schema

from xray.webapp.answers import ANSWERS
from xray.webapp.limits import Limits
from xray.webapp.uploads import FIELD

VERSION = "1"
PICTURE_TYPES = ("image/png", "image/jpeg", "application/dicom")
PROBLEMS = {
    400: "The file is empty, or a parameter is not valid.",
    403: "The page of another site made the browser send it.",
    404: "There is no such model.",
    413: "The upload has too many bytes, or the picture too many pixels.",
    415: "The file is no PNG, JPEG or DICOM picture.",
    422: "The picture is damaged, animated, or a DICOM file without one grey picture.",
    429: "Too many uploads of this client; Retry-After has the seconds to wait.",
    503: "The server is busy; Retry-After has the seconds to wait.",
}


def describe_api(limits: Limits) -> dict[str, Any]:
    """The description, with the limits of this server."""
    _, schemas = models_json_schema(
        [(model, "serialization") for model in ANSWERS],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "xray",
            "version": VERSION,
            "description": "Probabilities of findings in a chest X-ray, and where "
            "the model sees each of them. Research software, not a diagnosis.",
        },
        "paths": {
            "/api/v1/predict": {"post": _predict(limits)},
            "/api/v1/predictions": {"post": _predict_by_all(limits)},
            "/api/v1/models": {"get": _get("The models that are served.", "Models")},
            "/api/v1/models/{model_id}": {
                "get": _get("One model.", "Model", 404)
                | {
                    "parameters": [
                        _parameter("model_id", "path", "As the list gives it.")
                    ]
                }
            },
            "/healthz": {"get": _get("Whether the server answers.", "Health")},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _predict(limits: Limits) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "required": [FIELD],
            "properties": {FIELD: binary["schema"]},
        }
    }
    return {
        **_get("Probabilities of one X-ray.", "Prediction", *PROBLEMS),
        "parameters": [
            _parameter("model", "query", "A model_id; the first model without it."),
            _parameter(
                "explain",
                "query",
                "Draw the heat map of this finding; highest: of the illness with the "
                "highest reading; all: of that one, and of each in heat_maps.",
            ),
            _parameter("preview", "query", "true returns the picture as a grey PNG."),
        ],
        "requestBody": {
            "required": True,
            "description": f"The file itself, at most {limits.upload_bytes} bytes and "
            f"{limits.pixels} pixels. It is not stored.",
            "content": dict.fromkeys(PICTURE_TYPES, binary)
            | {"multipart/form-data": form},
        },
    }


def _predict_by_all(limits: Limits) -> dict[str, Any]:
    by_one = _predict(limits)
    answered = _get("The same by every model.", "Predictions", *PROBLEMS)
    asked = [each for each in by_one["parameters"] if each["name"] != "model"]
    return {**by_one, **answered, "parameters": asked}


def _get(summary: str, schema: str, *problems: int) -> dict[str, Any]:
    responses = {"200": _response("Done.", schema, "application/json")}
    for status in problems:
        text = PROBLEMS[status]
        responses[str(status)] = _response(text, "Problem", "application/problem+json")
    return {"summary": summary, "responses": responses}


def _response(description: str, schema: str, mimetype: str) -> dict[str, Any]:
    content = {mimetype: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _parameter(name: str, place: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string"},
    }
