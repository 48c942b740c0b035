"""Everything that can be known to fail before a node is paid for."""

from collections.abc import Iterator
from typing import Any

from emr.aws import DENIED, Aws, translated
from emr.plan import Sweep
from emr.settings import PLACEHOLDER_BUCKET, ClusterSettings
from xray.common.errors import UserError
from xray.config.data import LISTS
from xray.storage.address import split_uri


def checks(aws: Aws, sweep: Sweep) -> Iterator[str]:
    """Look at everything that can be known to fail before a node is paid for.

    What AWS has no question for, such as the right to start a cluster, is not asked.

    Returns:
        What has been found to be as it should be, one after the other.

    Raises:
        UserError: credentials, buckets, labels, release, instance type, roles or
            subnet.
    """
    settings = sweep.settings
    with translated("checking the credentials"):
        aws.client("sts").get_caller_identity()
    yield "AWS knows the credentials"
    check_bucket(aws, settings)
    yield f"the bucket of {settings.s3_prefix} can be listed, in {aws.region}"
    _check_data(aws, sweep)
    data = sweep.config.data
    yield f"{data.images} has a bucket; {data.labels} is not known to be missing"
    _check_release(aws, settings)
    yield f"EMR has release {settings.release}"
    _check_instance_types(aws, settings)
    types = dict.fromkeys((settings.primary.instance_type, settings.core.instance_type))
    yield f"instance types: {', '.join(types)}"
    _check_roles(aws, settings)
    yield "the roles are there"
    _check_named(aws, settings)
    yield "subnet, key and security configuration, where named, are there"


def _check_named(aws: Aws, settings: ClusterSettings) -> None:
    """What the description names is there: subnet, key, security configuration."""
    ec2 = aws.client("ec2")
    if settings.subnet:
        with translated(f"looking for subnet {settings.subnet}"):
            ec2.describe_subnets(SubnetIds=[settings.subnet])
    if settings.ec2_key_name:
        with translated(f"looking for ec2_key_name {settings.ec2_key_name}"):
            ec2.describe_key_pairs(KeyNames=[settings.ec2_key_name])
    if name := settings.security_configuration:
        with translated(f"looking for security_configuration {name}"):
            aws.emr.describe_security_configuration(Name=name)


def check_placeholder(settings: ClusterSettings) -> None:
    """The bucket of `s3_prefix` is the user's own.

    Raises:
        UserError: it is the one of the example.
    """
    if settings.bucket == PLACEHOLDER_BUCKET:
        raise UserError(
            f"s3_prefix must name a bucket of yours. Got {settings.s3_prefix!r}; set "
            "it in a copy of emr/cluster.yaml or with --cluster-set s3_prefix=s3://..."
        )


def check_bucket(aws: Aws, settings: ClusterSettings) -> None:
    """The bucket of `s3_prefix` exists, is ours to use and in the cluster's region.

    Raises:
        UserError: it is not.
    """
    check_placeholder(settings)
    status, region = _head_bucket(aws, settings.bucket)
    if status == 404:
        raise UserError(
            f"Bucket {settings.bucket!r} of s3_prefix does not exist. Create it in "
            f"{aws.region}, or check s3_prefix."
        )
    _check_bucket_region(aws, settings.bucket, region)
    if status != 200:
        raise UserError(
            f"S3 denies access to bucket {settings.bucket!r} of s3_prefix ({status}). "
            "Give your user the policy in emr/iam_policy.json."
        )


def _head_bucket(aws: Aws, bucket: str) -> tuple[int, str | None]:
    """HTTP status and region; S3 tells the region also where it denies the rest."""
    from botocore.exceptions import ClientError

    with translated(f"looking for bucket {bucket}"):
        try:
            reply = aws.s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            reply = error.response
            if reply["ResponseMetadata"]["HTTPStatusCode"] not in (301, 403, 404):
                raise
    metadata = reply["ResponseMetadata"]
    region = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    return metadata["HTTPStatusCode"], region


def _check_bucket_region(aws: Aws, bucket: str, region: str | None) -> None:
    if region and region != aws.region:
        raise UserError(
            f"Bucket {bucket!r} is in {region}, the cluster in {aws.region}. Use the "
            "same region: transfer between two costs money and time."
        )


