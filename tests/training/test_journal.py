"""The journal: what a run leaves, however far it came."""

from dataclasses import replace

import pytest

from tests.refusals import SECRET
from xray.config.run import RunConfig
from xray.data.dataset import find_dataset
from xray.records.record import Retry, RunRecord, Worker, work_differences
from xray.records.timing import PHASES
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.epoch_log import TrainedEpoch
from xray.training.journal import Journal
from xray.training.recording import build_record
from xray.training.schedule import Course
from xray.training.tensorboard import TensorBoardLog

DATA = {"images": "s3://bucket/images/", "labels": "s3://bucket/labels.csv"}


def make_config(**sections: dict) -> RunConfig:
    return RunConfig.model_validate({"data": DATA} | sections)


@pytest.fixture(scope="module")
def dataset(bucket):
    config = bucket.config()
    return find_dataset(
        config.data,
        Storage(load_access(config.data.credentials, config.data.endpoint_url)),
    )


def make_journal(bucket, dataset, **sections: dict) -> Journal:
    return Journal("sequential", bucket.config(**sections), dataset=dataset)


def test_record_of_an_empty_journal():
    record = build_record(Journal("gpu", make_config()), "failed", "no GPU")
    assert (record.status, record.error, record.runner) == ("failed", "no GPU", "gpu")
    assert record.work_id is None
    assert record.work == {}
    assert record.scores is None
    assert record.images.listed == record.images_trained == 0
    assert record.images_per_second.overall is None
    assert record.global_batch_size is None
    assert set(record.cpu_seconds) == set(PHASES)
    assert record.phases.total > 0
    assert record.config == make_config().to_dict()
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


def test_rates_of_hand_made_epochs(bucket, dataset):
    journal = make_journal(bucket, dataset)
    journal.timer.seconds["fit"] = 10.0
    for seconds in (6.0, 2.0, 1.0):
        journal.add_epoch(TrainedEpoch(seconds, loss=0.5))
    record, images = build_record(journal), len(dataset.train)
    assert record.images_trained == 3 * images
    assert record.images_per_second.overall == pytest.approx(3 * images / 10)
    assert record.images_per_second.steady == pytest.approx(2 * images / 3)
    assert [e.epoch for e in record.epochs] == [1, 2, 3]
    assert [e.images_per_second for e in record.epochs] == pytest.approx(
        [images / 6, images / 2, images]
    )


def test_an_epochs_line_tells_how_long_those_left_will_train(bucket, dataset, capsys):
    journal = make_journal(bucket, dataset, training={"epochs": 10})
    for seconds in (60.0, 20.0):
        journal.add_epoch(TrainedEpoch(seconds, loss=0.5))
    journal.log.epochs[-1].auc_validation = 0.7126
    journal.tell_epoch()
    rate = f"{len(dataset.train) / 20:.1f} images/s"
    said = f"epoch 2/10: loss 0.5000, validation AUC 0.713, {rate}, 05:20 left to train"
    assert capsys.readouterr().err == f"[00:00] {said}\n"


def test_nothing_is_left_to_train_once_a_run_stops_early(bucket, dataset, capsys):
    journal = make_journal(
        bucket,
        dataset,
        data={"validation_fraction": 0.25},
        training={"epochs": 10, "early_stopping": 1},
    )
    journal.add_epoch(TrainedEpoch(60.0, loss=0.5))
    journal.log.course = Course(epochs=3, best_epoch=2)
    journal.tell_epoch()
    assert "left to train" not in capsys.readouterr().err


def test_share_of_an_epoch_spent_waiting_for_images(bucket, dataset):
    journal = make_journal(bucket, dataset)
    journal.timer.seconds["fit"] = 20.0
    journal.add_epoch(TrainedEpoch(10.0, 0.5, wait_seconds=2.5))
    journal.add_epoch(TrainedEpoch(10.0, 0.5))
    assert [e.data_wait_fraction for e in build_record(journal).epochs] == [0.25, None]


def test_one_epoch_has_no_steady_rate(bucket, dataset):
    journal = make_journal(bucket, dataset)
    journal.timer.seconds["fit"] = 10.0
    journal.add_epoch(TrainedEpoch(9.0, None, elapsed_seconds=42.0))
    record = build_record(journal)
    assert record.images_per_second.steady is None
    assert (record.epochs[0].elapsed_seconds, record.epochs[0].loss) == (42.0, None)


def test_skipped_images_are_counted_and_named(bucket, dataset):
    journal = make_journal(bucket, dataset)
    skipped = [*dataset.train.names[:3], dataset.test.names[0]]
    journal.skipped = {str(name): "truncated" for name in skipped}
    images = build_record(journal).images
    assert images.listed == images.matched == 160
    assert images.train == journal.train_images() == len(dataset.train) - 3
    assert images.test == len(dataset.test) - 1
    assert images.skipped[0] == {"image": skipped[0], "reason": "truncated"}
    assert len(images.skipped) == 4


def test_batches_and_cpu_seconds_of_all_workers(bucket, dataset):
    journal = make_journal(bucket, dataset)
    journal.workers = 2
    journal.timer.cpu_seconds["fit"] = 1.0
    journal.log.per_worker = [
        Worker(
            worker=n, images=64, fit_seconds=5, cpu_seconds=4, peak_memory_bytes=2**20
        )
        for n in range(2)
    ]
    record = build_record(journal)
    assert record.global_batch_size == 2 * 8
    assert record.cpu_seconds["fit"] == 9.0


