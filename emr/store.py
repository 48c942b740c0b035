"""What a sweep keeps in its bucket: archives, configuration, records and logs."""

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

from emr.aws import Aws, translated
from emr.job_flow import BOOTSTRAP, artifact_uri
from emr.packaging import ROOT
from emr.plan import Sweep
from xray.common.files import write_whole
from xray.records.predictions import SUFFIX
from xray.storage.address import split_uri

LOG_LINES = 15


def upload(aws: Aws, sweep: Sweep, archives: list[Path]) -> None:
    """Put what the nodes need into the bucket; archives that are there stay.

    Raises:
        UserError: S3 refuses or does not answer.
    """
    for archive in archives:
        uri = artifact_uri(sweep, archive.name)
        if not _exists(aws, uri):
            print(f"Uploading {uri}", file=sys.stderr)
            bucket, key = split_uri(uri)
            with translated(f"uploading {uri}"):
                aws.s3.upload_file(str(archive), bucket, key)
    script = (ROOT / "emr" / BOOTSTRAP).read_bytes()
    _put(aws, sweep.uri(BOOTSTRAP), script)
    _put(aws, sweep.uri("config.yaml"), sweep.config_yaml().encode())


def fetch_records(aws: Aws, prefix: str, results: Path) -> dict[str, list[str]]:
    """Bring the records under `prefix`, and what lies beside them, into `results`.

    Files that are there stay.

    Args:
        aws: clients.
        prefix: s3:// address of a sweep's runs.
        results: folder for the records.

    Returns:
        Run name -> the status of each of its records.

    Raises:
        UserError: S3 refuses or does not answer.
    """
    found: dict[str, list[str]] = {}
    for key in _keys(aws, prefix):
        run, name = key.split("/")[-2:]
        if not name.endswith((".json", SUFFIX)):
            continue
        path = results / name
        if not path.exists():
            results.mkdir(parents=True, exist_ok=True)
            _download(aws, split_uri(prefix)[0], key, path)
        if not name.endswith(".json"):
            continue
        status = json.loads(path.read_text(encoding="utf-8")).get("status", "unknown")
        found.setdefault(run, []).append(status)
    return found


def log_tail(
    aws: Aws, log_uri: str, cluster_id: str, step_id: str, wait_seconds: float = 0
) -> list[str]:
    """The last lines of a step's standard error; EMR brings it after some minutes.

    Args:
        aws: clients.
        log_uri: LogUri of the cluster.
        cluster_id: j-...
        step_id: s-...
        wait_seconds: how long to wait for it.
    """
    folder = log_uri.replace("s3n://", "s3://").rstrip("/")  # EMR answers in s3n
    uri = f"{folder}/{cluster_id}/steps/{step_id}/stderr.gz"
    deadline = time.monotonic() + wait_seconds
    while not _exists(aws, uri):
        if time.monotonic() >= deadline:
            return []
        time.sleep(min(5, wait_seconds))
    return _read_log(aws, uri).splitlines()[-LOG_LINES:]


def _read_log(aws: Aws, uri: str) -> str:
    bucket, key = split_uri(uri)
    with translated(f"reading {uri}"):
        body = aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return gzip.decompress(body).decode(errors="replace")


def _keys(aws: Aws, prefix: str) -> list[str]:
    bucket, folder = split_uri(prefix)
    with translated(f"listing {prefix}"):
        pages = aws.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=folder
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


def _exists(aws: Aws, uri: str) -> bool:
    bucket, key = split_uri(uri)
    with translated(f"looking for {uri}"):
        listed: dict[str, Any] = aws.s3.list_objects_v2(Bucket=bucket, Prefix=key)
    return any(item["Key"] == key for item in listed.get("Contents", ()))


def _download(aws: Aws, bucket: str, key: str, path: Path) -> None:
    """Whole or not at all, so an interruption leaves no half record."""
    with translated(f"fetching s3://{bucket}/{key}"):
        write_whole(path, lambda file: aws.s3.download_fileobj(bucket, key, file))


def _put(aws: Aws, uri: str, content: bytes) -> None:
    bucket, key = split_uri(uri)
    with translated(f"uploading {uri}"):
        aws.s3.put_object(Bucket=bucket, Key=key, Body=content)
