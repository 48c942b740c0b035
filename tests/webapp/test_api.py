"""The application through Flask's test client, with a real, tiny model."""

import io
import json
import re

import numpy as np
import pytest

from tests.conftest import assert_one_line
from tests.data.test_appearance import chests
from tests.pictures import encode, huge_png, noise
from xray.data.appearance import fit_appearance, to_cells
from xray.data.images import decode_image
from xray.data.labels import FINDINGS
from xray.local.dicom import encode_dicom
from xray.records.scores import (
    Calibration,
    FindingCalibration,
    Interval,
    OperatingPoint,
)
from xray.webapp.__main__ import main
from xray.webapp.app import HEADERS, create_app
from xray.webapp.limits import Limits
from xray.webapp.samples import drawn_samples
from xray.webapp.scoring import Scorer, reading, split_at_features
from xray.webapp.server import is_loopback, load_scorers

pytestmark = pytest.mark.slow  # imports TensorFlow
CHEST = encode(noise(64))
PREDICT = "/api/v1/predict"
PREDICT_BY_ALL = "/api/v1/predictions"


@pytest.fixture(scope="module")
def scorer(saved_model):
    (scorer,) = load_scorers([str(saved_model)], None)
    return scorer


def make_client(scorer, hosts=None, **limits):
    return create_app([scorer], drawn_samples(), Limits(**limits), hosts).test_client()


@pytest.fixture(scope="module")
def client(scorer):
    return make_client(scorer, uploads_per_minute=10_000, upload_bytes=100_000)


def test_probabilities_are_those_of_the_model(client, saved_model):
    from xray.model.saved import load_model

    model, info = load_model(saved_model)
    expected = model.predict(decode_image(CHEST, 32)[np.newaxis], verbose=0)[0]
    answer = client.post(PREDICT, data=CHEST).json
    assert answer["model_id"] == info.model_id
    assert [finding["name"] for finding in answer["findings"]] == list(FINDINGS)
    got = [finding["probability"] for finding in answer["findings"]]
    assert got == pytest.approx(expected.tolist(), abs=1e-5)
    assert answer["heat_map"] is None
    assert answer["image"] == {
        **{"kind": "PNG", "width": 64, "height": 64, "doubt": None},
        "preview": None,
    }


def test_thresholds_come_from_the_sidecar_or_are_marked(client):
    answer = client.post(PREDICT, data=CHEST).json
    thresholds = {f["name"]: f["threshold"] for f in answer["findings"]}
    unmeasured = {"sensitivity": None, "specificity": None}
    assert thresholds["Mass"] == {"value": 0.25, "chosen": True, **unmeasured}
    assert thresholds["Hernia"] == {"value": 0.5, "chosen": False, **unmeasured}


@pytest.mark.parametrize(
    ("probability", "threshold", "expected"),
    [
        *[(0.06, 0.05, 0.5 + 0.01 / 1.9), (0.4, 0.8, 0.25), (0.05, 0.05, 0.5)],
        *[(0, 0.3, 0), (1, 0.3, 1), (0.2, 0, 0.6), (1, 1, 0.5), (0.5, 1, 0.25)],
    ],
)
def test_a_reading_has_its_threshold_in_the_middle(probability, threshold, expected):
    assert reading(probability, threshold) == pytest.approx(expected)


def test_what_a_threshold_reached_is_told_of_that_threshold_alone(scorer):
    point = OperatingPoint(
        threshold=0.25,
        sensitivity=Interval(value=0.8),
        specificity=Interval(value=0.7),
    )
    finding = FindingCalibration(thresholds={"youden": point})
    calibration = Calibration(findings={"Mass": finding, "Hernia": finding})
    known = Scorer.__new__(Scorer)
    known.info = scorer.info.model_copy(update={"calibration": calibration})
    assert known.operating_point("Mass") == (0.8, 0.7)
    assert known.operating_point("Hernia") == (None, None), "its threshold is 0.5 here"


@pytest.mark.parametrize("explain", ["Hernia", "No Finding", "highest"])
def test_heat_map_of_the_finding_asked_for(client, explain):
    answer = client.post(f"{PREDICT}?explain={explain}", data=CHEST).json
    likeliest = max(
        (f for f in answer["findings"] if f["name"] != "No Finding"),
        key=lambda finding: finding["reading"],
    )
    expected = likeliest["name"] if explain == "highest" else explain
    assert answer["heat_map"]["finding"] == expected
    heat = np.array(answer["heat_map"]["rows"])
    assert heat.ndim == 2
    assert heat.min() >= 0 and heat.max() in (0, 1)
    whole = {"left": 0, "top": 0, "width": 1, "height": 1}
    assert answer["heat_map"]["box"] == whole