def _check_data(aws: Aws, sweep: Sweep) -> None:
    """The images' bucket and the files; only the nodes may be allowed to read."""
    data = sweep.config.data
    names = ("labels", *(LISTS if data.test_list else ()))
    files = {f"data.{name}": getattr(data, name) for name in names}
    for name, uri in {"data.images": data.images, **files}.items():
        bucket, _ = split_uri(uri)
        status, region = _head_bucket(aws, bucket)
        if status == 404:
            raise UserError(f"Bucket {bucket!r} of {name} does not exist.")
        _check_bucket_region(aws, bucket, region)
    for name, uri in files.items():
        _check_file(aws, name, uri)


def _check_file(aws: Aws, name: str, uri: str) -> None:
    from botocore.exceptions import ClientError

    bucket, key = split_uri(uri)
    with translated(f"looking for {uri}"):
        try:
            aws.s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise UserError(f"There is no {uri} ({name}).") from None
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
                raise


def _check_release(aws: Aws, settings: ClusterSettings) -> None:
    with translated("listing EMR's releases"):
        labels = _pages(
            aws.emr.list_release_labels,
            "ReleaseLabels",
            "NextToken",
            Filters={"Prefix": "emr-7"},
        )
    if settings.release not in labels:
        raise UserError(
            f"EMR in {aws.region} has no release {settings.release!r}. Known: "
            f"{', '.join(labels[:4])} and older."
        )


def _check_instance_types(aws: Aws, settings: ClusterSettings) -> None:
    with translated("listing EMR's instance types"):
        types = _pages(
            aws.emr.list_supported_instance_types,
            "SupportedInstanceTypes",
            "Marker",
            ReleaseLabel=settings.release,
        )
    known = {kind["Type"]: kind for kind in types}
    for role in ("primary", "core"):
        node = getattr(settings, role)
        kind = known.get(node.instance_type)
        if kind is None:
            raise UserError(
                f"{settings.release} in {aws.region} has no instance type "
                f"{node.instance_type!r} ({role}.instance_type)."
            )
        _check_size(role, node, kind)


def _check_size(role: str, node: Any, kind: dict[str, Any]) -> None:
    if kind.get("Architecture", "X86_64").upper() != "X86_64":
        raise UserError(
            f"{role}.instance_type must be x86-64, as the packed Python is. Got "
            f"{node.instance_type!r} with {kind['Architecture']}."
        )
    gib = kind.get("MemoryGB", node.memory_mib / 1024)
    if (
        kind.get("VCPU", node.vcpus) != node.vcpus
        or abs(gib * 1024 - node.memory_mib) > 0.02 * node.memory_mib
    ):
        raise UserError(
            f"{role}: {node.instance_type} has {kind['VCPU']} vcpus and "
            f"{gib * 1024:.0f} memory_mib. Got {node.vcpus} and {node.memory_mib}."
        )


def _check_roles(aws: Aws, settings: ClusterSettings) -> None:
    """Both roles exist; a user who may not look is believed."""
    from botocore.exceptions import ClientError

    iam = aws.client("iam")
    looks = {
        "job_flow_role": lambda name: iam.get_instance_profile(
            InstanceProfileName=name
        ),
        "service_role": lambda name: iam.get_role(RoleName=name),
    }
    for setting, look in looks.items():
        name = getattr(settings, setting)
        with translated(f"looking for {setting} {name}"):
            try:
                look(name)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "NoSuchEntity":
                    raise UserError(
                        f"IAM has no {setting} {name!r}. Run `aws emr "
                        "create-default-roles`, or name yours in the cluster "
                        "description."
                    ) from None
                if code not in DENIED:
                    raise


def _pages(call: Any, field: str, token: str, **arguments: Any) -> list[Any]:
    """Every item of a list operation that boto3 has no paginator for."""
    found: list[Any] = []
    while True:
        reply = call(**arguments)
        found += reply[field]
        if not reply.get(token):
            return found
        arguments[token] = reply[token]
