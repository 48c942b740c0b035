"""What AWS answers, as the one line that a user gets."""

import botocore.exceptions as errors
import pytest

from emr.aws import Aws, NoAnswer, translated
from tests.refusals import refused

ANSWERS = {
    ("ValidationException", "Requested 90 vCPUs, your limit is 32"): "Service Quotas",
    ("LimitExceededException", "Too many clusters"): "refuses RunJobFlow while trying",
    ("ThrottlingException", "Rate exceeded"): "Rate exceeded",
    ("ExpiredTokenException", "expired"): "refuses these credentials",
    ("UnrecognizedClientException", "The security token"): "refuses these credentials",
    ("AccessDeniedException", "not authorized"): "denies RunJobFlow while trying",
    ("ValidationException", "Subnet is\n gone"): "Subnet is gone",
}


@pytest.mark.parametrize(("code", "message"), ANSWERS)
def test_refusals_say_what_to_do(code, message):
    answer = {"Error": {"Code": code, "Message": message}}
    with refused(ANSWERS[code, message]), translated("trying"):
        raise errors.ClientError(answer, "RunJobFlow")


def test_silence_and_missing_keys_are_told_apart():
    with refused("does not answer while trying"), translated("trying"):
        raise errors.EndpointConnectionError(endpoint_url="https://nowhere")
    with refused("No AWS credentials found"), translated("trying"):
        raise errors.NoCredentialsError()


def test_what_may_pass_later_is_borne():
    busy = {
        "Error": {"Code": "InternalFailure", "Message": "try again"},
        "ResponseMetadata": {"HTTPStatusCode": 500},
    }
    throttled = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
    for answer in (busy, throttled):
        with refused("refuses ListSteps", NoAnswer), translated("trying"):
            raise errors.ClientError(answer, "ListSteps")


def test_an_unknown_profile_is_one_line(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with refused("nobody"):
        Aws("us-east-1")


def test_a_credentials_file_that_is_missing(tmp_path):
    with refused("cannot be read"):
        Aws("us-east-1", tmp_path / "none.yaml")