def test_all_heat_maps_are_those_asked_for_one_by_one(client):
    answer = client.post(f"{PREDICT}?explain=all", data=CHEST).json
    assert [each["finding"] for each in answer["heat_maps"]] == list(FINDINGS)
    for each in answer["heat_maps"]:
        alone = client.post(f"{PREDICT}?explain={each['finding']}", data=CHEST).json
        assert alone["heat_map"] == each
        assert alone["heat_maps"] is None
    highest = client.post(f"{PREDICT}?explain=highest", data=CHEST).json
    assert answer["heat_map"] == highest["heat_map"]


def test_heat_maps_are_grad_cam_of_each_finding_alone(scorer, saved_model):
    """Against a backward pass of each finding's logit on its own."""
    import tensorflow as tf

    from xray.model.saved import load_model

    pixels = decode_image(CHEST, 32)
    _, features = scorer.score(pixels)
    _, head = split_at_features(load_model(saved_model)[0])
    for finding, heat in enumerate(scorer.heat_maps(features)):
        maps = tf.constant(np.asarray(features))
        with tf.GradientTape() as tape:
            tape.watch(maps)
            logit = head(maps, training=False)[1][0, finding]
        weights = tape.gradient(logit, maps).numpy()[0].mean(axis=(0, 1))
        expected = np.maximum(maps.numpy()[0] @ weights, 0)
        if expected.max() > 0:
            expected /= expected.max()
        assert heat == pytest.approx(expected, abs=1e-4)


def test_heat_map_of_a_cropping_model_lies_over_the_crop(scorer):
    config = {"model": {"crop": 24}}
    cropping = Scorer.__new__(Scorer)
    cropping.info = scorer.info.model_copy(update={"config": config})
    assert cropping.seen == (0.125, 0.75)


def test_a_form_serves_as_well(client):
    file = (io.BytesIO(CHEST), "any name.txt")
    answer = client.post(PREDICT, data={"image": file})
    assert answer.json == client.post(PREDICT, data=CHEST).json
    empty = client.post(PREDICT, data={"other": (io.BytesIO(CHEST), "a")})
    assert empty.status_code == 400
    assert "'image'" in empty.json["detail"]


def test_dicom_comes_back_as_a_picture(client):
    answer = client.post(f"{PREDICT}?preview=true", data=encode_dicom(noise(64))).json
    assert answer["image"]["kind"] == "DICOM"
    assert answer["image"]["preview"].startswith("data:image/png;base64,")


def test_a_file_that_calls_itself_no_chest_x_ray_is_doubted(client):
    def doubt(**elements):
        content = encode_dicom(noise(64), **elements)
        return client.post(PREDICT, data=content).json["image"]["doubt"]

    assert doubt() is doubt(Modality="DX", BodyPartExamined="CHEST") is None
    assert doubt(Modality="CR", BodyPartExamined="") is None
    told = "The file calls its modality CT, not CR or DX or DR."
    assert doubt(Modality="CT", BodyPartExamined="HEAD") == told
    told = "The file calls the body part HAND, not CHEST."
    assert doubt(Modality="DX", BodyPartExamined="HAND") == told


def test_a_picture_of_something_else_is_told(saved_model):
    (scorer,) = load_scorers([str(saved_model)], None)
    client = make_client(scorer)
    chest = encode(chests(2, 1)[0, ..., 0])
    assert client.post(PREDICT, data=chest).json["unlike"] is None
    appearance = fit_appearance(*(to_cells(chests(seed, size=32)) for seed in (0, 1)))
    scorer.info = scorer.info.model_copy(update={"appearance": appearance})
    assert client.post(PREDICT, data=chest).json["unlike"] < 1
    inverted = encode(255 - chests(2, 1)[0, ..., 0])
    assert client.post(PREDICT, data=inverted).json["unlike"] > 1


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (PREDICT, b"", 400),
        (f"{PREDICT}?explain=Gout", CHEST, 400),
        (f"{PREDICT}?model=none", CHEST, 404),
        (PREDICT, bytes(100_001), 413),
        (PREDICT, huge_png(50_000, 50_000), 413),
        (PREDICT, b"text", 415),
        (PREDICT, CHEST[:500], 422),
        ("/api/v1/none", CHEST, 404),
        ("/healthz", CHEST, 405),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_refusals_are_problems_with_their_status(client, path, content, status):
    answer = client.post(path, data=content)
    assert answer.status_code == answer.json["status"] == status
    assert answer.mimetype == "application/problem+json"
    assert "Traceback" not in answer.text
    assert answer.headers["Content-Security-Policy"]


