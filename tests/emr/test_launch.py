"""Sweeps on a stand-in for AWS: run, followed, interrupted, looked at, ended."""

import json
import signal
import time

import boto3
import pytest
from moto.server import ThreadedMotoServer

from emr import launch
from tests.conftest import assert_one_line
from tests.emr.account import (
    BUCKET,
    SECRET,
    assert_nothing_runs,
    refused,
    start_process,
    wait_for_cluster,
)
from tests.emr.service import REGION, Machinery, clusters
from tests.runners.test_runners import read_record
from xray.records.reading import read_records

pytest_plugins = ["tests.emr.account"]


@pytest.mark.slow
def test_a_sweep_ends_with_records_report_and_no_cluster(aws, arguments, tmp_path):
    with Machinery(tmp_path, aws) as machinery:
        assert launch.main(arguments(1, 2)) == 0
    assert machinery.ran == ["elephas-e1-r1", "elephas-e2-r1"]
    records, left_out = read_records(tmp_path / "results")
    assert [record.workers for record in records] == [1, 2]
    assert left_out == []
    assert records[1].machine["nodes"] == 3  # with the primary node
    assert len(records[1].git["commit"]) == 40
    assert records[1].emr["run"] == "elephas-e2-r1"
    assert (tmp_path / "results" / "report" / "report.html").exists()
    assert len(clusters()) == 1
    assert_nothing_runs()


@pytest.mark.slow
def test_the_same_command_again_runs_only_what_is_missing(aws, arguments, tmp_path):
    with Machinery(tmp_path, aws) as machinery:
        assert launch.main(arguments(1)) == 0
        assert launch.main(arguments(1)) == 0
        assert len(clusters()) == 1
        assert launch.main(arguments(1, 3)) == 0
    assert machinery.ran == ["elephas-e1-r1", "elephas-e3-r1"]


@pytest.mark.slow
def test_no_secret_reaches_aws(aws, arguments, tmp_path):
    with Machinery(tmp_path, aws):
        assert launch.main(arguments(1)) == 0
    (cluster,) = clusters()
    sent = [json.dumps(vars(step), default=str) for step in cluster.steps]
    for item in aws.list_objects_v2(Bucket=BUCKET)["Contents"]:
        sent.append(aws.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read())
    assert len(sent) > 5
    assert not any(SECRET in str(one) or "credentials.yaml" in str(one) for one in sent)


@pytest.mark.cluster
def test_after_a_failed_step_the_others_go_on_and_its_end_is_shown(
    aws, arguments, tmp_path, capsys
):
    with Machinery(tmp_path, aws, failing=2):
        parts = ("elephas-e2-r1", "FAILED", "'nih' does not exist", "2 of 3 runs")
        refused(capsys, arguments(1, 2, 4), *parts)
    assert_nothing_runs()
    records, _ = read_records(tmp_path / "results")
    states = [(record.workers, record.status) for record in records]
    assert states == [(1, "success"), (2, "failed"), (4, "success")]
    with Machinery(tmp_path, aws) as mended:
        assert launch.main(arguments(1, 2, 4)) == 0
    assert mended.ran == ["elephas-e2-r1"]


