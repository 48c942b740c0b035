"""A running Spark context: its workers, our code on them, and its end."""

import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT
from xray.common.errors import UserError
from xray.config.run import RunnerConfig
from xray.spark.cluster import join_cluster, start_cluster
from xray.spark.slots import wait_for_slots


@pytest.mark.slow
class TestRunningCluster:
    def test_workers_follow_from_the_cluster(self, cluster):
        assert cluster.workers == 2
        assert cluster.threads_per_worker == 1

    def test_executors_are_given_the_drivers_copy_of_the_code(self, cluster):
        def places(_):
            yield from sys.path

        paths = cluster.context.parallelize([0], 1).mapPartitions(places).collect()
        assert any(path.endswith("xray.zip") for path in paths)

    def test_executors_are_given_every_module_in_every_folder(self, cluster):
        def names(_):
            (path,) = (path for path in sys.path if path.endswith("xray.zip"))
            yield from zipfile.ZipFile(path).namelist()

        shipped = cluster.context.parallelize([0], 1).mapPartitions(names).collect()
        ours = (ROOT / "xray").rglob("*.py")
        assert set(shipped) == {str(path.relative_to(ROOT)) for path in ours}
        assert any(name.count("/") > 1 for name in shipped)

    def test_a_context_is_joined_with_our_code_and_thread_limits(self, cluster):
        context = cluster.context
        known = list(context._python_includes), dict(context.environment)
        joined = join_cluster(context, RunnerConfig(workers=1))
        assert (joined.workers, joined.threads_per_worker) == (1, 1)
        assert (context._python_includes, context.environment) == known

        plain = type(context.environment)()
        context.environment, before = plain, context.environment
        try:
            join_cluster(context, RunnerConfig())
            assert context.environment["TF_NUM_INTRAOP_THREADS"] == "1"
        finally:
            context.environment = before

    def test_too_few_slots_are_refused(self, cluster):
        with pytest.raises(UserError, match="5 worker.s. of 1 core.s. need"):
            wait_for_slots(cluster.context, 5, wait_seconds=60)

    def test_a_context_that_runs_is_taken_and_left_as_it_is(self, cluster):
        for _ in range(2):
            taken = start_cluster(RunnerConfig(workers=1))
            assert (taken.context, taken.workers) == (cluster.context, 1)
            taken.stop()
            assert cluster.context.parallelize([1, 2], 2).sum() == 3
        with pytest.raises(UserError, match="5 worker.s. of 1 core.s. need"):
            start_cluster(RunnerConfig(workers=5))
        assert cluster.context.parallelize([1, 2], 2).sum() == 3

    def test_a_context_that_does_not_suit_is_refused(self, cluster):
        refusal = (
            r"already, on local\[2\]. Got runner.master=local\[4\]. Set it to null"
        )
        with pytest.raises(UserError, match=refusal):
            start_cluster(RunnerConfig(master="local[4]"))


ACCUMULATORS_END = """
import threading
from xray.config.run import RunnerConfig
from xray.spark.cluster import start_context

context = start_context(RunnerConfig(master="local[1]"))
server, handled = context._accumulatorServer, threading.Event()
end = server.shutdown_request
server.shutdown_request = lambda request: (end(request), handled.set())
{}
assert handled.wait(60)
"""


def run_until_accumulators_end(way):
    command = [sys.executable, "-c", ACCUMULATORS_END.format(way)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_a_java_that_ends_leaves_no_traceback():
    job = "assert context.parallelize([1], 1).count() == 1"  # Java connects
    done = run_until_accumulators_end(f"{job}; context._gateway.proc.kill()")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_another_fault_of_the_accumulators_is_told():
    fault = "import socket; wrong = socket.create_connection(server.server_address)"
    way = f"server.auth_token = 'x'; {fault}; wrong.send(b'y'); wrong.close()"
    done = run_until_accumulators_end(way)
    assert done.returncode == 0, done.stderr
    assert "is not correct" in done.stderr
