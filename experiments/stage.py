"""Decode the images of a bucket once, into shards that every runner reads.

    python experiments/stage.py --config my.yaml --set data.staged=s3://BUCKET/staged-128/

Writes Parquet (or, with --format tfrecord, TFRecord) shards of uint8 images at
data.image_size with labels and patients, an index and a manifest. A run whose
configuration has the same data.staged reads them instead of the raw images: the same
pixels, the same work. Run it again after images or labels have changed, or after it was
interrupted: it writes only what is missing. On a Spark cluster, one task a shard:

    spark-submit --num-executors 4 experiments/stage.py --config my.yaml ...
"""

import argparse
import sys
import time
from collections.abc import Sequence

from xray.common.command import command, log_warnings
from xray.common.errors import UserError
from xray.common.processes import exit_on_termination
from xray.common.progress import progress_bar
from xray.config.file import load_config
from xray.config.options import add_config_options
from xray.config.run import RunConfig
from xray.data.shard_files import FORMATS


@command(again="run it again to go on")
def main(arguments: Sequence[str] | None = None) -> int:
    """Stage as the command line says; exit code 0, 2 after bad input, 130 stopped."""
    log_warnings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_options(parser)
    parser.add_argument("--format", choices=tuple(FORMATS), default="parquet")
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.set)
    if config.data.staged is None:
        raise UserError(
            "data.staged is not set. Give the prefix to write to, for instance "
            "--set data.staged=s3://BUCKET/staged-128/."
        )
    _stage(config, options.format)
    return 0


def _stage(config: RunConfig, form: str) -> None:
    from xray.data.staging import plan_staging  # these take seconds: not for --help
    from xray.spark.cluster import start_cluster, under_spark_submit
    from xray.spark.memory import staging_mib
    from xray.spark.staging import write_on_spark
    from xray.storage.credentials import data_access

    start, data = time.perf_counter(), config.data
    staging = plan_staging(data, data_access(data), form)
    images = sum(len(plan.images) for plan in staging.missing)
    with progress_bar(images, "stage") as bar:
        if staging.missing and (under_spark_submit() or config.runner.master):
            memory = staging_mib(form)
            cluster = start_cluster(config.runner, light_jvm=True, worker_mib=memory)
            try:
                write_on_spark(staging, cluster, bar.update)
            finally:
                cluster.stop()
        else:
            for plan in staging.missing:
                bar.update(staging.write(plan))
    manifest = staging.finish()
    size = sum(shard.bytes for shard in manifest.shards)
    print(
        f"{manifest.images} images at {data.image_size}x{data.image_size} in "
        f"{len(manifest.shards)} {form} shards ({size / 2**20:.1f} MiB) under "
        f"{data.staged}; {len(staging.missing)} written, {manifest.unreadable} images "
        f"unreadable; {time.perf_counter() - start:.1f} s"
    )


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
