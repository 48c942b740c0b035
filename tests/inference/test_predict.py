"""Scoring an archive: one row an image whatever it is, once, resumable, with AUC."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments.predict import main
from tests.conftest import assert_one_line, held_out
from tests.data.test_appearance import chests
from tests.factories import make_record
from tests.faulty_s3 import burst
from tests.pictures import encode, huge_png, noise
from xray.data.appearance import MAX_UNLIKE, fit_appearance, to_cells
from xray.data.images import decode_image, decode_picture
from xray.data.labels import FINDINGS
from xray.data.reader import ImageReader
from xray.inference.inputs import find_inputs
from xray.inference.job import plan_job, run_on_spark
from xray.local.dicom import encode_dicom
from xray.model.archive import pack
from xray.model.predict import predict
from xray.model.saved import load_model, save_model
from xray.model.sidecar import ModelInfo
from xray.records.metrics import score_predictions
from xray.storage.credentials import load_access
from xray.storage.place import Place
from xray.storage.s3 import Storage

pytestmark = [
    pytest.mark.slow,  # imports TensorFlow
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

GREY = Image.fromarray(noise(40))
SECOND = Image.fromarray(noise(40, seed=1))
GOOD = {
    "chest.png": encode(GREY),
    "chest.jpg": encode(GREY, "JPEG"),
    "chest.JPEG": encode(GREY.convert("CMYK"), "JPEG"),
    "deep.png": encode(noise(40).astype(np.uint16) * 257),
    "chest.dcm": encode_dicom(noise(40)),
    "1.2.840.10008.7": encode_dicom(noise(40)),
    "noending": encode(GREY),
}
BAD = {
    "empty.png": (b"", "empty"),
    "text.png": (b"A text file called chest.png", "no PNG, JPEG or DICOM picture"),
    "other.png": (encode(GREY, "GIF"), "no PNG, JPEG or DICOM picture"),
    "cut.png": (encode(GREY)[:300], "cannot be read: .*truncated"),
    "cut.jpg": (encode(GREY, "JPEG")[:300], "cannot be read: Truncated"),
    "huge.png": (huge_png(50_000, 50_000), "too large: more than 20000000 pixels"),
    "large.png": (huge_png(5_000, 5_000), "too large: 5000x5000 pixels, more than"),
    "moving.png": (
        encode(GREY, save_all=True, append_images=[SECOND]),
        "cannot be read: an animation of 2 frames",
    ),
    "nothing.dcm": (
        encode_dicom(noise(8), PixelData=None),
        "cannot be read: it holds no pixels",
    ),
}


@pytest.fixture
def zoo(own_bucket):
    """A bucket with readable and unreadable files, and one that is no picture's."""
    folder = own_bucket.folder / "zoo" / "more"
    folder.mkdir(parents=True)
    files = {**GOOD, **{name: content for name, (content, _) in BAD.items()}}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "notes.csv").write_text("no picture's name")
    return own_bucket