def test_work_is_the_same_for_other_runners_and_reporting(bucket, dataset):
    first = build_record(make_journal(bucket, dataset))
    journal = make_journal(
        bucket,
        dataset,
        runner={"workers": 3, "mode": "hogwild"},
        training={"evaluate_every_epoch": True},
        data={"read_threads": 2, "cache_dir": "/tmp/x"},
        output={"models": "models", "tensorboard": "logs"},
    )
    other = build_record(journal)
    assert first.work_id == other.work_id
    assert set(first.work) == {"dataset", "split", "model", "training"}


def test_work_depends_on_every_label_patient_name_and_content(bucket, dataset):
    ids = {build_record(make_journal(bucket, dataset)).work_id}
    for side in ("train", "test"):
        subset = getattr(dataset, side)
        for column in ("names", "etags", "patients", "labels"):
            changed = getattr(subset, column).copy()
            if column == "labels":
                changed[3, 5] ^= 1
            else:
                changed[3] = "x"
            other = replace(subset, **{column: changed})
            journal = make_journal(bucket, replace(dataset, **{side: other}))
            ids.add(build_record(journal).work_id)
    assert len(ids) == 9


def test_work_does_not_depend_on_where_the_images_are(bucket, dataset):
    moved = replace(dataset.train, uris=dataset.train.uris[::-1])
    one = make_journal(bucket, dataset)
    other = make_journal(bucket, replace(dataset, train=moved))
    assert build_record(one).work_id == build_record(other).work_id


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"epochs": 3}},
        {"training": {"seed": 1}},
        {"model": {"dropout": 0.2}},
        {"data": {"image_size": 64}},
    ],
)
def test_work_depends_on_what_moves_a_number(bucket, dataset, sections):
    first = build_record(make_journal(bucket, dataset))
    assert (
        build_record(make_journal(bucket, dataset, **sections)).work_id != first.work_id
    )


def test_work_depends_on_the_skipped_images(bucket, dataset):
    journal = make_journal(bucket, dataset)
    before = build_record(journal).work_id
    journal.skipped = {str(dataset.train.names[0]): "truncated"}
    assert build_record(journal).work_id != before


def test_work_holds_the_weights_themselves_not_their_place(bucket, dataset):
    works = []
    for place in ("/tmp/a.weights.h5", "s3://nih/b.weights.h5"):
        journal = make_journal(bucket, dataset, model={"weights": place})
        journal.initial_weights = "0123456789abcdef"
        works.append(build_record(journal).work_id)
    assert works[0] == works[1]


def test_secrets_are_absent(own_bucket):
    keys = {"aws_access_key_id": "AKID", "aws_secret_key_id": SECRET}
    own_bucket.credentials.write_text("".join(f"{k}: {v}\n" for k, v in keys.items()))
    journal = Journal("sequential", own_bucket.config())
    load_access(journal.config.data.credentials, journal.config.data.endpoint_url)
    text = build_record(journal).model_dump_json()
    assert str(own_bucket.credentials) in text
    assert SECRET not in text
    assert "AKID" not in text


def test_secrets_and_hosts_of_the_configuration_are_hidden(bucket, dataset):
    spark_conf = {
        "spark.authenticate": "true",
        "spark.authenticate.secret": SECRET,
        "spark.ssl.keyStorePassword": SECRET,
        "spark.hadoop.fs.s3a.secret.key": SECRET,
        "spark.driver.extraJavaOptions": f"-Dproxy.password={SECRET}",
        "spark.driver.host": "node7.example.org",
    }
    endpoint = f"http://me:{SECRET}@node7.example.org:9000"
    journal = make_journal(bucket, dataset, runner={"spark_conf": spark_conf})
    plain = build_record(journal)
    data = journal.config.data.model_copy(update={"endpoint_url": endpoint})
    journal.config = journal.config.model_copy(update={"data": data})
    journal.machine["spark_master"] = "spark://node7.example.org:7077"
    journal.skipped["a.png"] = f"{endpoint} broke off"
    journal.log.retries = [Retry(epoch=1, rounds=0, reason="on host node7.example.org")]
    record = build_record(journal, "failed", f"S3 at {endpoint} does not answer")
    text = record.model_dump_json()
    assert SECRET not in text
    assert "node7" not in text
    assert record.config["runner"]["spark_conf"]["spark.authenticate"] == "true"
    assert record.config["data"]["endpoint_url"].startswith("http://***@host-")
    # Nothing but the refused image tells the two works apart.
    assert work_differences(plain.work, record.work) == ["dataset.skipped"]


def test_events_follow_the_epochs(bucket, dataset, tmp_path):
    journal = make_journal(bucket, dataset)
    journal.events = TensorBoardLog(tmp_path, "run")
    journal.timer.seconds["fit"] = 6.0
    (file,) = journal.events.folder.iterdir()
    sizes = [file.stat().st_size]
    journal.add_epoch(TrainedEpoch(6.0, loss=0.5))
    sizes.append(file.stat().st_size)
    journal.log.epochs[-1].auc_macro = 0.7
    journal.show_epochs()
    sizes.append(file.stat().st_size)
    journal.show_epochs()  # nothing new
    assert sizes[0] < sizes[1] < sizes[2] == file.stat().st_size
    assert build_record(journal).tensorboard == str(journal.events.folder)


def test_models_are_kept_only_where_they_are_saved():
    journal = Journal("gpu", make_config())
    journal.keep_models(None)
    assert (journal.model, journal.models) == (None, {})
    assert build_record(journal).models is None


def test_runner_adds_to_the_machine():
    journal = Journal("gpu", make_config(), machine={"gpu": "Example GPU"})
    machine = build_record(journal).machine
    assert machine["gpu"] == "Example GPU"
    assert machine["cores"] >= 1