@pytest.mark.cluster
def test_a_lost_step_is_run_again_from_its_checkpoint(aws, arguments, tmp_path, capsys):
    waiting = []

    def hold_the_last(cluster, step):
        """Until the launcher has seen the lost one, as a run of minutes would."""
        if step.name == "elephas-e2-r1" and not waiting:
            waiting.append(step)
            deadline = time.monotonic() + 30
            while len(cluster.steps) < 3 and time.monotonic() < deadline:
                time.sleep(0.1)

    with Machinery(tmp_path, aws, lost=1, before=hold_the_last) as machinery:
        assert launch.main(arguments(1, 2)) == 0
    assert machinery.ran == ["elephas-e1-r1", "elephas-e2-r1", "elephas-e1-r1"]
    assert "elephas-e1-r1: the step was lost" in capsys.readouterr().err
    records, _ = read_records(tmp_path / "results")
    assert [(r.workers, r.status) for r in records] == [(2, "success"), (1, "success")]
    keys = [o["Key"] for o in aws.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert not [key for key in keys if key.endswith(".npz")], "its use is over"


@pytest.mark.cluster
def test_a_step_that_is_lost_last_goes_on_with_the_same_command(
    aws, arguments, tmp_path, capsys
):
    with Machinery(tmp_path, aws, lost=1) as machinery:
        refused(capsys, arguments(1), "elephas-e1-r1", "FAILED", "the same command")
        assert launch.main(arguments(1)) == 0  # another cluster, the same checkpoint
    assert machinery.ran == ["elephas-e1-r1"] * 2
    assert read_record(tmp_path / "results").status == "success"


@pytest.mark.cluster
def test_a_step_that_is_lost_last_is_run_again_where_the_cluster_still_waits(
    aws, arguments, tmp_path, capsys
):
    with Machinery(tmp_path, aws, lost=1, lingers=True) as machinery:
        assert launch.main(arguments(1)) == 0
    assert machinery.ran == ["elephas-e1-r1"] * 2
    assert len(clusters()) == 1
    assert "elephas-e1-r1: the step was lost" in capsys.readouterr().err
    assert read_record(tmp_path / "results").status == "success"


@pytest.mark.parametrize("state", ["CANCELLED", "INTERRUPTED"])
def test_every_end_of_a_step_is_known(aws, arguments, tmp_path, capsys, state):
    def end(cluster, step):
        step.state = state

    with Machinery(tmp_path, aws, before=end):
        refused(capsys, arguments(1), "elephas-e1-r1", state)
    assert_nothing_runs()


FAILURES = {
    "On the master instance, bootstrap action 1 returned a non-zero return code": (
        "bootstrap action 1",
        "test/logs/",
    ),
    "The number of vCPUs exceeds the EC2 service quota": ("quota", "Service Quotas"),
    "Terminated by user request": ("Terminated by user request",),
}


@pytest.mark.parametrize("message", FAILURES)
def test_a_cluster_that_ends_early_says_why(aws, arguments, tmp_path, capsys, message):
    def end(cluster, step):
        cluster.last_state_change_reason = message
        cluster.terminate()

    with Machinery(tmp_path, aws, before=end):
        refused(capsys, arguments(1), "ended before its runs", *FAILURES[message])


@pytest.mark.cluster
def test_a_running_cluster_of_the_sweep_is_followed(aws, arguments, tmp_path, capsys):
    process = start_process(arguments(1, 2))
    wait_for_cluster()
    process.kill()
    process.communicate()
    with Machinery(tmp_path, aws):
        assert launch.main(arguments(1, 2)) == 0
    assert len(clusters()) == 1
    assert "already; following" in capsys.readouterr().err
    assert_nothing_runs()


@pytest.mark.slow
def test_a_running_cluster_that_is_too_small_is_left_alone(aws, arguments, capsys):
    process = start_process(arguments(1))
    wait_for_cluster()
    process.kill()
    process.communicate()
    refused(capsys, arguments(1, 4), "runs with 1 core node(s); 4 are needed")
    assert [cluster.state for cluster in clusters()] == ["WAITING"]


@pytest.mark.parametrize(
    ("answer", "state"), [("\n", "TERMINATED"), ("n\n", "WAITING")]
)
def test_interruption_asks_whether_to_end_the_cluster(aws, arguments, answer, state):
    process = start_process(arguments(1))
    wait_for_cluster()
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(answer, timeout=60)
    assert "End the cluster of xray-" in output
    assert process.returncode == 2
    assert_one_line(error, "interrupted")
    assert [cluster.state for cluster in clusters()] == [state]


@pytest.mark.slow
def test_a_lost_connection_is_borne(aws, server, arguments, tmp_path):
    process = start_process(arguments(1))
    wait_for_cluster()
    host, port = server.get_host_and_port()
    server.stop()
    time.sleep(2)
    again = ThreadedMotoServer(host, port=port, verbose=False)
    server.__dict__.update(again.__dict__)
    server.start()
    with Machinery(tmp_path, aws):
        _, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    assert read_record(tmp_path / "results").status == "success"


@pytest.mark.slow
def test_status_logs_fetch_and_terminate(aws, arguments, tmp_path, capsys):
    with Machinery(tmp_path, aws):
        assert launch.main(arguments(1)) == 0
    name = clusters()[0].name
    setting = ("--cluster-set", f"s3_prefix=s3://{BUCKET}/test/")
    capsys.readouterr()
    assert launch.main(["logs", "elephas-e1-r1", *setting]) == 0
    assert "trained on 1" in capsys.readouterr().out
    fetched = ("--results", str(tmp_path / "other"))
    assert launch.main(["fetch", name, *setting, *fetched]) == 0
    assert read_record(tmp_path / "other").workers == 1
    assert launch.main(["status", *setting]) == 0
    assert "No cluster of a sweep runs" in capsys.readouterr().out
    refused(capsys, ["fetch", "xray-0000000000", *setting], "No record of")
    refused(capsys, ["logs", "elephas-e9-r1", *setting], "No step elephas-e9-r1")


def _start_foreign_cluster():
    """Of somebody else, whose name begins like ours."""
    boto3.client("emr", region_name=REGION).run_job_flow(
        Name="xray-archive",
        ReleaseLabel="emr-7.14.0",
        Instances={
            "MasterInstanceType": "m5.xlarge",
            "InstanceCount": 1,
            "KeepJobFlowAliveWhenNoSteps": True,
        },
    )


@pytest.mark.slow
def test_terminate_ends_our_clusters_only(aws, arguments, capsys):
    process = start_process(arguments(1))
    wait_for_cluster()
    process.kill()
    process.communicate()
    _start_foreign_cluster()
    assert launch.main(["status"]) == 0
    shown = capsys.readouterr().out
    assert "elephas-e1-r1" in shown
    assert "archive" not in shown
    assert launch.main(["terminate"]) == 0
    assert "1 cluster(s) ended" in capsys.readouterr().out
    states = {cluster.name[:10]: cluster.state for cluster in clusters()}
    assert states.pop("xray-archi") == "WAITING"
    assert set(states.values()) == {"TERMINATED"}
