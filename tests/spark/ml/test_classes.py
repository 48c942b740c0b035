"""A stage has one name, whichever module its class stands in."""

import pickle

import pytest

from xray import spark_ml
from xray.spark.ml import classes, stages


@pytest.mark.parametrize("name", stages.__all__)
def test_pipelines_and_pickles_know_a_stage_by_its_lasting_name(name):
    from pyspark import cloudpickle

    stage = getattr(stages, name)
    assert stage is getattr(classes, name)
    assert f"{stage.__module__}.{stage.__qualname__}" == f"xray.spark.ml.stages.{name}"
    for written in (pickle.dumps(stage), cloudpickle.dumps(stage)):
        assert b"xray.spark.ml.stages" in written
        assert pickle.loads(written) is stage


@pytest.mark.parametrize("name", stages.__all__)
def test_pipelines_of_the_first_layout_find_their_stages(name):
    assert getattr(spark_ml, name) is getattr(stages, name)


@pytest.mark.parametrize("module", [stages, spark_ml])
def test_a_module_gives_nothing_but_stages(module):
    with pytest.raises(AttributeError, match="no attribute 'NetworkStage'"):
        _ = module.NetworkStage
