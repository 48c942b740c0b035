"""Whether the free parts of a record hold what those who read them expect."""

from collections.abc import Iterator, Mapping
from typing import Any

LARGEST = 2**63
SECTIONS = (
    *("config.data", "config.model", "config.training", "config.runner"),
    *("work.model", "work.training"),
)
NUMBERS = (
    *("machine.cores", "machine.nodes", "machine.memory_bytes"),
    *("config.data.validation_fraction", "config.training.scored_epochs"),
)
PLAIN = (
    *("machine.cpu_model", "machine.gpu", "machine.instance_type", "git.commit"),
    *("config.data.images", "config.data.staged", "config.data.image_size"),
    *("config.model.backbone", "config.training.epochs"),
    *("config.training.batch_size", "config.training.optimizer"),
    *("config.runner.backend", "config.runner.precision", "config.runner.xla"),
    *("config.runner.optimizer_state", "config.runner.sync_every"),
    "config.runner.outer_momentum",
)


def find_oddity(content: Mapping[str, Any]) -> str | None:
    """The first field that no runner writes so, and what it must be; None without one.

    Args:
        content: of a record, as JSON values.
    """
    for name, value in _leaves(content):
        if isinstance(value, int | float) and not abs(value) < LARGEST:
            return f"{name}: must be a number below 2^63"
    rules = (
        (SECTIONS, Mapping, "a mapping"),
        (NUMBERS, int | float, "a number"),
        (PLAIN, str | int | float, "a text or a number"),
    )
    for names, kind, what in rules:
        for name in names:
            value = _lookup(content, name)
            if value is not None and not isinstance(value, kind):
                return f"{name}: must be {what}"
    return _odd_executor(_lookup(content, "machine.executors"))


def _odd_executor(found: Any) -> str | None:
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(x, Mapping) for x in found):
        return "machine.executors: must be a list of mappings"
    kinds = {"cores": int | float, "workers": int | float, "memory_bytes": int | float}
    kinds |= {"cpu_model": str, "instance_type": str}
    for place, executor in enumerate(found):
        for name, kind in kinds.items():
            value = executor.get(name)
            if value is not None and not isinstance(value, kind):
                what = "a text" if kind is str else "a number"
                return f"machine.executors.{place}.{name}: must be {what}"
        if not _are_spans(executor.get("present", [])):
            return f"machine.executors.{place}.present: must be pairs of seconds"
    return None


def _are_spans(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(span, list)
        and len(span) == 2
        and isinstance(span[0], int | float)
        and isinstance(span[1], int | float | None)
        for span in found
    )


def _lookup(part: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        part = part.get(name) if isinstance(part, Mapping) else None
    return part


def _leaves(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all that is neither a mapping nor a list."""
    if isinstance(part, Mapping):
        items = part.items()
    elif isinstance(part, list):
        items = enumerate(part)
    else:
        yield prefix, part
        return
    for name, value in items:
        yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
