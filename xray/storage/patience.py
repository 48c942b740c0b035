"""A request to S3 is tried again while S3 is busy or away, for a bounded time.

boto3's own retries give up within seconds, and its threads share one quota of them: so
it makes one try of each request, and the patience is here alone.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from xray.common.errors import UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")

VARIABLE = "XRAY_S3_PATIENCE_SECONDS"
PATIENCE_SECONDS = 90.0
"""From a request's first failure to its last try: a minute of refusals, and a rest."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
WORD_SECONDS = 10.0
BUSY_STATUS = (429, 500, 502, 503, 504)
BUSY_CODES = ("SlowDown", "RequestTimeout", "InternalError", "Throttling")


class BrokenBody(Exception):
    """What arrived is not what S3 holds; another try may bring it whole."""


def patience_seconds() -> float:
    """What the environment says, else `PATIENCE_SECONDS`.

    Raises:
        UserError: it is no number of seconds.
    """
    text = os.environ.get(VARIABLE, str(PATIENCE_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise UserError(f"{VARIABLE} must be seconds from 0 to 86400. Got {text!r}.")
    return seconds


def patiently(request: Callable[[], T], endpoint: str, given_up: threading.Event) -> T:
    """What `request` returns, once S3 is neither busy nor away.

    Args:
        request: one request with its answer's body; made again after a failure that
            passes by.
        endpoint: that answers, for messages.
        given_up: set when nobody waits for the answer any more.

    Raises:
        Exception: that of the last try, or of the first that another cannot mend.
    """
    deadline, pause = None, FIRST_PAUSE_SECONDS
    while True:
        try:
            return request()
        except Exception as error:
            now, patience = time.monotonic(), patience_seconds()
            deadline = deadline or now + patience
            if not passes_by(error) or now >= deadline or given_up.is_set():
                raise
            _words.say(describe(error, endpoint), deadline - now)
        # Threads that failed together do not come back together.
        given_up.wait(min(random.uniform(0.5, 1) * pause, deadline - now))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def passes_by(error: Exception) -> bool:
    """Whether the same request may succeed later: S3 is busy, away, or cut short."""
    import botocore.exceptions as errors
    from botocore.parsers import ResponseParserError

    if isinstance(error, errors.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code", "")
        return status in BUSY_STATUS or code.startswith(BUSY_CODES)
    if isinstance(error, errors.SSLError):
        return "CERTIFICATE" not in str(error).upper()
    return isinstance(
        error,
        BrokenBody
        | ResponseParserError
        | errors.HTTPClientError
        | errors.ConnectionError
        | errors.IncompleteReadError
        | errors.ResponseStreamingError,
    )


def describe(error: Exception, endpoint: str) -> str:
    """What S3 does, in the words of an error's first half."""
    import botocore.exceptions as errors

    if isinstance(error, errors.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return f"S3 at {endpoint} answers {status} {error.response['Error']['Code']}"
    if isinstance(error, BrokenBody):
        return f"S3 at {endpoint} sends a damaged answer ({error})"
    if isinstance(error, errors.IncompleteReadError | errors.ResponseStreamingError):
        return f"S3 at {endpoint} breaks off its answer ({type(error).__name__})"
    if isinstance(error, errors.HTTPClientError | errors.ConnectionError):
        return f"S3 endpoint {endpoint} does not answer ({type(error).__name__})"
    return f"S3 at {endpoint} sends what is no answer of S3 ({type(error).__name__})"


class _Words:
    """One word of a failure for all threads, and again every `WORD_SECONDS`."""

    def __init__(self) -> None:
        self._lock, self._said = threading.Lock(), float("-inf")

    def say(self, what: str, seconds: float) -> None:
        with self._lock:
            if time.monotonic() - self._said < WORD_SECONDS:
                return
            self._said = time.monotonic()
        logger.warning("%s; trying again for up to %.0f s", what, seconds)


_words = _Words()
