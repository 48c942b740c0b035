"""What goes wrong with S3, in one line that says which thing to mend."""

from typing import Any, NoReturn

from xray.common.errors import UserError
from xray.storage.address import split_uri
from xray.storage.credentials import S3Access
from xray.storage.patience import VARIABLE, describe, passes_by, patience_seconds

RIGHTS = {"PutObject": "s3:PutObject", "DeleteObject": "s3:DeleteObject"}


class UnreadableObject(Exception):
    """One object that is gone or not what it should be; the others may be fine."""


class ReplacedObject(UserError):
    """An object is no longer the one that was listed."""


def replaced(uri: str) -> ReplacedObject:
    """The error that an object at `uri` is no longer the one that was listed."""
    return ReplacedObject(
        f"{uri} was replaced since it was listed. Run again once nobody writes there."
    )


class translated:
    """Turns boto3's errors into one line that says which thing is wrong."""

    def __init__(self, access: S3Access, uri: str) -> None:
        self._access, self._uri = access, uri

    def __enter__(self) -> None:  # noqa: D105
        return None

    def __exit__(  # noqa: D105
        self, kind: Any, error: BaseException | None, trace: Any
    ) -> None:
        import botocore.exceptions as errors

        if isinstance(error, Exception) and passes_by(error):
            self._raise_impatient(error)
        if isinstance(error, errors.ClientError):
            self._raise_refusal(error)
        if isinstance(
            error, errors.NoCredentialsError | errors.CredentialRetrievalError
        ):
            raise UserError(
                "No S3 credentials on this machine. Set data.credentials to a YAML "
                "file, or give the machine an instance role."
            ) from None
        if isinstance(error, errors.BotoCoreError | ValueError):
            reason = " ".join(str(error).split())  # botocore's may have several lines
            raise UserError(
                f"S3 request for {self._uri} is not valid: {reason}"
            ) from None

    def _raise_impatient(self, error: Exception) -> NoReturn:
        where = self._access.endpoint_url or "AWS S3"
        raise UserError(
            f"{describe(error, where)}, and did so for {patience_seconds():.0f} s "
            f"({VARIABLE}), last on {self._uri}. Check data.endpoint_url, or "
            "endpoint_url in the credentials file, and the network; then run again."
        ) from None

    def _raise_refusal(self, error: Any) -> NoReturn:
        code = error.response["Error"].get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        bucket, key = split_uri(self._uri)
        if code == "NoSuchBucket":
            raise UserError(
                f"Bucket {bucket!r} does not exist at "
                f"{self._access.endpoint_url or 'AWS S3'}. Check data.images, "
                "data.labels and output.models."
            ) from None
        if code in ("NoSuchKey", "404") or status == 404:
            if error.operation_name == "GetObject":
                raise UnreadableObject("no such key") from None
            raise UserError(
                f"{self._access.endpoint_url or 'AWS S3'} does not list "
                f"s3://{bucket}/ ({status} {code}). Check data.endpoint_url: it may "
                "not be an S3 server."
            ) from None
        if status == 412:
            raise replaced(self._uri) from None
        self._raise_mendable(code)
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch") or "Token" in code:
            raise UserError(
                f"S3 refuses these credentials ({status} {code}). Check the key id and "
                "the secret in data.credentials."
            ) from None
        if status == 403:
            needed = RIGHTS.get(error.operation_name, "s3:ListBucket and s3:GetObject")
            raise UserError(
                f"S3 denies access to {self._uri} (403 {code}). The keys need "
                f"{needed} there."
            ) from None
        raise UserError(f"S3 failed on {self._uri} ({status} {code}).") from None

    def _raise_mendable(self, code: str) -> None:
        """Refusals that neither another secret nor more rights would mend."""
        if code in ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"):
            raise UserError(
                f"The session token for S3 has expired ({code}). Get new temporary "
                "keys, write them to data.credentials, all three, and run again."
            ) from None
        if code in ("RequestTimeTooSkewed", "RequestExpired"):
            raise UserError(
                f"This machine's clock is too far from that of S3 ({code}). Set it, "
                "for instance with `timedatectl set-ntp true`, and run again."
            ) from None
        if code in ("InvalidObjectState", "ObjectArchived"):
            raise UserError(
                f"{self._uri} is archived ({code}). Restore it, for instance with `aws "
                "s3api restore-object`, or leave it out of the prefix."
            ) from None
