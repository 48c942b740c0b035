"""What a worker takes outside the heap, and what YARN is asked for because of it."""

import json

import pytest

from tests.conftest import ROOT
from xray.common.errors import UserError
from xray.config.backbones import BACKBONES
from xray.config.run import RunConfig
from xray.spark.memory import (
    OVERHEAD,
    RESERVE,
    SCORING,
    TRAINING,
    fit_containers,
    scoring_mib,
    training_mib,
)

DAYS = ("20261127", "20261130")  # of training, and of scoring
BENCH = ROOT / "results" / "bench"
MEASURED, SCORED = (max(BENCH.glob(f"{day}*_memory.json")) for day in DAYS)


def config(batch=16, size=128, backbone="MobileNet", memory_mib=1024, **runner):
    return RunConfig.model_validate(
        {
            "data": {
                "images": "s3://bucket/images/",
                "labels": "s3://bucket/labels.csv",
                "credentials": "credentials.yaml",
                "image_size": size,
                "memory_mib": memory_mib,
            },
            "model": {"backbone": backbone},
            "training": {"batch_size": batch},
            "runner": runner,
        }
    )


def test_a_network_that_was_not_measured_takes_as_much_as_any():
    assert set(TRAINING) < set(BACKBONES)
    for batch, size in ((16, 128), (64, 224)):
        other = training_mib(config(batch, size, "Xception"))
        assert other >= max(training_mib(config(batch, size, b)) for b in TRAINING)


@pytest.mark.parametrize("backbone", TRAINING)
def test_the_estimate_is_what_was_measured(backbone):
    results = json.loads(MEASURED.read_text())["results"]
    for (batch, size), peak in zip(results["batches"], results[backbone], strict=True):
        estimate = training_mib(config(batch, size, backbone), images=0) / RESERVE
        assert peak <= estimate * 1.02
        assert estimate <= peak * 1.2


@pytest.mark.parametrize("backbone", SCORING)
def test_the_estimate_of_scoring_is_what_was_measured(backbone):
    results = json.loads(SCORED.read_text())["results"]
    for (_, size), peak in zip(results["batches"], results[backbone], strict=True):
        estimate = scoring_mib(backbone, size) / RESERVE
        assert estimate == pytest.approx(peak, rel=0.02)
        assert scoring_mib("another", size) >= scoring_mib(backbone, size)


def test_a_worker_has_some_of_the_images_and_no_more_than_it_may_keep():
    without = training_mib(config(), images=0)
    assert training_mib(config(), images=6400) == without + 100  # of 16 KiB each
    assert training_mib(config(), images=10**9) == without + 1024
    assert training_mib(config()) == without + 1024
    assert training_mib(config(memory_mib=7)) == without + 7


@pytest.mark.parametrize("stock", [{"engine": "stock"}, {"mode": "hogwild"}])
def test_elephas_as_it_comes_takes_more(stock):
    ours = training_mib(config(), images=0)
    assert training_mib(config(**stock), images=0) == pytest.approx(2.3 * ours, abs=2)
    assert ours > 1381  # results/nih-sample, and stock:
    assert training_mib(config(**stock), images=0) > 3138


class TestContainers:
    """YARN's own defaults: at most 8192 MiB and 4 cores to a container."""

    @pytest.fixture
    def fit(self, cluster):
        from pyspark import SparkConf

        def fit(worker_mib=1500, **settings):
            conf = SparkConf(loadDefaults=False)
            conf.set("spark.executor.cores", "4").set("spark.task.cpus", "1")
            for name, value in settings.items():
                conf.set(f"spark.{name.replace('_', '.')}", str(value))
            fit_containers(conf, cluster.context._jvm, worker_mib)
            return conf.get(OVERHEAD)

        return fit

    def test_every_worker_has_its_memory(self, fit, caplog):
        assert fit() == "6000m"
        assert fit(executor_memory="2g", task_cpus=2) == "3000m"
        assert fit(executor_cores=1) == "1500m"
        assert not caplog.records

    def test_what_suffices_is_left_as_it_is(self, fit, caplog):
        assert fit(worker_mib=96) is None  # Spark's own 384 MiB
        assert fit(worker_mib=97) == "388m"
        assert fit(executor_memory="1000m", executor_memoryOverheadFactor=6) is None
        assert fit(executor_pyspark_memory="6g") is None
        assert not caplog.records

    def test_no_more_is_asked_for_than_a_container_may_have(self, fit, caplog):
        assert fit(executor_memory="3g") == "5120m"
        assert "may take 6000 MiB" in caplog.text
        assert "and have 5120 (spark.executor.memoryOverhead)" in caplog.text
        assert "Its heap has 3072 MiB, a container 8192 at most" in caplog.text

    def test_too_little_of_the_users_own_is_told(self, fit, caplog):
        assert fit(executor_memoryOverhead="6g") == "6g"
        assert not caplog.records
        assert fit(executor_memoryOverhead="1g") == "1g"
        assert "may take 6000 MiB" in caplog.text
        assert "have 1024" in caplog.text

    def test_more_cores_than_a_container_may_have_are_refused(self, fit):
        rule = "4 core.s. at most .yarn.scheduler.maximum-allocation-vcores.*Got exec"
        with pytest.raises(UserError, match=rule):
            fit(executor_cores=5)
