"""Training with Elephas on Spark: local[N], a standalone cluster, or YARN."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING

from xray.common.background import in_background
from xray.config.run import RunConfig
from xray.data.dataset import find_dataset
from xray.data.partition import check_shards
from xray.model.network import build_model, weights_digest
from xray.records.record import RunRecord
from xray.spark.cluster import Cluster, start_cluster
from xray.spark.resident.driver import train_resident
from xray.spark.settings import check_master
from xray.spark.stock.driver import train_stock
from xray.storage.credentials import S3Access, load_access
from xray.storage.s3 import Storage
from xray.training.checks import check_batch_size
from xray.training.journal import Journal
from xray.training.recording import build_record

if TYPE_CHECKING:
    import keras

# A listing that ends sooner can refuse bad input before a cluster starts.
HEAD_START_SECONDS = 1


def run(config: RunConfig, journal: Journal | None = None) -> RunRecord:
    """The record of training with Elephas on the Spark cluster of the configuration.

    Raises:
        UserError: the data, the settings or the cluster cannot be used.
    """
    journal = journal or Journal("elephas", config)
    journal.mode, journal.frequency = config.runner.mode, config.runner.frequency
    journal.engine = config.runner.engine if journal.mode == "synchronous" else "stock"
    journal.workers = config.runner.workers
    timer = journal.timer
    with timer.phase("load"):  # what can be checked before a cluster
        if config.runner.master:
            check_master(config.runner.master)
        access = load_access(config.data)
        storage = Storage(access, config.data.read_threads)
        storage.check(config.data.staged or config.data.images)
        listing = in_background(find_dataset, config.data, storage)
        # Stock Elephas needs shards of a size: no cluster before that is known.
        wait([listing], HEAD_START_SECONDS if journal.engine == "resident" else None)
        if listing.done():
            _take_dataset(journal, listing, journal.workers or 1)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build_model, config, storage)
        with timer.phase("startup"):  # in this thread: Spark handles signals
            resident = journal.engine == "resident"
            cluster = start_cluster(config.runner, light_jvm=resident)
        try:
            with timer.phase("warmup"):
                model = building.result()
                journal.initial_weights = weights_digest(model.get_weights())
            return _train(journal, cluster, model, access, listing)
        except Exception:
            cluster.check_java()  # the cause of whatever else is raised
            raise
        finally:
            cluster.stop()


def _train(
    journal: Journal,
    cluster: Cluster,
    model: "keras.Model",
    access: S3Access,
    listing: Future,
) -> RunRecord:
    journal.workers = cluster.workers
    journal.threads_per_worker = cluster.threads_per_worker
    journal.machine["spark_master"] = cluster.context.master
    train = train_resident if journal.engine == "resident" else train_stock
    take_dataset = partial(_take_dataset, journal, listing, cluster.workers)
    train(journal, cluster, model, access, take_dataset)
    return build_record(journal)


def _take_dataset(journal: Journal, listing: Future, workers: int) -> None:
    """Wait for the listing, and check what it found."""
    journal.dataset = listing.result()
    _check_shards(journal, workers)
    journal.check_resume(loaded=False)


def _check_shards(journal: Journal, workers: int) -> None:
    """Resident workers train any shard; stock ones need more than a batch."""
    images = len(journal.dataset.train)
    check_batch_size(journal.config, images)
    stock = journal.engine == "stock"
    check_shards(images, workers, journal.config.training.batch_size if stock else 0)
