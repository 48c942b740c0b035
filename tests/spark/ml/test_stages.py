"""Images as a DataFrame, the stages in pipelines, and AUC by Spark ML beside ours."""

import json

import numpy as np
import pytest

from experiments.spark_ml import learn, main, table
from tests.conftest import assert_one_line
from tests.refusals import refused
from xray.data.dataset import find_dataset, set_apart
from xray.data.labels import FINDINGS
from xray.data.reader import ImageReader
from xray.model.predict import predict
from xray.records.metrics import macro_auc, score_predictions
from xray.spark.ml.findings import findings_regression, our_scores, spark_auc
from xray.spark.ml.frames import (
    collect_subset,
    drop_unreadable,
    image_frame,
    with_patient_folds,
)
from xray.spark.ml.network import predict_contents
from xray.spark.ml.stages import (
    BackboneFeaturizer,
    FindingsEvaluator,
    XrayEstimator,
    XrayModel,
)
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage

pytestmark = pytest.mark.slow

ADDRESSES = "image string, patient string, uri string, etag string, labels array<float>"


@pytest.fixture(scope="module")
def session(cluster):
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


@pytest.fixture(scope="module")
def config(bucket):
    return bucket.config(training={"epochs": 2, "learning_rate": 0.01})


@pytest.fixture(scope="module")
def dataset(config):
    """With one test image that cannot be read."""
    dataset = find_dataset(
        config.data,
        Storage(load_access(config.data.credentials, config.data.endpoint_url)),
    )
    dataset.test.uris[3] = "s3://nih/images/gone.png"
    return dataset


@pytest.fixture(scope="module")
def images(session, config, dataset):
    return image_frame(session, config, dataset)


@pytest.fixture(scope="module")
def test_images(images):
    """Rows of the test set with pixels, read once."""
    return images.where(images.subset == "test").persist()


@pytest.fixture(scope="module")
def pixels(config, dataset):
    """Readable test images by name, read without Spark."""
    reader = ImageReader.of(
        config.data, load_access(config.data.credentials, config.data.endpoint_url)
    )
    pixels, good, _ = reader.load(dataset.test.uris, dataset.test.etags)
    return dict(zip(dataset.test.names[good], pixels, strict=True))


@pytest.fixture(scope="module")
def featurizer(config):
    return BackboneFeaturizer(config=config)


def test_a_row_an_image_with_labels_split_and_pixels(
    images, test_images, dataset, pixels
):
    rows = images.drop("pixels").collect()
    assert len(rows) == 160
    assert {r.image for r in rows if r.subset == "train"} == set(dataset.train.names)
    found = {row.image: row for row in test_images.collect()}
    assert set(found) == set(dataset.test.names)
    for place, name in enumerate(dataset.test.names):
        row = found[name]
        assert row.labels == dataset.test.labels[place].tolist()
        assert row.patient == dataset.test.patients[place]
        if name in pixels:
            assert bytes(row.pixels) == pixels[name].tobytes()
    unreadable = [name for name, row in found.items() if row.pixels is None]
    assert unreadable == [dataset.test.names[3]]


def test_too_many_unreadable_images_are_refused(test_images):
    assert drop_unreadable(test_images, "pixels", 0.5).count() == (
        test_images.count() - 1
    )
    with refused("1 of .* images cannot be read.*see the executors' logs"):
        drop_unreadable(test_images, "pixels", 0.01)


def test_pixels_are_read_once_and_only_where_a_job_needs_them(images, featurizer):
    def plan(frame):
        return frame._jdf.queryExecution().executedPlan().toString()

    some = images.where(images.subset == "train")
    features = featurizer.transform(some)
    assert plan(some.drop("pixels")).count("ArrowEvalPython") == 0
    reading, network, rest = plan(features).split("ArrowEvalPython")[::-1]
    assert "pixels(uri" in reading
    assert "Filter" in reading  # below it: other images are never read
    assert "Filter" not in network + rest


def test_no_secret_in_a_plan(images, bucket):
    secret = bucket.credentials.read_text().split()[-1]
    assert secret not in images._jdf.queryExecution().toString()


