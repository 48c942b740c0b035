"""Scoring an archive from end to end: find, score what is missing, sum up."""

import argparse
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

import pandas as pd

from xray.common.errors import UserError
from xray.common.progress import progress_bar
from xray.config.run import RunConfig, RunnerConfig
from xray.data.images import decode_picture
from xray.data.reader import ImageReader
from xray.inference.inputs import Inputs, find_inputs
from xray.inference.job import Job, plan_job, run_here, run_on_spark, steady_rate
from xray.inference.scoring import Pace
from xray.inference.settings import (
    job_config,
    knows_labels,
    model_access,
    user_settings,
)
from xray.inference.summary import (
    ScoringRates,
    Summary,
    auc_difference,
    auc_rows,
    count_by_status,
    count_unlike,
    report,
    score_rows,
)
from xray.model.archive import pack
from xray.model.cpu_step import check_precision, quicken
from xray.model.saved import load_model, read_info
from xray.model.sidecar import ModelInfo
from xray.records.machine import describe_machine, git_state, package_versions
from xray.records.record import utc_now
from xray.spark.cluster import start_cluster, under_spark_submit
from xray.spark.environment import check_cluster
from xray.spark.memory import scoring_mib
from xray.spark.settings import check_master, thread_environment
from xray.storage.credentials import S3Access, data_access
from xray.storage.place import Place
from xray.storage.s3 import Storage

logger = logging.getLogger(__name__)

AUC_TABLE = "auc.csv"


class Found(NamedTuple):
    """Everything that can be known before the model is loaded."""

    config: RunConfig
    access: S3Access
    info: ModelInfo
    inputs: Inputs
    job: Job


def predict_archive(options: argparse.Namespace) -> str:
    """What is said at the end, when everything is written."""
    start, seconds = time.perf_counter(), {}
    with _timed(seconds, "find"):
        found = _find(options)
    paces = _score(found, options.model, seconds) if found.job.missing else []
    with _timed(seconds, "finish"):
        rows = found.job.finish()
    seconds["total"] = time.perf_counter() - start
    summary = _summary(found, options, rows, paces, seconds)
    out = found.job.out
    if summary.scores:
        out.write(AUC_TABLE, auc_rows(summary.scores).to_csv(index=False).encode())
    elif AUC_TABLE in out.names():  # of an earlier run, with labels
        _remove_old(AUC_TABLE, out)
    out.write("summary.json", (summary.model_dump_json(indent=1) + "\n").encode())
    return f"{report(summary)}\n{out.at('predictions.csv')}"


def _remove_old(name: str, out: Place) -> None:
    try:
        out.delete(name)
    except UserError as error:  # the keys may not allow to delete
        logger.warning("%s is of an earlier run and remains: %s", out.at(name), error)


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start


def _find(options: argparse.Namespace) -> Found:
    settings = user_settings(options.config, vars(options), options.set)
    info = read_info(options.model, model_access(options.model, settings["data"]))
    config = job_config(settings, info, options.model)
    if config.runner.master:
        check_master(config.runner.master)
    if not _on_spark(config.runner):
        check_precision(config.runner.precision)
    threads = config.data.read_threads
    out = Place.checked(options.out, "--out", config.data, threads)
    access = data_access(config.data)
    storage = Storage(access, threads)
    labelled = knows_labels(settings["data"])
    inputs = find_inputs(config.data, storage, options.subset, labelled)
    reader = ImageReader(access, info.image_size, threads, decode=decode_picture)
    given = (info, inputs.images, reader, out)
    job = plan_job(*given, options.calibrated, config.runner.precision)
    return Found(config, access, info, inputs, job)


def _on_spark(runner: RunnerConfig) -> bool:
    return bool(under_spark_submit() or runner.master or (runner.workers or 1) > 1)


def _score(found: Found, source: str, seconds: dict[str, float]) -> list[Pace]:
    """Load the model, here to check it at least, and score the missing parts."""
    runner, job = found.config.runner, found.job
    spark = _on_spark(runner)
    if runner.threads_per_worker and not spark:
        # As on executors; read when TensorFlow starts.
        os.environ.update(thread_environment(runner.threads_per_worker, resident=True))
    with _timed(seconds, "model"):
        model, _ = load_model(source, found.access)
    with progress_bar(sum(map(len, job.missing)), "predict") as bar:
        if not spark:
            with _timed(seconds, "score"):
                quicken(model, runner.precision)
                return run_here(job, model, bar.update)
        with _timed(seconds, "start"):
            memory = _worker_mib(found.info)
            cluster = start_cluster(runner, light_jvm=True, worker_mib=memory)
        try:
            with _timed(seconds, "score"), cluster.executors_awaited():
                check_cluster(cluster)
                return run_on_spark(job, pack(model), cluster, bar.update)
        finally:
            cluster.stop()


def _worker_mib(info: ModelInfo) -> int:
    """What a worker takes; a model of elsewhere may not tell its network."""
    backbone = (info.config.get("model") or {}).get("backbone", "")
    return scoring_mib(str(backbone), info.image_size)


def _summary(
    found: Found,
    options: argparse.Namespace,
    rows: pd.DataFrame,
    paces: Sequence[Pace],
    seconds: dict[str, float],
) -> Summary:
    config, job = found.config, found.job
    scores = score_rows(
        rows, found.inputs.labels, found.info.findings, config.data.seed
    )
    of_run = found.info.scores if options.subset == "test" else None
    scored = sum(map(len, job.missing))
    return Summary(
        created=utc_now(),
        model=PurePosixPath(options.model).name,
        model_id=job.info.model_id,
        source=config.data.staged or config.data.images,
        subset=options.subset,
        images=len(rows),
        by_status=count_by_status(rows),
        unlike=count_unlike(rows) if found.info.appearance else None,
        left_out=found.inputs.left_out,
        parts=len(job.parts),
        parts_scored=len(job.missing),
        images_scored=scored,
        images_per_second=ScoringRates(
            overall=scored / seconds["score"] if scored else None,
            steady=steady_rate(paces),
        ),
        temperature=job.temperature,
        data_wait_seconds=sum(pace.wait_seconds for pace in paces),
        seconds=seconds,
        workers=len({pace.worker for pace in paces}),
        threads_per_worker=config.runner.threads_per_worker,
        spark=_on_spark(config.runner),
        scores=scores,
        auc_difference=auc_difference(scores, of_run) if scores and of_run else None,
        machine=describe_machine(),
        packages=package_versions(),
        git=git_state(),
    )
