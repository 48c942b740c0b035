"""ClusterSettings: the EMR cluster described once, read from YAML and checked."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from xray.common.errors import UserError
from xray.config.file import one_line, parse_value, read_yaml_mapping
from xray.config.run import Section
from xray.storage.address import split_uri

SPOT = "SPOT"
CLUSTER = Path(__file__).parent / "cluster.yaml"
PLACEHOLDER_BUCKET = "CHANGE-ME"
SWEEP_TAG = "xray-sweep"
NODES_TAG = "xray-core-nodes"
# Lets AWS' own managed policy for EMR act on what carries it.
MANAGED_TAG = "for-use-with-amazon-emr-managed-policies"
OUR_TAGS = (SWEEP_TAG, NODES_TAG, MANAGED_TAG)
YARN_SHARE = 0.75
"""Share of a node's memory that YARN gives out, as EMR's own default for m5.xlarge."""
APPLICATION_MASTER_MIB = 1024
"""What Spark's application master takes on one of the nodes (512 MiB and overhead)."""
WHOLE_CORES = re.compile(r"[a-z]+[78]a[a-z]*\.")
"""Families of which each vCPU is a core; of other x86-64 ones two share one (EC2 User
Guide, "CPU options": DefaultThreadsPerCore)."""
MIN_PYTHON_MIB = 2048
"""TensorFlow with a MobileNet peaks at 1.4 GiB in the records of results/."""


class Node(Section):
    """One instance type; set both sizes, since they decide what Spark gets."""

    instance_type: Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")]
    vcpus: Annotated[int, Field(ge=2)]
    memory_mib: Annotated[int, Field(ge=8192)]
    network_gbps: Annotated[float, Field(gt=0)] = 1.25
    """Bandwidth that lasts, for predictions; AWS calls it the baseline."""

    @property
    def physical_cores(self) -> int:
        """Of which AWS makes the vcpus."""
        whole = WHOLE_CORES.match(self.instance_type)
        return self.vcpus if whole else self.vcpus // 2


class SparkSettings(Section):
    """How one executor fills one core node."""

    cores_for_system: Annotated[int, Field(ge=0)] = 1
    """Cores of each node left to YARN, the Java heap's threads and the system."""
    workers_per_executor: Annotated[int, Field(ge=1)] | None = None
    """Training processes in each executor, which share its cores evenly; null is one
    for each core, which trains most images per second. 1 averages fewest weights."""
    executor_heap_mib: Annotated[int, Field(ge=512)] = 2048
    """Java heap. TensorFlow lives outside it and gets the rest of the node."""
    driver_memory_mib: Annotated[int, Field(ge=1024)] = 4096
    conf: dict[str, str] = {}
    """More Spark settings; they win over those of emr/spark.py."""