@pytest.fixture(scope="module")
def fitted(images, config):
    """A pipeline trained by two resident workers for one epoch, with validation."""
    from pyspark.ml import Pipeline

    data = config.data.model_copy(update={"validation_fraction": 0.2})
    config = config.model_copy(update={"data": data})
    estimator = XrayEstimator(config=config, epochs=1, numWorkers=2)
    return Pipeline(stages=[estimator]).fit(images.where(images.subset == "train"))


@pytest.mark.cluster
def test_a_fitted_pipeline_scores_the_same_when_loaded(
    fitted, test_images, pixels, tmp_path
):
    from pyspark.ml import PipelineModel

    fitted.save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    assert isinstance(loaded.stages[0], XrayModel)
    assert loaded.stages[0].uid == fitted.stages[0].uid
    rows = loaded.transform(test_images).select("image", "probabilities").collect()
    scores = {row.image: row.probabilities for row in rows}
    assert [name for name, score in scores.items() if score is None] == (
        [name for name in scores if name not in pixels]
    )
    expected = predict(fitted.stages[0].network, np.stack(list(pixels.values())))
    found = np.array([scores[name] for name in pixels])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.cluster
def test_the_estimator_trains_the_configured_network(fitted, config):
    from xray.model.network import build_model

    (model,) = fitted.stages
    assert len(model.losses) == 1
    assert 0 < model.losses[0] < 5
    before, after = build_model(config).get_weights(), model.network.get_weights()
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_all_but_the_test_rows_are_cut_for_validation_as_in_the_runners(
    session, bucket
):
    config = bucket.config(data={"validation_fraction": 0.2})
    dataset = find_dataset(
        config.data,
        Storage(load_access(config.data.credentials, config.data.endpoint_url)),
    )
    images = image_frame(session, config, dataset)
    rows = images.where("subset != 'test'")
    subset = collect_subset(rows, "image", "patient", "uri", "etag", "labels")
    parts = set_apart(subset, config.data, "validation_fraction")
    assert [part.digest() for part in parts] == (
        [dataset.train.digest(), dataset.validation.digest()]
    )


def test_an_estimator_is_saved_with_its_settings(session, config, tmp_path):
    from pyspark.ml import Pipeline

    estimator = XrayEstimator(config=config, learningRate=0.5)
    Pipeline(stages=[estimator]).save(str(tmp_path / "pipeline"))
    (loaded,) = Pipeline.load(str(tmp_path / "pipeline")).getStages()
    other = loaded.copy({loaded.batchSize: 4}).run_config()
    assert loaded.run_config() == estimator.run_config()
    assert (other.training.learning_rate, other.training.batch_size) == (0.5, 4)
    assert other.data == config.data


