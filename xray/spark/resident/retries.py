"""Why all workers start again: what of Spark's words is kept, and what ends the run."""

import re

from xray.common.errors import UserError
from xray.records.record import Retry
from xray.training.journal import Journal

REASON_CHARACTERS = 300  # of what Spark tells
# Where Spark's own words end: stacks follow, with the paths of a machine.
STACK = re.compile(r":? (Traceback \(most recent call last\)|at [\w.$]+\().*")
# What Peers raises, which stands within a stack.
UNREACHED = re.compile(r"Worker \d+ on \S+ cannot reach worker \d+ at \S+ \([^)]*\)")
LET_THROUGH = (
    "Workers exchange their weights with each other: let the executors' hosts through "
    "to all of each other's ports."
)


def note_retry(journal: Journal, rounds: int, worker: int | None, told: str) -> None:
    """Add to the journal's retries.

    Args:
        journal: of the run.
        rounds: averages so far.
        worker: the first that was lost, where it is known.
        told: by Spark; may be empty.

    Raises:
        UserError: for the second time on end, workers do not reach each other. Once
            may be a worker that was lost just then.
    """
    retries, unreached = journal.log.retries, UNREACHED.search(told)
    reason = (unreached[0] if unreached else STACK.sub("", told))[:REASON_CHARACTERS]
    again = bool(retries and unreached and retries[-1].rounds == rounds)
    again = again and bool(UNREACHED.fullmatch(retries[-1].reason or ""))
    epoch = min(len(journal.log.epochs) + 1, journal.config.training.epochs)
    retries.append(
        Retry(epoch=epoch, rounds=rounds, worker=worker, reason=reason or None)
    )
    if again:
        raise UserError(f"{reason}. {LET_THROUGH}")
