"""A network on its way to the executors, unpacked once in each of their processes."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xray.model.archive import unpack
from xray.model.cpu_step import check_precision, quicken

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class SharedNetwork:
    """A network on its way to the executors; equal ones have the same digest."""

    digest: str
    archive: Any = field(compare=False)
    """Broadcast of the bytes."""
    precision: str = "float32"
    """Of its convolutions."""


@lru_cache(maxsize=2)
def network_of(shared: SharedNetwork) -> "keras.Model":
    """On an executor, kept in its process: other jobs do not trace it again.

    Raises:
        UserError: the executor's CPU gains nothing in the precision.
    """
    check_precision(shared.precision)
    model = unpack(shared.archive.value, shared.digest)
    quicken(model, shared.precision)
    return model