def test_features_are_the_frozen_backbones(test_images, featurizer, pixels, tmp_path):
    featurizer.save(str(tmp_path / "featurizer"))
    loaded = BackboneFeaturizer.load(str(tmp_path / "featurizer"))
    frame = loaded.transform(test_images, {loaded.outputCol: "deep"})
    assert frame.schema["deep"].dataType.simpleString() == "vector"
    rows = frame.where(frame.pixels.isNotNull()).select("image", "deep").collect()
    expected = predict(featurizer.network, np.stack([pixels[r.image] for r in rows]))
    assert expected.shape == (len(pixels), 32)
    found = np.stack([row.deep.toArray() for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueError, match="takes 32x32 pixels.*Got an image of 3 bytes"):
        predict_contents(featurizer.network, [b"abc"])


@pytest.mark.cluster
def test_regressions_on_frozen_features_are_scored_by_both(
    images, featurizer, config, dataset
):
    from pyspark.sql import functions

    learned = ("Effusion", "Mass", "No Finding")

    def only_these(value, place):
        kept = place.isin([FINDINGS.index(name) for name in learned])
        return functions.when(kept, value).otherwise(0.0).cast("float")

    labels = functions.transform("labels", only_these)
    results = learn(images.withColumn("labels", labels), featurizer, config.data, 10)
    counts = {"train": len(dataset.train), "test": len(dataset.test) - 1}
    assert results["images"] == counts
    assert set(results["left_out"]) == set(FINDINGS) - set(learned)
    ours = results["scores"]["findings"]
    assert set(ours) == set(learned)
    for name in FINDINGS:
        expected = ours[name]["auc"]["value"] if name in learned else None
        assert results["spark_auc"][name] == (
            None if expected is None else pytest.approx(expected, abs=1e-6)
        )
    assert results["scores"]["findings_scored"] == 3
    assert "left out: one value only" in table(results)
    json.dumps(results)


def test_auc_agrees_with_ours_with_ties_and_beyond_sparks_bins(session):
    from pyspark.ml.evaluation import BinaryClassificationEvaluator

    rng = np.random.default_rng(0)
    labels = (rng.random((3000, 15)) < 0.3).astype(np.float32)
    scores = (rng.random(labels.shape) + 0.4 * labels).astype(np.float32)
    scores[:, 8:] = np.round(scores[:, 8:], 1)  # ties
    labels[:, 0], labels[:, 1] = 0, 1
    patients = [str(n // 3) for n in range(len(labels))]
    rows = zip(patients, labels.tolist(), scores.tolist(), strict=True)
    schema = "patient string, labels array<float>, probabilities array<float>"
    frame = session.createDataFrame(list(rows), schema).persist()
    theirs, ours = spark_auc(frame), our_scores(frame, seed=0)
    assert ours == score_predictions(
        labels.astype(np.uint8), scores.astype(float), np.array(patients), FINDINGS, 0
    )
    assert theirs["Atelectasis"] is theirs["Cardiomegaly"] is None
    values = {name: finding.auc.value for name, finding in ours.findings.items()}
    assert theirs == pytest.approx(values, abs=1e-6)
    # With its default of 1000 bins the evaluator is further off than that.
    third = frame.selectExpr("double(labels[2]) label", "double(probabilities[2]) s")
    binned = BinaryClassificationEvaluator(rawPredictionCol="s").evaluate(third)
    assert abs(binned - values["Consolidation"]) > 1e-6


def test_folds_have_whole_patients(images):
    from pyspark.sql.functions import countDistinct

    folded = with_patient_folds(images.drop("pixels"), 3, seed=1).persist()
    assert folded.count() == images.count()
    by_patient = folded.groupBy("patient").agg(countDistinct("fold").alias("folds"))
    assert by_patient.where("folds != 1").count() == 0
    sizes = folded.groupBy("fold").agg(countDistinct("patient")).collect()
    counts = dict(sorted(tuple(row) for row in sizes))
    assert list(counts) == [0, 1, 2]
    assert max(counts.values()) - min(counts.values()) <= 1
    others = with_patient_folds(images.drop("pixels"), 3, seed=2)
    assert (
        folded.select("image", "fold").exceptAll(others.select("image", "fold")).count()
    )
    with refused("folds must be from 2 to the [0-9]+ patients. Got 1"):
        with_patient_folds(images, 1, seed=0)


def test_the_evaluator_is_the_records_metric(session):
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 15)) < 0.3).astype(np.float32)
    scores = (rng.random(labels.shape) + 0.4 * labels).astype(np.float32)
    rows = list(zip(labels.tolist(), scores.tolist(), strict=True))
    rows.append((labels[0].tolist(), None))  # an unreadable image
    schema = "labels array<float>, probabilities array<float>"
    frame = session.createDataFrame(rows, schema)
    evaluator = FindingsEvaluator()
    assert evaluator.isLargerBetter()
    expected = macro_auc(labels.astype(np.uint8), scores.astype(float))
    assert evaluator.evaluate(frame) == pytest.approx(expected)
    renamed = frame.withColumnRenamed("labels", "truth")
    assert FindingsEvaluator(labelsCol="truth").evaluate(renamed) == (
        pytest.approx(expected)
    )
    with refused("No finding has both values among the rows"):
        evaluator.evaluate(frame.limit(1))


@pytest.mark.cluster
def test_a_search_by_folds_of_patients(images, config):
    from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

    estimator = XrayEstimator(config=config, numWorkers=2)
    grid = ParamGridBuilder().addGrid(estimator.epochs, [1, 2]).build()
    search = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=grid,
        evaluator=FindingsEvaluator(),
        numFolds=2,
        foldCol="fold",
    )
    train = images.where(images.subset == "train")
    found = search.fit(with_patient_folds(train, 2, seed=0))
    assert len(found.avgMetrics) == 2
    assert all(0 < auc < 1 for auc in found.avgMetrics)
    best = grid[int(np.argmax(found.avgMetrics))][estimator.epochs]
    assert len(found.bestModel.losses) == best