class ClusterSettings(Section):
    """One cluster: a primary node with the driver, and a core node an executor."""

    release: Annotated[str, Field(pattern=r"^emr-\d+\.\d+\.\d+$")]
    region: str
    s3_prefix: Annotated[str, Field(pattern=r"^s3://[^/]+(/.*)?$")]
    """Where code, environment, logs and records go: s3://bucket/prefix/"""
    primary: Node
    core: Node
    market: Literal["ON_DEMAND", "SPOT"] = "ON_DEMAND"
    """Of the core nodes; the primary node is always on demand. AWS takes SPOT nodes
    away when it needs them: see runner.min_workers."""
    spot_minutes: Annotated[int, Field(ge=5, le=1440)] = 10
    """How long spot nodes are waited for before they are taken on demand."""
    subnet: Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")] | None = None
    """null takes the default network of the account."""
    job_flow_role: str = "EMR_EC2_DefaultRole"
    """Instance profile: what reads the images and writes the records."""
    service_role: str = "EMR_DefaultRole"
    root_volume_gib: Annotated[int, Field(ge=15, le=100)] = 30
    security_configuration: str | None = None
    """Of EMR, by name: encryption, Kerberos and the like."""
    ec2_key_name: str | None = None
    """To log in to the nodes; null lets nobody."""
    tags: dict[str, str] = {}
    """More tags of the cluster and its nodes, for those who read the bill."""
    idle_minutes: Annotated[int, Field(ge=1, le=10080)] = 15
    """AWS ends the cluster after so long without a step, whatever becomes of us."""
    start_minutes: Annotated[float, Field(ge=0)] = 8
    """Assumed in the cost estimate, until the first step can run."""
    spark: SparkSettings = SparkSettings()

    @model_validator(mode="after")
    def _release_runs_elephas(self) -> "ClusterSettings":
        major, minor = (int(n) for n in self.release[4:].split(".")[:2])
        if major != 7 or minor < 1:
            raise ValueError(
                "release must be emr-7.1.0 or a later 7: Elephas needs Spark 3.5 and "
                f"Keras Python 3.11. Got {self.release}"
            )
        return self

    @field_validator("tags")
    @classmethod
    def _own_tags(cls, value: dict[str, str]) -> dict[str, str]:
        taken = [name for name in value if name in OUR_TAGS or name.startswith("aws:")]
        if taken:
            raise ValueError(f"{taken[0]} is not yours to set")
        return value

    @model_validator(mode="after")
    def _executor_fits_node(self) -> "ClusterSettings":
        if not 1 <= self.workers_per_executor <= self.executor_cores:
            raise ValueError(
                f"{self.workers_per_executor} worker(s) need as many cores; "
                f"{self.core.instance_type} has {self.core.vcpus}, "
                f"{self.spark.cores_for_system} of them for the system"
            )
        needed = MIN_PYTHON_MIB * self.workers_per_executor
        if self.executor_overhead_mib < needed:
            raise ValueError(
                f"each node leaves TensorFlow {self.executor_overhead_mib} MiB, and it "
                f"needs {needed}; take a larger core.instance_type or a smaller "
                "spark.executor_heap_mib"
            )
        return self

    @property
    def yarn_mib(self) -> int:
        """Memory of one core node that YARN may give out."""
        return int(self.core.memory_mib * YARN_SHARE)

    @property
    def executor_cores(self) -> int:
        """Cores of the one executor of a core node."""
        return self.core.vcpus - self.spark.cores_for_system

    @property
    def workers_per_executor(self) -> int:
        """Training processes in each executor."""
        return self.spark.workers_per_executor or max(1, self.executor_cores)

    @property
    def executor_overhead_mib(self) -> int:
        """Memory of one executor outside its Java heap: Python and TensorFlow."""
        return self.yarn_mib - self.spark.executor_heap_mib - APPLICATION_MASTER_MIB

    @property
    def threads_per_worker(self) -> int:
        """Cores of one worker."""
        return self.executor_cores // self.workers_per_executor

    @property
    def shared_cores(self) -> str | None:
        """That training shares physical cores, in words; None: it does not."""
        node, threads = self.core, self.workers_per_executor * self.threads_per_worker
        if threads <= node.physical_cores:
            return None
        return (
            f"{node.instance_type} trains with {threads} threads on "
            f"{node.physical_cores} physical core(s): what shares one is slower than "
            "predicted, by how much was not measured."
        )

    @property
    def core_bytes_per_second(self) -> float:
        """Of a core node's network, through which its workers exchange weights."""
        return self.core.network_gbps * 1e9 / 8

    @property
    def bucket(self) -> str:
        """The bucket of `s3_prefix`."""
        return split_uri(self.s3_prefix)[0]

    def uri(self, *parts: str) -> str:
        """The address of something under `s3_prefix`."""
        return "/".join([self.s3_prefix.rstrip("/"), *parts])


def load_settings(
    path: Path = CLUSTER, overrides: Sequence[str] = ()
) -> ClusterSettings:
    """The checked description of the cluster in the YAML file `path`.

    Args:
        path: the YAML file.
        overrides: `key=value` or `section.key=value`; values are YAML.

    Raises:
        UserError: the file cannot be read, a key is unknown or a value is refused.
    """
    content = read_yaml_mapping(path, "Cluster description")
    for override in overrides:
        _apply(content, override)
    try:
        return ClusterSettings.model_validate(content)
    except ValidationError as error:
        text = one_line(error, path, ClusterSettings, "--cluster-set")
        raise UserError(text) from None


def _apply(content: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *sections, key = name.split(".")
    part: Any = content
    for section in sections:
        part = part.setdefault(section, {})
    if not (equals and key and isinstance(part, dict)):
        raise UserError(
            f"--cluster-set takes key=value. Got {override!r}; for instance "
            "--cluster-set region=eu-west-1."
        )
    part[key] = parse_value("--cluster-set", name, text)
