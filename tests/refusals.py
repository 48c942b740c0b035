"""A check that tests share: an error is one line and gives no secret away."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xray.common.errors import UserError

SECRET = "TopSecret/Value+123"


@contextmanager
def refused(match: str, kind: type[Exception] = UserError) -> Iterator[None]:
    """Expect an error of `kind` whose only line matches and does not hold SECRET."""
    with pytest.raises(kind, match=match) as caught:
        yield
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert SECRET not in message