def rows_with(labels, count=3):
    return [(f"{n}.png", f"{n}", f"s3://nih/{n}", "e", labels) for n in range(count)]


MIXED = [0.0] * 14 + [1.0]


@pytest.mark.parametrize(
    ("rows", "schema", "match"),
    [
        (rows_with(MIXED), ADDRESSES.replace("uri", "url"), "no column 'uri'. It has"),
        (rows_with(MIXED), ADDRESSES.replace("patient", "p"), "no column 'patient'."),
        (
            rows_with("Mass"),
            ADDRESSES.replace("array<float>", "string"),
            "Column 'labels' must be of type array<float> or .* Got string",
        ),
        (rows_with(MIXED[1:]), ADDRESSES, "must hold 15 labels a row.* Got 14 for"),
        (rows_with([2.0] * 15), ADDRESSES, "Labels must be 0 or 1. Got 2.0"),
        (rows_with(None), ADDRESSES, "Column 'labels' is null for image '0.png'"),
        (rows_with(MIXED), ADDRESSES, "one value only in the 3 rows"),
        ([], ADDRESSES, "training.batch_size must be at most the 0"),
    ],
)
def test_rows_that_cannot_be_trained_are_refused(session, config, rows, schema, match):
    frame = session.createDataFrame(rows, schema)
    with refused(match):
        XrayEstimator(config=config).fit(frame)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"epochs": 0}, "XrayEstimator: training.epochs: .* Got 0"),
        ({"epoch": 1}, "no parameter 'epoch'. Known ones: .*epochs"),
        ({"config": {"data": {}}}, "config: data.images is required"),
    ],
)
def test_params_that_cannot_be_used_are_refused(session, config, params, match):
    frame = session.createDataFrame(rows_with(MIXED), ADDRESSES)
    with refused(match):
        XrayEstimator(**{"config": config, **params}).fit(frame)


def test_stages_without_what_they_need_are_refused(session, bucket, images):
    settings = bucket.settings()
    settings["model"]["backbone"] = "ResNet999"
    with refused("config: model.backbone: must be one of"):
        BackboneFeaturizer(config=settings)
    with refused("BackboneFeaturizer needs config="):
        BackboneFeaturizer().transform(images)
    with refused("XrayModel has no network. Fit or load one"):
        XrayModel().transform(images)
    asynchronous = bucket.config(runner={"mode": "asynchronous"})
    with refused("trains with runner.mode=synchronous.*Got asynchronous"):
        XrayEstimator(config=asynchronous).fit(images)


@pytest.mark.cluster
def test_columns_that_do_not_fit_a_network_are_refused(fitted, images):
    (model,) = fitted.stages
    with refused("no column 'pixels'"):
        model.transform(images.drop("pixels"))
    with refused("Column 'image' must be of type binary. Got string"):
        model.transform(images, {model.inputCol: "image"})
    with refused("has a column 'labels' already"):
        model.transform(images, {model.outputCol: "labels"})


def test_labels_that_cannot_be_learned_are_refused(session):
    from pyspark.ml.linalg import Vectors

    def frame(*labels):
        rows = [(Vectors.dense(n, 1.0), row) for n, row in enumerate(labels)]
        return session.createDataFrame(rows, ["features", "labels"])

    with refused("Every finding has one value only"):
        findings_regression(frame(MIXED, MIXED))
    with refused("must hold 15 labels a row.* Got 14 to 15"):
        findings_regression(frame(MIXED, MIXED[1:]))
    with refused("Labels must be 0 or 1. Got 0.5"):
        findings_regression(frame(MIXED, [0.5] * 15))
    with refused("Column 'labels' must be of type vector. Got array<double>"):
        findings_regression(frame(MIXED), features="labels")


def test_the_script_refuses_bad_input_before_spark_starts(bucket, tmp_path, capsys):
    config = bucket.write_config(tmp_path / "run.yaml")
    options = ["--config", str(config), "--results", str(tmp_path)]
    assert main([*options, "--penalty", "-1"]) == 2
    assert_one_line(capsys.readouterr().err, "--penalty must be 0 or more")
    assert main([*options, "--set", "model.weights=gone.keras"]) == 2
    assert_one_line(capsys.readouterr().err, "gone.keras does not exist")
