"""The cluster description and the Spark settings that follow from it."""

import pytest

from emr.settings import CLUSTER, load_settings
from emr.spark import spark_settings, submit_command
from tests.refusals import refused


def test_the_described_cluster_is_valid():
    settings = load_settings()
    assert settings.release.startswith("emr-7.")
    assert settings.uri("logs", "x") == "s3://CHANGE-ME/xray/logs/x"


def test_an_executor_fills_one_node_beside_the_application_master():
    settings = load_settings()
    spark = spark_settings(settings, 4)
    container = sum(
        int(spark[f"spark.executor.{name}"].rstrip("m"))
        for name in ("memory", "memoryOverhead")
    )
    assert settings.yarn_mib == 12288
    assert settings.yarn_mib / 2 < container <= settings.yarn_mib - 896
    assert spark["spark.executor.instances"] == "4"
    assert spark["spark.executor.cores"] == "3"
    assert spark["spark.task.cpus"] == "1"


@pytest.mark.parametrize(
    "name",
    [
        "spark.dynamicAllocation.enabled",
        "spark.yarn.heterogeneousExecutors.enabled",
        "spark.speculation",
    ],
)
def test_what_spoils_a_scaling_study_is_off(name):
    assert spark_settings(load_settings(), 2)[name] == "false"


def test_one_attempt_a_task():
    assert spark_settings(load_settings(), 2)["spark.task.maxFailures"] == "1"


def test_workers_share_the_executors_cores():
    assert "runner.workers=12" in submit_command(load_settings(), 4)
    settings = load_settings(overrides=["spark.workers_per_executor=1"])
    command = submit_command(settings, 4)
    assert "runner.workers=4" in command
    assert "runner.threads_per_worker=3" in command
    assert spark_settings(settings, 4)["spark.task.cpus"] == "3"


def test_the_users_spark_settings_win():
    settings = load_settings(overrides=["spark.conf={spark.task.maxFailures: '4'}"])
    assert spark_settings(settings, 1)["spark.task.maxFailures"] == "4"


REFUSED = {
    "release=emr-8.0.0": "release must be emr-7.1.0 or a later 7",
    "release=emr-7.0.0": "Python 3.11",
    "release=latest": "release: .*Got 'latest'",
    "s3_prefix=my-bucket": "s3_prefix: .*Got 'my-bucket'",
    "market=CHEAP": "market: ",
    "spot_minutes=1": "spot_minutes: .*Got 1",
    "tags={xray-sweep: mine}": "xray-sweep is not yours to set",
    "core.vcpus=1": "core.vcpus",
    "spark.workers_per_executor=9": "m5.xlarge has 4, 1 of them for the system",
    "spark.executor_heap_mib=10000": "each node leaves TensorFlow 1264 MiB",
    "reigon=us-east-1": "unknown key 'reigon'. Did you mean 'region'",
    "core.vcpu=8": "unknown key 'core.vcpu'. Did you mean 'core.vcpus'",
    "spark.xyz=1": "unknown key 'spark.xyz'. Known keys: cores_for_system",
    "region={": "--cluster-set region: the value is not YAML",
    "region": "--cluster-set takes key=value",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_wrong_setting_is_refused_in_one_line(override):
    with refused(REFUSED[override]):
        load_settings(CLUSTER, [override])