@pytest.fixture
def score(saved_model, tmp_path, capsys):
    """Run the script; its exit code, and all that it says."""

    def score(
        bucket, *arguments, model=saved_model, out=tmp_path / "out", images="zoo"
    ):
        options = ["--model", str(model), "--out", str(out)]
        if images:
            place = images if "/" in images else f"s3://nih/{images}/"
            options += ["--images", place]
        code = main([*options, "--credentials", str(bucket.credentials), *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return score


def read(out: Path) -> pd.DataFrame:
    """The table, the same from both files."""
    rows = pd.read_parquet(out / "predictions.parquet")
    assert list(rows) == ["key", *FINDINGS, "unlike", "model_id", "status"]
    csv = pd.read_csv(out / "predictions.csv", dtype=dict(rows.dtypes))
    pd.testing.assert_frame_equal(csv, rows)
    return rows.set_index("key")


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def test_every_file_has_a_row_with_its_status(zoo, score, saved_model, tmp_path):
    code, said = score(zoo)
    assert code == 0, said
    rows = read(tmp_path / "out")
    model, info = load_model(saved_model)
    assert set(rows["model_id"]) == {info.model_id}
    assert sorted(rows.index) == sorted(f"zoo/more/{name}" for name in {**GOOD, **BAD})
    pixels = np.stack([decode_picture(content, 32) for content in GOOD.values()])
    good = rows.loc[[f"zoo/more/{name}" for name in GOOD]]
    assert set(good["status"]) == {"ok"}
    found = good[list(FINDINGS)].to_numpy(np.float32)
    np.testing.assert_allclose(found, predict(model, pixels), atol=1e-6)
    for name, (_, reason) in BAD.items():
        row = rows.loc[f"zoo/more/{name}"]
        assert pd.Series([row["status"]]).str.fullmatch(f"{reason}.*").all(), row
        assert row[list(FINDINGS)].isna().all()
    told = summary(tmp_path / "out")
    assert told["by_status"] == {
        "ok": 7,
        "cannot be read": 4,
        "too large": 2,
        "no PNG, JPEG or DICOM picture": 2,
        "empty": 1,
    }
    assert (told["images"], told["left_out"], told["scores"]) == (16, 1, None)
    secret = zoo.credentials.read_text().split()[-1]
    assert secret not in said + (tmp_path / "out" / "summary.json").read_text()


def test_calibrated_tables_are_at_the_temperature_and_parts_are_not(
    zoo, score, saved_model, tmp_path
):
    out = tmp_path / "out"
    assert score(zoo)[0] == 0
    raw, files = read(out), parts(out)
    code, said = score(zoo, "--calibrated")
    assert code == 2
    assert_one_line(said, "--calibrated needs a model with a temperature")
    model, info = load_model(saved_model)
    warm = tmp_path / "warm"
    save_model(model, info.model_copy(update={"temperature": 2.0}), warm)
    shutil.copy(saved_model, f"{warm}.keras")  # an archive holds the time it was made
    sidecar = json.loads(warm.with_suffix(".json").read_text())
    text = json.dumps(sidecar | {"model_id": info.model_id})
    warm.with_suffix(".json").write_text(text)
    code, said = score(zoo, "--calibrated", model=f"{warm}.keras")
    assert code == 0, said
    assert "probabilities at temperature 2" in said
    assert (parts(out), summary(out)["temperature"]) == (files, 2)
    names = list(FINDINGS)
    before, after = raw[names].to_numpy(float), read(out)[names].to_numpy()
    odds = np.sqrt(before / (1 - before))  # to the power 1 / temperature
    np.testing.assert_allclose(after, odds / (1 + odds), atol=1e-6)
    assert score(zoo)[0] == 0
    pd.testing.assert_frame_equal(read(out), raw)


def test_what_looks_like_something_else_is_told(
    own_bucket, score, saved_model, tmp_path
):
    model, info = load_model(saved_model)
    drawn = chests(0, size=32)
    appearance = fit_appearance(*map(to_cells, (drawn, chests(1, size=32))))
    informed = tmp_path / "informed"
    save_model(model, info.model_copy(update={"appearance": appearance}), informed)
    folder = own_bucket.folder / "zoo"
    folder.mkdir()
    middle = drawn[np.argsort(appearance.unlike(drawn))[60], ..., 0]
    files = {"chest": middle, "inverted": 255 - middle, "flat": middle // 255}
    for name, pixels in files.items():
        (folder / f"{name}.png").write_bytes(encode(pixels))
    (folder / "empty.png").touch()
    code, said = score(own_bucket, model=f"{informed}.keras")
    assert code == 0, said
    unlike = read(tmp_path / "out")["unlike"].to_dict()
    assert unlike["zoo/chest.png"] < 1 < unlike["zoo/inverted.png"]
    assert unlike["zoo/flat.png"] == MAX_UNLIKE
    assert np.isnan(unlike["zoo/empty.png"])
    assert "warning: 2 (66.7%) look unlike the pictures that the model was" in said
    assert summary(tmp_path / "out")["unlike"] == 2

    code, said = score(own_bucket, out=tmp_path / "uninformed")
    assert code == 0, said
    assert read(tmp_path / "uninformed")["unlike"].isna().all()
    assert summary(tmp_path / "uninformed")["unlike"] is None
    assert "look unlike" not in said


def test_a_folder_is_scored_as_a_bucket(zoo, score, tmp_path):
    outs = tmp_path / "bucket", tmp_path / "folder"
    for out, images in zip(outs, ("zoo", f"{zoo.folder}/zoo"), strict=True):
        code, said = score(zoo, out=out, images=images)
        assert code == 0, said
    rows, again = map(read, outs)
    pd.testing.assert_frame_equal(
        rows.rename(index=lambda key: key.removeprefix("zoo/")), again
    )
    assert summary(outs[1])["left_out"] == 1
    assert score(zoo, out=outs[1], images=images)[0] == 0
    assert summary(outs[1])["images_scored"] == 0  # nothing has changed


def test_another_precision_is_another_rounding_and_another_place(
    zoo, score, tmp_path, monkeypatch
):
    exact, low = tmp_path / "exact", tmp_path / "low"
    precision = ("--set", "runner.precision=mixed_bfloat16")
    assert score(zoo, out=exact)[0] == 0
    monkeypatch.setattr("xray.model.cpu_step.multiplies_bfloat16", lambda: False)
    code, said = score(zoo, *precision, out=low)
    assert code == 2
    assert_one_line(said, "needs a CPU with AVX512_BF16")
    monkeypatch.setattr("xray.model.cpu_step.multiplies_bfloat16", lambda: True)
    code, said = score(zoo, *precision, out=low)
    assert code == 0, said
    names = list(FINDINGS)
    difference = (read(low)[names] - read(exact)[names]).abs().to_numpy()
    assert 1e-6 < np.nanmax(difference) < 2e-2
    code, said = score(zoo, out=low)
    assert code == 2
    assert_one_line(said, "holds predictions of model", "in mixed_bfloat16. Got model")


def test_pixels_are_those_of_the_runners():
    colour = Image.fromarray(np.stack([noise(50, n) for n in range(3)], axis=-1))
    for content in (
        GOOD["chest.png"],
        GOOD["chest.JPEG"],
        GOOD["deep.png"],
        encode(colour),
    ):
        np.testing.assert_array_equal(
            decode_picture(content, 32), decode_image(content, 32)
        )


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("xray.inference.job.PART_IMAGES", 4)
    monkeypatch.setattr("xray.inference.job.LEAST_IMAGES", 4)


def parts(out: Path) -> dict[str, tuple[int, bytes]]:
    """When each part was written, and its content, by name."""
    found = sorted(out.glob("parts/*/*"))
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def test_a_second_run_scores_what_is_missing(zoo, score, tmp_path, small_parts):
    out = tmp_path / "out"
    assert score(zoo)[0] == 0
    first, rows = parts(out), read(out)
    assert len(first) > 2
    lost = out / "parts" / next(out.glob("parts/*")).name / next(iter(first))
    lost.unlink()
    assert score(zoo)[0] == 0
    again = parts(out)
    assert [n for n in first if again[n][0] != first[n][0]] == [lost.name]
    assert [content for _, content in again.values()] == [c for _, c in first.values()]
    assert summary(out)["parts_scored"] == 1
    pd.testing.assert_frame_equal(read(out), rows)
    # A changed image costs its part, one that is gone its row.
    (zoo.folder / "zoo" / "more" / "text.png").write_bytes(encode(SECOND))
    code, said = score(zoo)
    assert code == 0
    assert f"1 of {len(first)} parts scored now" in said
    assert read(out).loc["zoo/more/text.png", "status"] == "ok"
    assert len(parts(out)) == len(first)
    (zoo.folder / "zoo" / "more" / "text.png").unlink()
    assert score(zoo)[0] == 0
    assert len(read(out)) == len(rows) - 1


def test_an_interrupted_job_goes_on(zoo, score, tmp_path, small_parts, monkeypatch):
    write, written = Place.write, []

    def stop_after_one(place, name, content):
        if written:
            raise KeyboardInterrupt
        written.append(name)
        write(place, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Place, "write", stop_after_one)
        code, said = score(zoo)
    assert code == 130
    assert "run it again" in said
    assert list(parts(tmp_path / "out")) == [Path(written[0]).name]
    code, said = score(zoo)
    assert code == 0
    assert len(read(tmp_path / "out")) == 16
    told = summary(tmp_path / "out")
    assert told["parts_scored"] == told["parts"] - 1


def test_a_prefix_on_s3_takes_the_tables_too(zoo, score, saved_model):
    out = zoo.folder / "predictions"
    for scored in (1, 0):
        assert score(zoo, out="s3://nih/predictions/")[0] == 0
        assert summary(out)["parts_scored"] == scored
    assert len(read(out)) == 16
    assert not list(out.rglob(".writable"))


@pytest.fixture(scope="module")
def trained(bucket, tmp_path_factory):
    """A model of the bucket's images whose sidecar has the scores of its test set."""
    from xray.model.network import build_model

    config = bucket.config()
    model, (test, pixels) = build_model(config), held_out(config)
    scores = score_predictions(
        test.labels, predict(model, pixels), test.patients, FINDINGS, config.data.seed
    )
    record = make_record(config=config.to_dict(), scores=scores.model_dump())
    info = ModelInfo.of_run(record, "last", 2, scored=True)
    path = tmp_path_factory.mktemp("trained") / "m"
    save_model(model, info, path)
    return path.with_suffix(".keras"), scores, test


def test_auc_is_that_of_the_run(trained, bucket, score, tmp_path):
    model, expected, test = trained
    code, said = score(bucket, "--subset", "test", model=model, images=None)
    assert code == 0, said
    rows = read(tmp_path / "out")
    assert [key.split("/")[-1] for key in rows.index] == list(test.names)
    told = summary(tmp_path / "out")
    assert told["auc_difference"] < 1e-6
    assert "largest difference from the run's" in said
    table = pd.read_csv(tmp_path / "out" / "auc.csv").set_index("finding")
    for name, finding in expected.findings.items():
        values = (finding.auc.value, finding.auc.low, finding.auc.high)
        for column, value in zip(("auc", "low", "high"), values, strict=True):
            assert table.loc[name, column] == pytest.approx(
                np.nan if value is None else value, abs=1e-6, nan_ok=True
            )
    assert table.loc["macro", "auc"] == pytest.approx(
        expected.macro_auc.value, abs=1e-6
    )


def test_all_images_are_scored_with_the_labels_there_are(
    trained, bucket, score, tmp_path
):
    model, _, _ = trained
    labels = ("--labels", "s3://nih/Data_Entry_2017_v2020.csv")
    code, said = score(bucket, *labels, model=model, images="images")
    assert code == 0, said
    told = summary(tmp_path / "out")
    assert told["images"] == 160
    findings = told["scores"]["findings"]["Mass"]
    assert findings["positives"] + findings["negatives"] == 160
    assert told["auc_difference"] is None


def test_labels_that_a_model_contradicts_are_warned_of(
    trained, bucket, score, tmp_path
):
    """As where columns are mixed up: here the least likely images have the finding."""
    model, _, _ = trained
    code, said = score(bucket, model=model, images="images")
    assert (code, "worse than chance" in said) == (0, False)
    least = read(tmp_path / "out")["Mass"].sort_values().index[:40]
    labels = tmp_path / "labels.csv"
    rows = [
        f"{key.split('/')[-1]},{'Mass' if key in least else 'Edema'},{number}"
        for number, key in enumerate(read(tmp_path / "out").index)
    ]
    header = "Image Index,Finding Labels,Patient ID"
    labels.write_text("\n".join([header, *rows]) + "\n")
    given = ("--labels", str(labels))
    code, said = score(bucket, *given, model=model, images="images")
    assert code == 0, said
    (line,) = (one for one in said.splitlines() if "worse than chance" in one)
    assert "Mass" in line.split(":")[2].split("?")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "gone.keras"), "gone.json does not exist"),
        (("--images", "s3://nowhere/x/"), "Bucket 'nowhere' does not exist"),
        (("--images", "s3://nih/none/"), "No picture (PNG, JPEG or DICOM) under"),
        (("--images", "here/"), "here cannot be listed: No such file or directory"),
        (("--images", "gs://nih/zoo/"), "data.images: must be s3://bucket/prefix/ or "),
        (("--out", "s3://nowhere/x/"), "--out s3://nowhere/x/ cannot be written"),
        (("--out", "/proc/none"), "--out /proc/none cannot be made"),
        (("--credentials", "none.yaml"), "Credentials file none.yaml cannot be read"),
        (("--set", "data.image_size=64"), "data.image_size must be the model's, 32"),
        (("--set", "runner.master=spark://127.0.0.1:9"), "does not answer"),
        (("--set", "data.imagess=1"), "Did you mean 'data.images'?"),
        (("--subset", "validation"), "no validation set with data.validation_fraction"),
        (("--set", "data.staged=s3://nih/none/"), "Nothing is staged under"),
    ],
)
def test_bad_input_is_one_line(trained, bucket, score, arguments, message):
    model, _, _ = trained
    code, said = score(bucket, *arguments, model=model, images=None)
    assert code == 2
    assert_one_line(said, message)


