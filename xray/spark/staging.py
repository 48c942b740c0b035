"""Staging as one Spark job: a task a shard."""

from collections.abc import Callable

from xray.common.errors import UserError
from xray.common.progress import watch
from xray.data.staging import ShardPlan, Staging
from xray.spark.cluster import Cluster


def write_on_spark(
    staging: Staging, cluster: Cluster, progress: Callable[[int], object]
) -> None:
    """Write the missing shards in one Spark job, as many at once as it has slots.

    Raises:
        UserError: S3 fails or refuses.
    """
    done = cluster.context.accumulator(0)

    def write(plan: ShardPlan) -> str | None:
        try:
            done.add(staging.write(plan))
        except UserError as error:  # as it is; an exception would become Java's
            return str(error)
        return None

    plans = cluster.context.parallelize(staging.missing, len(staging.missing))
    with cluster.executors_awaited(), watch(lambda: done.value, progress):
        errors = list(filter(None, plans.map(write).collect()))
    if errors:
        raise UserError(errors[0])
