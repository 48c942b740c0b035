"""AWS as the launcher uses it: clients, and errors in one line."""

import contextlib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from xray.common.errors import UserError
from xray.storage.credentials import S3Access, load_access

REFUSED_KEYS = re.compile("Token|InvalidAccessKeyId|Signature|Unrecognized|AuthFailure")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403")
QUOTA = re.compile(r"quota|limit|exceed|capacity", re.IGNORECASE)
ACTIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")


class NoAnswer(UserError):
    """AWS cannot be reached or is too busy; the same request may pass later."""


class Aws:
    """Clients for one region, with boto3's own credentials or those of a file.

    Args:
        region: of the cluster and its bucket.
        credentials: YAML file with keys for this program alone; None asks boto3's
            chain. Keys never leave this machine.

    Raises:
        UserError: unknown region, or the file cannot be used.
    """

    def __init__(self, region: str, credentials: Path | None = None) -> None:
        self.region = region
        self._access = S3Access()
        if credentials:
            self._access = load_access(credentials)
        with translated("reading the AWS configuration"):
            known = self._session.get_available_regions("emr")
        if region not in known:
            raise UserError(
                f"region must be one where EMR runs, such as {', '.join(known[:3])}. "
                f"Got {region!r}; set it in the cluster description."
            )

    @cached_property
    def _session(self) -> Any:
        import boto3

        access = self._access
        return boto3.Session(
            access.access_key_id,
            access.secret_access_key,
            access.session_token,
            self.region,
        )

    def client(self, service: str) -> Any:
        """A client of `emr`, `s3`, `iam`, `ec2` or `sts`, patient but not endless."""
        from botocore.config import Config

        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
        )
        return self._session.client(service, config=config)

    @cached_property
    def emr(self) -> Any:
        """The EMR client."""
        return self.client("emr")

    @cached_property
    def s3(self) -> Any:
        """The S3 client."""
        return self.client("s3")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns boto3's errors into one line that says what to do.

    Args:
        doing: what was tried, to follow "AWS failed while".
    """
    import botocore.exceptions as errors

    try:
        yield
    except (errors.NoCredentialsError, errors.PartialCredentialsError):
        raise UserError(
            "No AWS credentials found. Run `aws configure`, set AWS_PROFILE, or name "
            "a YAML file with --credentials."
        ) from None
    except errors.ClientError as error:
        kind = NoAnswer if _may_pass_later(error) else UserError
        raise kind(_refusal(error, doing)) from None
    except (errors.HTTPClientError, errors.ConnectionError) as error:
        raise NoAnswer(
            f"AWS does not answer while {doing} ({type(error).__name__}). Check the "
            "network and the region, then run the same command again."
        ) from None
    except errors.BotoCoreError as error:
        raise UserError(f"AWS failed while {doing}: {_flat(error)}") from None


def _may_pass_later(error: Any) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or "Throttl" in error.response["Error"].get("Code", "")


def _refusal(error: Any, doing: str) -> str:
    code = str(error.response["Error"].get("Code", ""))
    message = _flat(error.response["Error"].get("Message", ""))
    if REFUSED_KEYS.search(code):
        return f"AWS refuses these credentials ({code}). Check key, secret and clock."
    if code in DENIED:
        return (
            f"AWS denies {error.operation_name} while {doing}. Give your user the "
            "policy in emr/iam_policy.json."
        )
    return f"AWS refuses {error.operation_name} while {doing} ({code}): {message}" + (
        quota_hint(message)
    )


def quota_hint(message: str) -> str:
    """What to do about a message of AWS that speaks of a quota; empty otherwise."""
    if not QUOTA.search(message):
        return ""
    return (
        " Take fewer executors or a smaller core.instance_type, or ask for a higher "
        "quota of EC2 vCPUs in the console under Service Quotas."
    )


def _flat(text: Any) -> str:
    return " ".join(str(text).split())
