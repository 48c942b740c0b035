"""Who reads S3: the user's credentials file, or boto3's own chain."""

import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xray.common.errors import UserError
from xray.common.redaction import hashed_host
from xray.config.data import SOURCES, DataConfig
from xray.config.file import read_yaml_mapping
from xray.storage.address import on_s3

logger = logging.getLogger(__name__)

# `aws_secret_key_id` is the name in the published experiment's file.
SECRET_NAMES = ("aws_secret_access_key", "aws_secret_key_id")
FILE_KEYS = (
    "aws_access_key_id",
    *SECRET_NAMES,
    "aws_session_token",
    "region",
    "endpoint_url",
    "unsigned",
    "requester_pays",
)
# Where boto3 found a key that other machines cannot find for themselves.
AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
DRIVER_ONLY_SOURCES = ("env", "explicit", "shared-credentials-file", "config-file")


@dataclass(frozen=True)
class S3Access:
    """How to reach S3. Printing or logging one never shows a secret.

    Without a key, boto3's own chain is asked on the machine that reads.

    Attributes:
        unsigned: nobody is asked: requests to a public bucket need no key.
        requester_pays: for the requests, where a bucket has it so.
    """

    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    endpoint_url: str | None = None
    unsigned: bool = False
    requester_pays: bool = False


def store_name(access: S3Access, images: str) -> str:
    """Where the images are, for a record: a folder, Amazon S3, this machine, or else
    the hash of a host."""
    if not on_s3(images):
        return "a folder"
    if not access.endpoint_url:
        return "Amazon S3"
    host = urlsplit(access.endpoint_url).hostname or ""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return "this machine"
    return "Amazon S3" if host.endswith(AMAZON) else hashed_host(host)


def data_access(data: DataConfig) -> S3Access:
    """The access that the data need: none where all of it is in folders.

    Raises:
        UserError: as `load_access`.
    """
    sources = [getattr(data, name) or "" for name in SOURCES]
    if data.credentials or any(map(on_s3, sources)):
        return load_access(data.credentials, data.endpoint_url)
    return S3Access()


def load_access(
    credentials: Path | None = None, endpoint_url: str | None = None
) -> S3Access:
    """The access that a file of credentials or boto3's chain gives.

    Args:
        credentials: YAML file with keys; None asks boto3's chain.
        endpoint_url: of a server other than AWS; overrides the one found there.

    Raises:
        UserError: the file is missing or malformed, or no credentials are found.
    """
    if credentials:
        return _access_from_file(credentials, endpoint_url)
    return _access_from_chain(endpoint_url)


def _access_from_file(path: Path, endpoint_url: str | None) -> S3Access:
    values = read_yaml_mapping(path, "Credentials file")
    unknown = sorted(set(map(str, values)) - set(FILE_KEYS))
    if unknown:
        raise UserError(
            f"Credentials file {path} has unknown key {unknown[0]!r}. "
            f"Known keys: {', '.join(FILE_KEYS)}."
        )
    unsigned = _as_switch(values, "unsigned", path)
    pays = _as_switch(values, "requester_pays", path)
    texts = {name: _as_text(value, name, path) for name, value in values.items()}
    secret = next((texts[name] for name in SECRET_NAMES if texts.get(name)), None)
    key_id = texts.get("aws_access_key_id")
    for name, value in (("aws_access_key_id", key_id), (SECRET_NAMES[1], secret)):
        if not value and not unsigned:
            raise UserError(
                f"Credentials file {path} needs {name}. Add it, or `unsigned: true` "
                "for a public bucket."
            )
        if value and unsigned:
            raise UserError(
                f"Credentials file {path} has {name} and `unsigned: true`. Keep one."
            )
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        logger.warning(
            "Credentials file %s can be read by other users; run: chmod 600 %s",
            path,
            path,
        )
    return S3Access(
        access_key_id=key_id,
        secret_access_key=secret,
        session_token=texts.get("aws_session_token"),
        region=texts.get("region"),
        endpoint_url=endpoint_url or texts.get("endpoint_url"),
        unsigned=unsigned,
        requester_pays=pays,
    )


def _as_switch(values: dict[str, Any], name: str, path: Path) -> bool:
    """One that is true or false, taken out of `values`; false without it."""
    value = values.pop(name, False)
    if not isinstance(value, bool):
        raise UserError(
            f"Credentials file {path} needs {name} to be true or false. Got "
            f"{type(value).__name__}."
        )
    return value


def _as_text(value: Any, name: str, path: Path) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UserError(
            f"Credentials file {path} needs {name} as text; quote it if it is all "
            "digits."
        )
    return value and value.strip() or None


def _access_from_chain(endpoint_url: str | None) -> S3Access:
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session()
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise UserError(
            f"boto3 cannot use this machine's S3 credentials: {error}. Repair them, or "
            "set data.credentials to a YAML file."
        ) from None
    if credentials is None:
        raise UserError(
            "No S3 credentials found: data.credentials is not set and boto3 found no "
            "environment keys, profile or instance role. Set data.credentials to a "
            "YAML file with aws_access_key_id and aws_secret_key_id."
        )
    endpoint_url = (
        endpoint_url
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    if credentials.method not in DRIVER_ONLY_SOURCES:
        return S3Access(region=session.region_name, endpoint_url=endpoint_url)
    frozen = credentials.get_frozen_credentials()
    return S3Access(
        frozen.access_key,
        frozen.secret_key,
        frozen.token,
        session.region_name,
        endpoint_url,
    )
