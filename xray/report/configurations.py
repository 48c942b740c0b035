"""Which runs are repeats of one configuration, and what it is called."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from xray.config.runners import RUNNERS, runner_of
from xray.records.record import RunRecord
from xray.records.wording import plural
from xray.report.hosts import crowding, node_count, working_hosts

FLOAT32 = "float32"
LOOPBACK = re.compile(r"//(localhost|127\.|\[::1\])")


class Key(NamedTuple):
    """What two runs share to count as repeats of one configuration."""

    runner: str
    workers: int | None
    threads_per_worker: int | None
    mode: str | None
    frequency: str | None
    engine: str | None
    precision: str | None
    backend: str | None
    xla: str | None
    cpu_model: str | None
    """Of what trained: an Elephas driver's does not count, nor its instance type."""
    gpu: str | None
    nodes: int
    instance_type: str | None
    crowding: str | None
    """oversubscribed when workers share cores."""
    pixels: str | None
    """Where they came from, which moves the seconds of reading thirtyfold."""
    course: str | None
    """interrupted when the run did not go in one go, see `RunRecord.interrupted`."""
    commit: str | None
    """Of the code; None where runs of several are to count as repeats."""

    @property
    def reduced(self) -> str | None:
        """The precision, where it is less than float32."""
        return None if self.precision == FLOAT32 else self.precision

    @property
    def curve(self) -> "Key":
        """What points on one scaling curve share: all but the number of workers."""
        return self._replace(
            workers=None, nodes=0, crowding=None, course=None, commit=None
        )


def key_of(record: RunRecord, any_commit: bool = False) -> Key:
    """The configuration of a run; what is for a GPU counts there only.

    Args:
        record: of the run.
        any_commit: whether runs of several commits count as repeats.
    """
    machine, runner = record.machine, record.config.get("runner")
    gpu = runner_of(record.runner).has_gpu
    settings = runner if isinstance(runner, dict) else {}
    runner = settings if gpu else {}
    precision = plain(settings.get("precision"))
    hosts = working_hosts(record)
    xla = runner.get("xla")
    return Key(
        record.runner,
        record.workers,
        record.threads_per_worker,
        record.mode,
        record.frequency,
        _engine(record),
        precision if gpu or precision != FLOAT32 else None,
        plain(runner.get("backend", "tensorflow")) if gpu else None,
        None if xla is None else f"XLA {'on' if xla else 'off'}",
        _all_of(host.cpu_model for host in hosts),
        plain(machine.get("gpu")),
        node_count(record),
        _all_of(host.instance_type for host in hosts),
        _crowding(record),
        pixel_source(record),
        "interrupted" if record.interrupted else None,
        None if any_commit else _commit(record),
    )


def pixel_source(record: RunRecord) -> str | None:
    """How the images were read, and from where; None where neither is recorded."""
    data = record.config.get("data")
    data = data if isinstance(data, dict) else {}
    found = record.source
    form = "staged shards" if data.get("staged") else None
    if data.get("cache_dir"):
        cached = found.cached if found else None
        form = "cache folder" if cached is None else "empty cache folder"
        form = "warm cache folder" if cached else form
    store = found.store if found else None
    if store is None and LOOPBACK.search(str(data.get("endpoint_url") or "")):
        store = "this machine"
    if store == "this machine":
        store = "S3 on this machine"
    return " from ".join(part for part in (form, store) if part) or None


def _commit(record: RunRecord) -> str | None:
    commit = plain(record.git.get("commit"))
    return commit and commit[:7] + (" with changes" if record.git.get("dirty") else "")


def _all_of(values: Iterable[str | None]) -> str | None:
    """The different values as one text; None where one is not recorded."""
    found = sorted({plain(value) or "" for value in values})
    return None if "" in found else " and ".join(found)


def _crowding(record: RunRecord) -> str | None:
    has_workers = runner_of(record.runner).has_workers
    return "oversubscribed" if has_workers and crowding(record) > 1 else None


