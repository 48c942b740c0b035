"""The requests, checked against AWS' own description of EMR's interface."""

import botocore.session
from botocore.validate import ParamValidator

from emr.job_flow import run_job_flow_request
from tests.emr.test_size import make


def request(*executors, **settings):
    """A valid one, by botocore's model of EMR."""
    overrides = [f"{name}={value}" for name, value in settings.items()]
    sweep = make(*executors, settings=overrides)
    found = run_job_flow_request(sweep, sweep.runs)
    model = botocore.session.get_session().get_service_model("emr")
    shape = model.operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(found, shape)
    assert not report.has_errors(), report.generate_report()
    return found


def test_on_demand_is_a_group_of_equal_nodes():
    found = request(1, 3)["Instances"]
    nodes = [
        (group["InstanceRole"], group["Market"], group["InstanceCount"])
        for group in found["InstanceGroups"]
    ]
    assert nodes == [("MASTER", "ON_DEMAND", 1), ("CORE", "ON_DEMAND", 3)]
    assert "InstanceFleets" not in found


def test_spot_nodes_are_waited_for_and_then_taken_on_demand():
    found = request(2, market="SPOT", spot_minutes=20, subnet="subnet-0123")
    instances = found["Instances"]
    assert instances["Ec2SubnetIds"] == ["subnet-0123"]
    assert not {"InstanceGroups", "Ec2SubnetId"} & set(instances), "AWS takes one kind"
    primary, core = instances["InstanceFleets"]
    assert primary["TargetOnDemandCapacity"] == 1
    assert "TargetSpotCapacity" not in primary
    assert core["TargetSpotCapacity"] == 2
    (spot,) = core["LaunchSpecifications"].values()
    assert spot["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    assert spot["TimeoutDurationMinutes"] == 20


def test_what_an_account_asks_for_is_passed_on():
    found = request(
        1, tags="{team: x-ray}", ec2_key_name="me", security_configuration="kms"
    )
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert tags["team"] == "x-ray"
    assert tags["xray-core-nodes"] == "1"
    assert found["SecurityConfiguration"] == "kms"
    assert found["Instances"]["Ec2KeyName"] == "me"
    plain = request(1)
    assert "SecurityConfiguration" not in plain
    assert "Ec2KeyName" not in plain["Instances"]


def test_tags_and_keys_make_no_other_sweep():
    names = {
        make(1, settings=overrides).name
        for overrides in ((), ["tags={team: a}"], ["ec2_key_name=me"])
    }
    assert len(names) == 1
    assert make(1, settings=["market=SPOT"]).name not in names
