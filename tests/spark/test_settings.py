"""Settings of the Spark context, and the masters that it may have."""

import shlex
from pathlib import Path

import pytest

from xray.common.errors import UserError
from xray.config.run import RunnerConfig
from xray.spark.settings import check_master, training_conf

GOOD_MASTERS = ["local", "local[2]", "local[*]", "local-cluster[2,1,1024]", "yarn"]


@pytest.mark.parametrize("master", GOOD_MASTERS)
def test_known_masters_pass(master):
    check_master(master)


@pytest.mark.parametrize("master", ["spark://nowhere", "lokal[2]", "http://host:1"])
def test_malformed_masters_are_refused(master):
    with pytest.raises(UserError, match="runner.master must be local"):
        check_master(master)


def test_a_master_that_does_not_answer_is_refused():
    with pytest.raises(UserError, match="spark://127.0.0.1:9 does not answer"):
        check_master("spark://127.0.0.1:9")


@pytest.fixture
def conf(monkeypatch):
    monkeypatch.delenv("SPARK_LOCAL_IP", raising=False)
    # Beside a Spark context of this process they would begin with its settings.
    monkeypatch.setattr("pyspark.SparkContext._jvm", None)

    def make(light_jvm=False, **runner):
        return dict(training_conf(RunnerConfig(**runner), 1, light_jvm).getAll())

    return make


def test_executors_are_fixed_and_equal(conf):
    settings = conf(workers=3)
    assert settings["spark.master"] == "local[3]"
    assert settings["spark.dynamicAllocation.enabled"] == "false"
    assert settings["spark.speculation"] == "false"
    assert settings["spark.executorEnv.OMP_NUM_THREADS"] == "1"
    assert "spark.task.maxFailures" not in settings


def test_executors_tell_that_they_are_told_to_go_where_others_may_go_on(conf):
    assert "spark.decommission.enabled" not in conf(workers=3)
    settings = conf(workers=3, min_workers=2)
    assert settings["spark.decommission.enabled"] == "true"
    assert settings["spark.shuffle.service.enabled"] == "false"


@pytest.mark.parametrize(
    ("runner", "threads"),
    [({}, "1"), ({"engine": "stock"}, "2"), ({"mode": "asynchronous"}, "2")],
)
def test_only_elephas_own_feed_gets_a_second_thread(conf, runner, threads):
    assert conf(**runner)["spark.executorEnv.TF_NUM_INTEROP_THREADS"] == threads


def test_local_executors_have_their_memory_in_the_drivers_process(conf):
    settings = conf(executor_memory="3g")
    assert settings["spark.driver.memory"] == "3g"
    assert "ExitOnOutOfMemoryError" in settings["spark.driver.extraJavaOptions"]
    assert "spark.driver.memory" not in conf(master="yarn")
    own = {"spark.driver.memory": "5g"}
    assert conf(spark_conf=own)["spark.driver.memory"] == "5g"


@pytest.mark.parametrize("side", ["driver", "executor"])
def test_java_that_computes_nothing_has_the_quick_compiler_alone(conf, side):
    name = f"spark.{side}.extraJavaOptions"
    assert "TieredStopAtLevel=1" in conf(light_jvm=True)[name]
    assert "TieredStopAtLevel" not in conf().get(name, "")
    assert conf(light_jvm=True, spark_conf={name: "-Xint"})[name] == "-Xint"


def test_executors_on_this_machine_map_the_archive_of_classes(conf, monkeypatch):
    option = "-XX:SharedArchiveFile=/spark-classes.jsa"
    monkeypatch.setattr("xray.spark.settings.archive_options", lambda: [option])
    name = "spark.executor.extraJavaOptions"
    for master in ("local[2]", "local-cluster[2,1,512]", "spark://127.0.0.1:7077"):
        assert option in conf(master=master)[name]
    for master in ("yarn", "spark://10.0.0.1:7077", "spark://127x:7077"):
        assert option not in conf(master=master).get(name, "")


def test_java_of_our_own_is_quiet(conf):
    (option,) = (
        part
        for part in shlex.split(conf()["spark.driver.extraJavaOptions"])
        if part.startswith("-Dlog4j2.configurationFile=")
    )
    assert "rootLogger.level = error" in Path(option.partition("=")[2]).read_text()


def test_asynchronous_updates_are_never_applied_twice(conf):
    assert conf(mode="asynchronous")["spark.task.maxFailures"] == "1"


def test_the_users_spark_settings_win(conf):
    assert conf(spark_conf={"spark.speculation": "true"})["spark.speculation"] == "true"