def _engine(record: RunRecord) -> str | None:
    """The engine of a synchronous Elephas run, with what differs from its defaults."""
    if record.engine is None or record.mode != "synchronous":
        return None
    words = [record.engine]
    runner = record.config.get("runner")
    if record.engine == "resident" and isinstance(runner, dict):
        every = runner.get("sync_every", "epoch")
        if every != "epoch":
            words.append(f"every {every} step{'' if every == 1 else 's'}")
        if runner.get("optimizer_state", "kept") != "kept":
            words.append(f"optimizer {runner['optimizer_state']}")
        if runner.get("outer_momentum"):
            words.append(f"outer momentum {runner['outer_momentum']}")
        if runner.get("balance"):
            words.append("balanced")
    return plain(" ".join(words))


def plain(value: Any) -> str | None:
    """A recorded value as one line of printable text; None where it is empty."""
    text = "".join(char if char.isprintable() else " " for char in str(value or ""))
    return " ".join(text.split()) or None


def order(key: Key) -> tuple[Any, ...]:
    """Sorts the runners, synchronous before the rest, by processors, float32 first.

    Numbers in names sort by value: every 5 steps before every 10.
    """
    names = [*RUNNERS, key.runner]
    processors = (key.workers or 1) * (key.threads_per_worker or 1)
    name = re.sub(r"\d+", lambda digits: digits[0].zfill(9), str(key))
    exact = key.reduced is None
    return (
        names.index(key.runner),
        key.mode != "synchronous",
        processors,
        not exact,
        name,
    )


def unique_labels(keys: list[Key]) -> dict[Key, str]:
    """Short labels; those that collide name what tells them apart."""
    return _told_apart({key: _label(key) for key in keys})


def curve_labels(curves: list[Key]) -> dict[Key, str]:
    """Labels of `Key.curve`s, without a number of workers."""
    return _told_apart({key: _curve_label(key) for key in curves})


def _told_apart(short: dict[Key, str]) -> dict[Key, str]:
    keys, labels = list(short), {}
    for key in keys:
        twins = [other for other in keys if short[other] == short[key]]
        extra = [
            _named(name, value)
            for name, value in key._asdict().items()
            if value and any(getattr(other, name) != value for other in twins)
        ]
        labels[key] = ", ".join([short[key], *extra])
    return labels


def _named(name: str, value: Any) -> str:
    """What a part of a key is called where it tells two of them apart."""
    if name in ("nodes", "workers"):
        return plural(value, name[:-1])
    return f"commit {value}" if name == "commit" else str(value)


def _label(key: Key) -> str:
    runner = runner_of(key.runner)
    if runner.is_baseline:
        threads = key.threads_per_worker or 1
        name = f"Keras on {threads} threads" if threads > 1 else runner.label
        return ", ".join(filter(None, (_in_precision(name, key), key.course)))
    if runner.has_gpu:
        many = key.workers not in (None, 1)
        name = f"{key.workers} {runner.label}s" if many else runner.label
        return ", ".join(filter(None, (_in_precision(name, key), key.course)))
    size = f"{key.workers or 1}×{key.threads_per_worker or 1}"
    label = " ".join([str(plain(runner.label)), size, *_how(key)])
    return ", ".join(filter(None, (label, key.crowding, key.course)))


def _in_precision(name: str, key: Key) -> str:
    return f"{name} {key.reduced}" if key.reduced else name


def _curve_label(key: Key) -> str:
    runner = runner_of(key.runner)
    if not runner.has_workers:
        return _label(key)
    threads = key.threads_per_worker or 1
    many = [f"with {threads} threads a worker"] if threads > 1 else []
    return " ".join([str(plain(runner.label)), *_how(key), *many])


def _how(key: Key) -> list[str]:
    """Engine or mode of an Elephas run."""
    asynchronous = key.mode not in (None, "synchronous")
    how = [key.mode if asynchronous else key.engine]
    how.append(key.reduced)
    if asynchronous and key.frequency:
        how.append(f"per {key.frequency}")
    return [*filter(None, map(plain, how))]
