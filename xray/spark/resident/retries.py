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
# As Spark's YarnAllocator words it, and the heap and the rest that YARN counted.
OUTSIZED = re.compile(r"killed by YARN for exceeding .*?memory limits\. (.+? used)")
LET_THROUGH = (
    "Workers exchange their weights with each other: let the executors' hosts through "
    "to all of each other's ports."
)


def outsized(told: str) -> str | None:
    """What to do where Spark says that YARN killed an executor; None: it does not."""
    found = OUTSIZED.search(told)
    return found and (
        f"YARN kills executors that use more than they asked for: {found[1]}. "
        "TensorFlow lives outside the Java heap: set spark.executor.memoryOverhead "
        "(runner.spark_conf, or --conf) to 2g for each worker of an executor, or lower "
        "--executor-cores."
    )


def note_retry(journal: Journal, rounds: int, worker: int | None, told: str) -> None:
    """Add to the journal's retries.

    Args:
        journal: of the run.
        rounds: averages so far.
        worker: the first that was lost, where it is known.
        told: by Spark; may be empty.

    Raises:
        UserError: for the second time without an average between, workers do not reach
            each other, or YARN kills one for its memory. Once may be chance.
    """
    retries, unreached = journal.log.retries, UNREACHED.search(told)
    reason = (unreached[0] if unreached else STACK.sub("", told))[:REASON_CHARACTERS]
    before = retries[-1] if retries and retries[-1].rounds == rounds else None
    earlier = (before and before.reason) or ""
    epoch = min(len(journal.log.epochs) + 1, journal.config.training.epochs)
    retries.append(
        Retry(epoch=epoch, rounds=rounds, worker=worker, reason=reason or None)
    )
    if unreached and UNREACHED.fullmatch(earlier):
        raise UserError(f"{reason}. {LET_THROUGH}")
    if (advice := outsized(told)) and outsized(earlier):
        raise UserError(advice)