def test_too_many_uploads_are_told_when_to_come_back(scorer):
    client = make_client(scorer, uploads_per_minute=2)
    answers = [client.post(PREDICT, data=CHEST) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["Retry-After"] == "30"


FOREIGN = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # another port of this machine
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Origin": "http://[", "Sec-Fetch-Site": "cross-site"},
)


def test_what_other_sites_send_is_refused_and_uses_up_nothing(scorer):
    client = make_client(scorer, uploads_per_minute=2, workers=1, waiting=0)
    with client.application.extensions["xray"].gate.enter():  # no place is free
        for headers in FOREIGN * 3:
            answer = client.post(PREDICT, data=CHEST, headers=headers)
            assert answer.status_code == 403
            assert "Upload on the page itself" in answer.json["detail"]
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    proxied = {"Origin": "https://hospital.example", "Sec-Fetch-Site": "same-origin"}
    for headers in (own, proxied):
        assert client.post(PREDICT, data=CHEST, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "none"}]
)
def test_programs_and_older_browsers_are_served(client, headers):
    assert client.post(PREDICT, data=CHEST, headers=headers).status_code == 200
    foreign = client.get("/healthz", headers=FOREIGN[0])  # a link from elsewhere
    assert foreign.status_code == 200


def test_a_busy_server_says_so(scorer):
    client = make_client(scorer, workers=1, waiting=0)
    gate = client.application.extensions["xray"].gate
    with gate.enter():
        answer = client.post(PREDICT, data=CHEST)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert client.post(PREDICT, data=CHEST).status_code == 200


def test_a_fault_is_no_traceback_and_the_server_goes_on(scorer, monkeypatch, caplog):
    client = make_client(scorer)
    with monkeypatch.context() as patched:
        patched.setattr(scorer, "score", lambda pixels: 1 / 0)
        answer = client.post(PREDICT, data=CHEST)
    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    assert client.post(PREDICT, data=CHEST).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api", "/healthz", "/none", "/static/app.js", "/samples/0"]
)
def test_every_answer_has_the_headers(client, path):
    answer = client.get(path)
    for name, value in HEADERS.items():
        assert name in answer.headers
        if name != "Cache-Control":
            assert answer.headers[name] == value
    answer.close()


def test_pages_hold_nothing_inline_and_ask_no_other_host(client):
    for path in ("/", "/api", client.get("/api/v1/models").json["models"][0]["card"]):
        page = client.get(path).text
        assert "style=" not in page and "<style" not in page and "<script>" not in page
        assert "http" not in page.replace("http://localhost/api/v1/predict", "")


def test_foreign_names_of_a_local_server_are_refused(scorer):
    client = make_client(scorer, hosts=("localhost", "127.0.0.1", "::1"))
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "[", ""):
        assert client.get("/healthz", headers={"Host": host}).status_code == 421


def test_model_card_is_shown(client, scorer):
    page = client.get(f"/models/{scorer.info.model_id}").text
    assert "<h1>tiny</h1>" in page
    assert page.count('tabindex="0"><table>') == page.count("</table></div>") == 2
    assert "not a medical device" in page
    assert "library_name" not in page
    assert client.get("/models/none").status_code == 404


def test_samples_can_be_read(client):
    page = client.get("/").text
    assert "drawn by a program" in page
    content = client.get("/samples/1").data
    assert client.post(PREDICT, data=content).status_code == 200
    assert client.get("/samples/1/thumbnail").mimetype == "image/png"
    assert client.get("/samples/99").status_code == 404


def test_description_covers_what_is_served_and_said(client):
    api = client.get("/api/v1/openapi.json").json
    rules = {
        rule.rule.replace("<", "{").replace(">", "}")
        for rule in client.application.url_map.iter_rules()
        if rule.endpoint.startswith("api.") or rule.rule == "/healthz"
    }
    assert set(api["paths"]) == rules - {"/api/v1/openapi.json"}
    schemas = api["components"]["schemas"]
    for name in json.dumps(api).split("#/components/schemas/")[1:]:
        assert name.partition('"')[0] in schemas
    said = client.post(f"{PREDICT}?explain=highest", data=CHEST).json
    assert set(said) == set(schemas["Prediction"]["properties"])
    assert set(said["findings"][0]) == set(schemas["Finding"]["properties"])
    models = client.get("/api/v1/models").json["models"]
    assert set(models[0]) == set(schemas["Model"]["properties"])
    assert client.get(f"/api/v1/models/{models[0]['model_id']}").json == models[0]