def test_bad_models_are_one_line(zoo, score, saved_model, tmp_path):
    sidecar = json.loads(saved_model.with_suffix(".json").read_text())

    def refused(content, message, **fields):
        (tmp_path / "m.json").write_text(json.dumps({**sidecar, **fields}))
        (tmp_path / "m.keras").write_bytes(content)
        code, said = score(zoo, model=tmp_path / "m.keras")
        assert code == 2
        assert_one_line(said, message)

    content = saved_model.read_bytes()
    refused(pickle.dumps({"a": 1}), "it is a pickle, which could run anything")
    refused(content[:-100], "it is cut short, or something else")
    other = {
        **sidecar["config"],
        "data": {**sidecar["config"]["data"], "image_size": 64},
    }
    refused(content, "must map uint8 (N, 64, 64, 1)", image_size=64, config=other)
    assert not list((tmp_path / "out").glob("parts/*/*"))


def test_another_models_predictions_are_not_mixed(
    zoo, trained, score, saved_model, tmp_path
):
    assert score(zoo)[0] == 0
    before = read(tmp_path / "out")
    code, said = score(zoo, model=trained[0])
    assert code == 2
    assert_one_line(
        said, f"holds predictions of model {load_model(saved_model)[1].model_id}"
    )
    pd.testing.assert_frame_equal(read(tmp_path / "out"), before)


