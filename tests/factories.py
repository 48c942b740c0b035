"""Plausible records for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from xray.records.calibration import choose_thresholds, score_calibration
from xray.records.record import RunRecord, new_run_id, work_id
from xray.records.scores import Calibration
from xray.records.temperature import fit_temperature

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion",
            "Emphysema", "Fibrosis", "Hernia", "Infiltration", "Mass", "No Finding",
            "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax")  # fmt: skip
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CPU = "Example CPU 2.5 GHz"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
RUN_NUMBERS = iter(range(10**9))


def make_phases(fit: float = 80.0, **seconds: float) -> dict[str, float]:
    """Phases with half a second unaccounted for."""
    phases = {"startup": 4.0, "load": 10.0, "warmup": 3.0, "fit": fit, "evaluate": 2.5}
    phases |= seconds
    return {"total": sum(phases.values()) + 0.5} | phases


def make_work(**training: Any) -> dict[str, Any]:
    """The parts of the work, with changes to its training settings."""
    return {
        "dataset": {"images": "s3://bucket/images/", "image_size": 128},
        "split": {"train": "aaaa", "test": "bbbb"},
        "model": {"backbone": "MobileNet", "alpha": 1.0},
        "training": {"epochs": 5, "batch_size": 32, "seed": 0} | training,
    }


def make_scores(macro: float = 0.72, undefined: tuple[str, ...] = ()) -> dict[str, Any]:
    """Scores of the 15 findings around `macro`."""
    findings = {}
    for place, name in enumerate(FINDINGS):
        value = macro + (place - 7) / 100
        auc = {"value": value, "low": value - 0.04, "high": value + 0.04}
        positives = 0 if name in undefined else 20 + 7 * place
        findings[name] = {
            "positives": positives,
            "negatives": 1000 - positives,
            "auc": {} if name in undefined else auc,
            "average_precision": None if name in undefined else 0.2,
        }
    return {
        "macro_auc": {"value": macro, "low": macro - 0.02, "high": macro + 0.02},
        "macro_average_precision": 0.2,
        "findings_scored": len(FINDINGS) - len(undefined),
        "findings": findings,
        "resamples": 1000,
    }


def make_calibration(
    seed: int = 0, undefined: tuple[str, ...] = (), chosen: bool = True
) -> Calibration:
    """Of drawn probabilities that know a little, for findings more and less frequent.

    Args:
        seed: of the drawing.
        undefined: findings that no image has.
        chosen: whether there are thresholds and a temperature.
    """
    rng = np.random.default_rng(seed)
    chance = np.linspace(0.02, 0.5, len(FINDINGS))
    known = rng.beta(4 * chance, 4 * (1 - chance), (600, len(FINDINGS)))
    labels = (rng.random(known.shape) < known).astype(int)
    labels[:, [FINDINGS.index(name) for name in undefined]] = 0
    told = known**0.8  # says too much
    one, other = slice(0, 300), slice(300, None)
    rules = choose_thresholds(labels[one], told[one], FINDINGS, 0.9) if chosen else {}
    temperature = fit_temperature(labels[one], told[one]) if chosen else None
    patients = np.arange(300)
    return score_calibration(
        *(labels[other], told[other], patients, FINDINGS, rules, seed),
        resamples=50,
        temperature=temperature,
    )


def make_epochs(fit: float, before: float, count: int = 5) -> list[dict[str, Any]]:
    """Epochs of equal length with a falling loss."""
    seconds = fit / count
    return [
        {
            "epoch": n,
            "seconds": seconds,
            "images_per_second": 4000 / seconds,
            "loss": 0.2 + 0.5 / n,
            "elapsed_seconds": before + n * seconds,
        }
        for n in range(1, count + 1)
    ]


def make_record(**overrides: Any) -> RunRecord:
    """A successful sequential run; any field of the record can be given instead.

    `phases` may be partial; the `work_id` follows from `work`.
    """
    number = next(RUN_NUMBERS)
    runner = overrides.get("runner", "sequential")
    created = overrides.get("created", START + timedelta(minutes=number))
    phases = make_phases(**overrides.pop("phases", {}))
    work = overrides.get("work", make_work())
    before = phases["startup"] + phases["load"] + phases["warmup"]
    fields: dict[str, Any] = {
        "run_id": new_run_id(created, runner, overrides.get("workers"), COMMIT),
        "created": created,
        "status": "success",
        "runner": runner,
        "global_batch_size": 32 * (overrides.get("workers") or 1),
        "seed": 0,
        "config": {
            "data": {"image_size": 128},
            "model": {"backbone": "MobileNet"},
            "training": {"epochs": 5},
            "runner": {"precision": "float32"},
        },
        "work_id": work_id(work),
        "work": work,
        "initial_weights": "cccc",
        "phases": phases,
        "epochs": make_epochs(phases["fit"], before),
        "images": {"listed": 5000, "matched": 5000, "train": 4000, "test": 1000},
        "images_trained": 20000,
        "images_per_second": {
            "overall": 20000 / phases["fit"],
            "steady": 21000 / phases["fit"],
        },
        "cpu_seconds": {"fit": phases["fit"] * 0.98},
        "driver_peak_memory_bytes": 2 * 2**30,
        "scores": make_scores(),
        "machine": {
            "cpu_model": CPU,
            "cores": 4,
            "memory_bytes": 16 * 2**30,
            "gpu": None,
            "nodes": None,
            "instance_type": None,
            "os": "Linux",
        },
        "packages": {"keras": "3.15.1", "tensorflow": "2.19.1"},
        "git": {"commit": COMMIT, "dirty": False},
    }
    return RunRecord.model_validate(fields | overrides)


def make_elephas(
    workers: int, fit: float, mode: str = "synchronous", **overrides: Any
) -> RunRecord:
    """An Elephas run with one thread a worker."""
    per_worker = [
        {
            "worker": n,
            "images": 4000 // workers,
            "fit_seconds": fit,
            "cpu_seconds": fit * 0.9,
            "peak_memory_bytes": 2**30,
        }
        for n in range(workers)
    ]
    fields = {
        "runner": "elephas",
        "workers": workers,
        "threads_per_worker": 1,
        "mode": mode,
        "frequency": "epoch",
        "phases": {"fit": fit, "startup": 12.0},
        "per_worker": per_worker,
        "scores": make_scores(0.72 - workers / 100),
    }
    return make_record(**(fields | overrides))


def make_gpu(fit: float = 8.0, **overrides: Any) -> RunRecord:
    """A GPU run on a machine with another CPU model."""
    machine = make_record().machine
    machine |= {"gpu": "Example GPU", "cpu_model": "Other CPU 2.3 GHz"}
    return make_record(
        **({"runner": "gpu", "phases": {"fit": fit}, "machine": machine} | overrides)
    )