def place_model(pooling: str):
    """A network that finds label 0 where it is bright and label 1 where it is dark."""
    import keras

    pixels = keras.Input((32, 32, 1), dtype="uint8", name="pixels")
    grey = keras.layers.Rescaling(1 / 255)(pixels)
    features = keras.layers.AveragePooling2D(8)(grey)
    layer = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }[pooling]
    vector = layer(name=pooling)(features)
    dense = keras.layers.Dense(len(FINDINGS), activation="sigmoid", dtype="float32")
    model = keras.Model(pixels, dense(vector))
    kernel, bias = dense.get_weights()
    kernel[:] = 0
    kernel[:, 0], kernel[:, 1] = 9000, -9000  # so sure that a sigmoid has no gradient
    dense.set_weights([kernel, bias])
    return model


@pytest.mark.parametrize("pooling", ["avg", "max", "flatten"])
def test_heat_is_where_the_evidence_is(scorer, pooling):
    scorer = Scorer(place_model(pooling), scorer.info, "place")
    pixels = np.zeros((32, 32, 1), np.uint8)
    pixels[2:6, 26:30] = 255
    probabilities, features = scorer.score(pixels)
    assert probabilities[0] == 1
    heat, other = scorer.heat_maps(features)[:2]
    assert heat.shape == (4, 4)
    assert np.argwhere(heat == heat.max()).tolist() == [[0, 3]]
    assert heat.sum() == heat.max() == 1
    assert not other.any()


def test_several_models_are_told_apart_by_their_id(scorer):
    info = scorer.info.model_copy(update={"model_id": "other"})
    scorers = [scorer, Scorer(place_model("avg"), info, "place")]
    client = create_app(scorers).test_client()
    models = client.get("/api/v1/models").json["models"]
    assert [m["name"] for m in models] == ["tiny", "place"]
    assert re.fullmatch(
        r"Tiny 32 px, last epoch(, AUC 0\.\d\d)?, \d\d \w{3} \d{4} \d\d:\d\d UTC",
        models[0]["title"],
    )
    assert client.post(PREDICT, data=CHEST).json["model_id"] == scorer.info.model_id
    answer = client.post(f"{PREDICT}?model=other", data=CHEST).json
    assert answer["model_id"] == "other"
    assert (
        '<option value="other" data-card="/models/other" title="place">'
        in client.get("/").text
    )


def test_one_upload_is_read_by_every_model(scorer):
    info = scorer.info.model_copy(update={"model_id": "other"})
    other = Scorer(place_model("avg"), info, "place")
    client = create_app([scorer, other], limits=Limits(uploads_per_minute=3))
    client = client.test_client()
    asked = "?explain=all&preview=true"
    first, second = client.post(f"{PREDICT_BY_ALL}{asked}", data=CHEST).json[
        "predictions"
    ]
    alone = [
        client.post(f"{PREDICT}{asked}&model={model_id}", data=CHEST).json
        for model_id in (scorer.info.model_id, "other")
    ]
    assert first == alone[0]
    assert second["findings"] != first["findings"]
    assert second["image"].pop("preview") is None, "it is the first's"
    del alone[1]["image"]["preview"]
    assert second == alone[1]
    refused = client.post(PREDICT_BY_ALL, data=CHEST)
    assert refused.status_code == 429, "it counted as one"


def test_a_model_without_feature_map_is_refused():
    import keras

    from tests.refusals import refused

    pixels = keras.Input((15,))
    with refused("no layer that pools a feature map"):
        split_at_features(keras.Model(pixels, keras.layers.Dense(15)(pixels)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "none.keras"], "none.keras does not exist"),
        (["--model", "TEXT"], "text.keras"),
        (["--model", "GOOD", "--model", "GOOD"], "given twice"),
        (["--model", "GOOD", "--samples", "none"], "--samples none is no folder"),
        (["--model", "GOOD", "--host", "203.0.113.1"], "cannot listen on 203.0.113.1"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    saved_model, tmp_path, capsys, arguments, words
):
    (tmp_path / "text.keras").write_text("no model")
    names = {"TEXT": str(tmp_path / "text.keras"), "GOOD": str(saved_model)}
    assert main([names.get(word, word) for word in arguments]) == 2
    assert_one_line(capsys.readouterr().err, words)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)],
)
def test_loopback(host, local):
    assert is_loopback(host) is local