def test_a_damaged_part_is_named(zoo, score, tmp_path):
    assert score(zoo)[0] == 0
    (part,) = (tmp_path / "out").glob("parts/*/*")
    part.write_bytes(part.read_bytes()[:-50])
    code, said = score(zoo)
    assert code == 2
    assert_one_line(said, part.name, "is damaged", "Remove it and run again")


@pytest.mark.parametrize("change", ["twice", "lost"])
def test_a_part_without_exactly_one_row_an_image_is_refused(
    zoo, score, tmp_path, small_parts, change
):
    out = tmp_path / "out"
    assert score(zoo)[0] == 0
    part = next(out.glob("parts/*/*"))
    rows = pd.read_parquet(part)
    # As many rows as before, or one less.
    rows = rows.iloc[[0, *range(len(rows) - 1)]] if change == "twice" else rows[1:]
    rows.to_parquet(part, index=False)
    before = (out / "predictions.csv").read_bytes()
    code, said = score(zoo)
    assert code == 2
    assert_one_line(said, "not one for each of the 16 images", "parts/ and run again")
    assert (out / "predictions.csv").read_bytes() == before


def test_scoring_through_a_faulty_s3_is_scoring(
    faulty, score, saved_model, tmp_path, bucket
):
    proxy, disturbed = faulty
    assert score(bucket, images="images")[0] == 0
    proxy.plan = burst(seed=5)
    out = tmp_path / "disturbed"
    code, said = score(disturbed, images="images", out=out)
    assert code == 0, said
    pd.testing.assert_frame_equal(read(out), read(tmp_path / "out"))


