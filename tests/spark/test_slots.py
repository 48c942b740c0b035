"""Jobs that are given up end, wherever Spark is with them."""

import time

import pytest

from xray.common.background import in_background
from xray.spark.slots import cancel_jobs

pytestmark = pytest.mark.slow

JOBS, END_SECONDS = 4, 30


def fail(_):
    raise ValueError("as a lost worker does")


def test_a_job_whose_stage_is_about_to_start_again_is_cancelled(cluster):
    """For most of the time of these jobs none of their stages runs."""
    rdd = cluster.context.parallelize(range(2), 2)
    for job in range(JOBS):
        stage = rdd.barrier().mapPartitions(fail)  # no last stage, or it ends the job
        ended = in_background(stage.repartition(1).collect)
        while not cluster.context.statusTracker().getActiveJobsIds():
            time.sleep(0.01)
        time.sleep(1 + 0.07 * job)
        deadline = time.monotonic() + END_SECONDS
        while not ended.done():
            assert time.monotonic() < deadline, "its caller waits for ever"
            cancel_jobs(cluster.context)
            time.sleep(0.5)
        assert "cancelled" in str(ended.exception())
