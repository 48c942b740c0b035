"""The launcher against moto's HTTP server: EMR, S3, IAM, EC2 and STS."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import boto3
import moto.settings
import pyspark
import pytest
import yaml
from moto.server import ThreadedMotoServer

from emr import launch
from emr.packaging import environment_name
from tests.conftest import ROOT, assert_one_line
from tests.emr_service import REGION, Machinery, clusters
from tests.test_runners import read_record
from xray.java import find_java_home
from xray.local_cluster import start_workers
from xray.record import read_records

BUCKET = "xray-sweeps"
SECRET = "moto/Secret+Value"


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def aws(server, monkeypatch, tmp_path):
    """An S3 client, in an account with a bucket, roles and labels."""
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.chdir(ROOT)
    s3 = boto3.client("s3", region_name=REGION)
    _reset(s3)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="labels.csv", Body=b"Image Index\n")
    iam = boto3.client("iam", region_name=REGION)
    iam.create_instance_profile(InstanceProfileName="EMR_EC2_DefaultRole")
    iam.create_role(RoleName="EMR_DefaultRole", AssumeRolePolicyDocument="{}")
    return s3


def _reset(client):
    url = f"{client.meta.endpoint_url}/moto-api/reset"
    urllib.request.urlopen(urllib.request.Request(url, method="POST")).close()


@pytest.fixture
def arguments(tmp_path):
    """Arguments of a sweep that builds no environment and looks often."""
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / environment_name()).write_bytes(b"not unpacked here")
    config = {
        "data": {
            "images": f"s3://{BUCKET}/images/",
            "labels": f"s3://{BUCKET}/labels.csv",
            "credentials": "credentials.yaml",
        }
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))

    def make(*executors, more=()):
        return [
            *("sweep", "--executors", *map(str, executors)),
            *("--config", str(tmp_path / "run.yaml")),
            *("--cluster-set", f"s3_prefix=s3://{BUCKET}/test/"),
            *("--results", str(tmp_path / "results")),
            *("--build", str(tmp_path / "build"), "--poll-seconds", "0.1", *more),
        ]

    return make


def assert_nothing_runs():
    assert {cluster.state for cluster in clusters()} <= {"TERMINATED"}


def refused(capsys, arguments, *parts):
    """The command ends with exit code 2 and one line that holds every part."""
    assert launch.main(arguments) == 2
    shown = capsys.readouterr()
    assert_one_line(shown.err, *parts)
    assert SECRET not in shown.err + shown.out


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


@pytest.mark.slow
def test_a_failed_step_shows_its_end_and_keeps_records(
    aws, arguments, tmp_path, capsys
):
    with Machinery(tmp_path, aws, failing=2):
        parts = ("elephas-e2-r1", "FAILED", "'nih' does not exist")
        refused(capsys, arguments(1, 2, 4), *parts)
    assert_nothing_runs()
    records, _ = read_records(tmp_path / "results")
    assert [(r.workers, r.status) for r in records] == [(1, "success"), (2, "failed")]
    with Machinery(tmp_path, aws) as mended:
        assert launch.main(arguments(1, 2, 4)) == 0
    assert mended.ran == ["elephas-e2-r1", "elephas-e4-r1"]


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


@pytest.mark.slow
def test_a_running_cluster_of_the_sweep_is_followed(aws, arguments, tmp_path, capsys):
    process = _start_process(arguments(1, 2))
    _wait_for_cluster()
    process.kill()
    process.communicate()
    with Machinery(tmp_path, aws):
        assert launch.main(arguments(1, 2)) == 0
    assert len(clusters()) == 1
    assert "already; following" in capsys.readouterr().err
    assert_nothing_runs()


@pytest.mark.slow
def test_a_running_cluster_that_is_too_small_is_left_alone(aws, arguments, capsys):
    process = _start_process(arguments(1))
    _wait_for_cluster()
    process.kill()
    process.communicate()
    refused(capsys, arguments(1, 4), "runs with 1 core node(s); 4 are needed")
    assert [cluster.state for cluster in clusters()] == ["WAITING"]


def _start_process(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "emr.launch", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _wait_for_cluster():
    deadline = time.monotonic() + 60
    while not clusters() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert clusters()


@pytest.mark.parametrize(
    ("answer", "state"), [("\n", "TERMINATED"), ("n\n", "WAITING")]
)
def test_interruption_asks_whether_to_end_the_cluster(aws, arguments, answer, state):
    process = _start_process(arguments(1))
    _wait_for_cluster()
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(answer, timeout=60)
    assert "End the cluster of xray-" in output
    assert process.returncode == 2
    assert_one_line(error, "interrupted")
    assert [cluster.state for cluster in clusters()] == [state]


@pytest.mark.slow
def test_a_lost_connection_is_borne(aws, server, arguments, tmp_path):
    process = _start_process(arguments(1))
    _wait_for_cluster()
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


def test_without_credentials(aws, arguments, capsys, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(capsys, arguments(1), "No AWS credentials", "--credentials")


def test_keys_that_aws_does_not_know(aws, arguments, capsys, monkeypatch):
    monkeypatch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    refused(capsys, arguments(1), "refuses these credentials")


def test_keys_may_come_from_the_yaml_file(aws, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    path = tmp_path / "credentials.yaml"
    path.write_text(f"aws_access_key_id: AKIAEXAMPLE\naws_secret_key_id: {SECRET}\n")
    path.chmod(0o600)
    assert launch.main(["status", "--credentials", str(path)]) == 0


def _use_policy(monkeypatch, drop=""):
    """Become a user who has the documented policy, without the action `drop`."""
    text = (ROOT / "emr" / "iam_policy.json").read_text()
    text = text.replace("YOUR-BUCKET/xray", f"{BUCKET}/test")
    text = text.replace("YOUR-DATA-BUCKET/Data_Entry_2017_v2020", f"{BUCKET}/labels")
    # moto names an action that AWS has not, and asks for EMR's actions on all clusters.
    text = text.replace("arn:aws:elasticmapreduce:*:*:cluster/*", "*")
    text = text.replace('"s3:ListBucket"', '["s3:ListBucket", "s3:HeadBucket"]')
    text = text.replace("YOUR-BUCKET", BUCKET).replace("YOUR-DATA-BUCKET", BUCKET)
    iam = boto3.client("iam", region_name=REGION)
    iam.create_user(UserName="launcher")
    iam.put_user_policy(
        UserName="launcher",
        PolicyName="sweeps",
        PolicyDocument=text.replace(drop, "emr:Nothing") if drop else text,
    )
    key = iam.create_access_key(UserName="launcher")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)


@pytest.mark.slow
def test_the_documented_policy_is_enough(aws, arguments, tmp_path, monkeypatch):
    _use_policy(monkeypatch)
    s3 = boto3.Session().client("s3", region_name=REGION)
    with Machinery(tmp_path, s3):
        assert launch.main(arguments(1)) == 0
    assert_nothing_runs()


def test_a_missing_permission_is_named(aws, arguments, capsys, monkeypatch):
    _use_policy(monkeypatch, drop="elasticmapreduce:ListReleaseLabels")
    refused(capsys, arguments(1), "denies ListReleaseLabels", "emr/iam_policy.json")


REFUSED = {
    "region=us-mars-1": ("region must be one where EMR runs", "'us-mars-1'"),
    "release=emr-7.99.0": ("no release 'emr-7.99.0'", "emr-7.14.0"),
    "core.instance_type=m5.huge": ("no instance type 'm5.huge'",),
    "core.instance_type=m6g.xlarge": ("must be x86-64",),
    "primary.vcpus=8": ("m5.xlarge has 4 vcpus", "Got 8"),
    "service_role=Nobody": ("no service_role 'Nobody'", "create-default-roles"),
    "job_flow_role=Nobody": ("no job_flow_role 'Nobody'",),
    "subnet=subnet-0123": ("subnet-0123",),
    "s3_prefix=s3://no-such-bucket/x": ("'no-such-bucket' of s3_prefix does not",),
    "s3_prefix=s3://CHANGE-ME/x": ("s3_prefix must name a bucket of yours",),
    "s3_prefix=s3://elsewhere/x": ("'elsewhere' is in eu-west-1", "us-east-1"),
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_cannot_work_starts_no_cluster(aws, arguments, capsys, setting):
    aws_there = boto3.client("s3", region_name="eu-west-1")
    place = {"LocationConstraint": "eu-west-1"}
    aws_there.create_bucket(Bucket="elsewhere", CreateBucketConfiguration=place)
    refused(capsys, arguments(1, more=("--cluster-set", setting)), *REFUSED[setting])
    assert clusters() == []


def test_missing_labels_start_no_cluster(aws, arguments, capsys):
    more = ("--set", f"data.labels=s3://{BUCKET}/other.csv")
    refused(capsys, arguments(1, more=more), "There is no", "other.csv")
    assert clusters() == []


CANCELLED = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--results") + 1])
def stop(*_):
    folder.mkdir()
    (folder / "aborted.json").write_text('{"status": "aborted", "runner": "gpu"}')
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_cancelled_step_still_brings_its_record(aws):
    aws.put_object(Bucket=BUCKET, Key="test/sweeps/s/config.yaml", Body=b"data: {}")
    options = ("--run", "one", "--sweep", f"s3://{BUCKET}/test/sweeps/s")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "emr.step", *options),
            *("--", sys.executable, "-c", CANCELLED),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "ready\n"
    process.terminate()
    assert process.wait(60) == 130
    process.stderr.close()
    key = "test/sweeps/s/runs/one/aborted.json"
    record = json.loads(aws.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert (record["status"], record["emr"]["run"]) == ("aborted", "one")


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


@pytest.mark.slow
def test_a_sweep_trains_for_real(aws, arguments, bucket, tmp_path, monkeypatch):
    """Images from S3, the step's own spark-submit, workers of a standalone cluster."""
    for path in sorted((bucket.folder / "images").iterdir()):
        aws.upload_file(str(path), BUCKET, f"images/{path.name}")
    labels = bucket.folder / "Data_Entry_2017_v2020.csv"
    aws.upload_file(str(labels), BUCKET, "labels.csv")
    data = bucket.settings()["data"] | {
        "images": f"s3://{BUCKET}/images/",
        "labels": f"s3://{BUCKET}/labels.csv",
    }
    bucket.write_config(tmp_path / "run.yaml", data=data, training={"epochs": 1})
    one_core = ("--cluster-set", "spark.cores_for_system=3")
    config = ("--config", str(tmp_path / "run.yaml"))
    monkeypatch.setenv("JAVA_HOME", find_java_home())
    monkeypatch.setenv("SPARK_HOME", str(Path(pyspark.__file__).parent))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    with start_workers(2, memory="2g") as master:
        with Machinery(tmp_path, aws, master=master):
            assert launch.main(arguments(2, more=(*one_core, *config))) == 0
    record = read_record(tmp_path / "results")
    assert (record.status, record.workers, record.engine) == ("success", 2, "resident")
    assert record.config["data"]["credentials"] is None
    assert record.scores.findings_scored > 0


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
    process = _start_process(arguments(1))
    _wait_for_cluster()
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