@pytest.mark.parametrize("kind", ["truncate", "wrong", "503"])
def test_a_transfer_that_stays_broken_is_no_answer(
    faulty, score, tmp_path, monkeypatch, kind
):
    proxy, bucket = faulty
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "0.5")
    proxy.plan = lambda request: kind if "/images/" in request.path else None
    code, said = score(bucket, images="images")
    assert code == 2
    assert_one_line(said, "and did so for 0 s", "run again")
    assert not list((tmp_path / "out").glob("parts/*/*"))
    proxy.plan = lambda request: None
    assert score(bucket, images="images")[0] == 0
    assert set(read(tmp_path / "out")["status"]) == {"ok"}


def test_keys_that_may_not_delete_score_all_the_same(
    trained, faulty, score, saved_model, tmp_path, monkeypatch, caplog
):
    proxy, bucket = faulty
    proxy.plan = lambda request: "denied" if request.method == "DELETE" else None
    labels = ("--labels", "s3://nih/Data_Entry_2017_v2020.csv")
    out = "s3://nih/scored/"
    try:
        assert (
            score(bucket, *labels, model=trained[0], images="images", out=out)[0] == 0
        )
        assert score(bucket, model=trained[0], images="images", out=out)[0] == 0
    finally:
        shutil.rmtree(bucket.folder / "scored")
    assert "auc.csv is of an earlier run and remains: S3 denies access" in caplog.text


