"""What is looked at before a cluster starts: keys, permissions, settings, labels."""

import boto3
import moto.settings
import pytest

from emr import launch
from tests.conftest import ROOT
from tests.emr.account import BUCKET, SECRET, assert_nothing_runs, refused
from tests.emr.service import REGION, Machinery, clusters

pytest_plugins = ["tests.emr.account"]


def test_without_credentials(aws, arguments, capsys, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(capsys, arguments(1), "No AWS credentials", "--credentials")


def test_keys_that_aws_does_not_know(aws, arguments, capsys, monkeypatch):
    monkeypatch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    refused(capsys, arguments(1), "refuses these credentials")


def test_everything_can_be_looked_at_without_a_cluster(aws, arguments, capsys):
    sweep = arguments(1)
    config, cluster = sweep[3:5], sweep[5:7]
    assert launch.main(["check", *config, *cluster]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.startswith("ok: ") for line in said] == [True] * 7 + [False]
    assert f"ok: the bucket of s3://{BUCKET}/test/ can be listed, in {REGION}" in said
    assert "Nothing was started." in said[-1]
    more = ("--set", f"data.labels=s3://{BUCKET}/other.csv")
    refused(capsys, ["check", *config, *cluster, *more], "There is no", "other.csv")
    assert clusters() == []


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
    "ec2_key_name=nobody": ("looking for ec2_key_name nobody",),
    "security_configuration=none": ("looking for security_configuration none",),
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


def test_a_missing_list_of_the_split_starts_no_cluster(aws, arguments, capsys):
    lists = ("data.train_list", "data.test_list")
    more = [("--set", f"{name}=s3://{BUCKET}/none.txt") for name in lists]
    words = "There is no", "none.txt", "data.train_list"
    refused(capsys, arguments(1, more=sum(more, ())), *words)
    assert clusters() == []
