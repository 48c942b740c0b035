"""A network on its way to the executors, unpacked once in each of their processes."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xray.model.archive import unpack

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class SharedNetwork:
    """A network on its way to the executors; equal ones have the same digest."""

    digest: str
    archive: Any = field(compare=False)
    """Broadcast of the bytes."""


@lru_cache(maxsize=2)
def network_of(shared: SharedNetwork) -> "keras.Model":
    """On an executor, kept in its process: other jobs do not trace it again."""
    return unpack(shared.archive.value, shared.digest)