class TestOnSpark:
    """In the session's local mode with two Python workers."""

    @pytest.fixture
    def job(self, zoo, saved_model, tmp_path, small_parts):
        """A job, and what it gives in this process."""
        _, info = load_model(saved_model)
        data = zoo.config(data={"images": "s3://nih/zoo/"}).data
        access = load_access(data.credentials, data.endpoint_url)
        inputs = find_inputs(data, Storage(access), "all", labelled=False)
        reader = ImageReader(access, 32, 4, decode=decode_picture)
        out = Place(str(tmp_path / "spark"), access)
        Path(out.root).mkdir()
        return plan_job(info, inputs.images, reader, out)

    @pytest.mark.cluster
    def test_a_failing_task_leaves_one_row_an_image(
        self, zoo, score, job, cluster, saved_model, tmp_path
    ):
        marker = tmp_path / "failed"

        def decode(content, size):
            if not marker.exists():
                marker.touch()
                raise RuntimeError("the first try fails")
            return decode_picture(content, size)

        reader = dataclasses.replace(job.reader, decode=decode)
        job = dataclasses.replace(job, reader=reader)
        archive, counted = pack(load_model(saved_model)[0]), []
        paces = run_on_spark(job, archive, cluster, counted.append)
        job.finish()
        assert marker.exists()
        assert sum(counted) == 16
        assert len(paces) == len(job.parts)
        assert score(zoo)[0] == 0
        rows, expected = read(tmp_path / "spark"), read(tmp_path / "out")
        assert list(rows["status"]) == list(expected["status"])
        np.testing.assert_allclose(
            rows[list(FINDINGS)], expected[list(FINDINGS)], atol=1e-6
        )

    def test_a_refusal_on_an_executor_is_one_line(self, job, cluster, saved_model):
        from tests.refusals import refused

        access = dataclasses.replace(
            job.reader.access, endpoint_url="http://127.0.0.1:9"
        )
        reader = dataclasses.replace(job.reader, access=access)
        archive = pack(load_model(saved_model)[0])
        with refused("S3 endpoint http://127.0.0.1:9 does not answer"):
            run_on_spark(
                dataclasses.replace(job, reader=reader), archive, cluster, print
            )

    def test_a_function_of_sql(self, zoo, cluster, saved_model):
        from pyspark.sql import SparkSession

        from xray.inference.sql import register

        session = SparkSession(cluster.context)
        register(session, str(saved_model))
        files = session.read.format("binaryFile").load(f"file://{zoo.folder}/zoo/more")
        files.coalesce(1).createOrReplaceTempView("images")
        rows = session.sql(
            "SELECT path, p.`No Finding` AS none, p.status FROM "
            "(SELECT path, xray_predict(content) AS p FROM images)"
        ).collect()
        found = {row.path.rpartition("/")[2]: row for row in rows}
        bad = set(BAD) - {"empty.png"}  # Spark leaves empty files out itself
        assert set(found) == {*GOOD, *bad, "notes.csv"}
        model, _ = load_model(saved_model)
        pixels = np.stack([decode_picture(content, 32) for content in GOOD.values()])
        expected = predict(model, pixels)[:, FINDINGS.index("No Finding")]
        np.testing.assert_allclose(
            [found[name].none for name in GOOD], expected, atol=1e-6
        )
        for name in bad:
            assert found[name].none is None
            assert found[name].status not in ("ok", None)
        one = session.sql(
            "SELECT xray_predict(content).Pneumonia AS p FROM images "
            "WHERE path LIKE '%chest.dcm'"
        ).collect()
        assert 0 < one[0].p < 1
