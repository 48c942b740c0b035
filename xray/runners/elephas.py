"""Training with Elephas on Spark: local[N], a standalone cluster, or YARN."""

from concurrent.futures import ThreadPoolExecutor, wait

from xray.common.background import in_background
from xray.config.run import RunConfig
from xray.data.dataset import find_dataset
from xray.model.network import build_model, weights_digest
from xray.records.record import RunRecord
from xray.spark.cluster import Cluster, await_workers, start_context
from xray.spark.memory import training_mib
from xray.spark.resident.ahead import import_ahead
from xray.spark.resident.driver import train_resident
from xray.spark.settings import check_master
from xray.spark.stock.driver import train_stock
from xray.storage.credentials import data_access, store_name
from xray.storage.s3 import Storage
from xray.training.checks import take_dataset
from xray.training.journal import Journal
from xray.training.recording import build_record

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
    resident = journal.engine == "resident"
    timer = journal.timer
    with timer.phase("load"):  # what can be checked before a cluster
        if config.runner.master:
            check_master(config.runner.master)
        access = data_access(config.data)
        journal.store = store_name(access, config.data.images)
        storage = Storage(access, config.data.read_threads)
        storage.check(config.data.staged or config.data.images)
        dataset = in_background(find_dataset, config.data, storage)
        # Stock Elephas needs partitions of a size: no cluster before that is known.
        wait([dataset], HEAD_START_SECONDS if resident else None)
        if dataset.done():
            take_dataset(journal, dataset, journal.workers or 1)
    with ThreadPoolExecutor(1) as pool:
        with timer.phase("startup"):  # in this thread: Spark handles signals
            memory = training_mib(config, journal.dataset and len(journal.dataset))
            context = start_context(config.runner, resident, memory)
            # Only now: importing TensorFlow would keep executors from being started.
            building = pool.submit(build_model, config, storage)
            journal.tell(f"Spark runs on {context.master} ({context.applicationId})")
            cluster = await_workers(context, config.runner)
            journal.tell(f"Spark has a slot for each of {cluster.workers} worker(s)")
            if resident:
                imports = in_background(import_ahead, cluster)
        try:
            with timer.phase("warmup"):
                model = building.result()
                journal.initial_weights = weights_digest(model.get_weights())
            _note_cluster(journal, cluster)
            if resident:
                train_resident(journal, cluster, model, access, dataset, imports)
            else:
                with cluster.executors_awaited():
                    train_stock(journal, cluster, model, access, dataset)
            return build_record(journal)
        except Exception:
            cluster.check_alive()  # the cause of whatever else is raised
            raise
        finally:
            cluster.stop()


def _note_cluster(journal: Journal, cluster: Cluster) -> None:
    journal.workers = cluster.workers
    journal.threads_per_worker = cluster.threads_per_worker
    journal.machine["spark_master"] = cluster.context.master
