"""Records back from their files: every run once, whatever else lies beside them."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from xray.common.errors import UserError
from xray.records.record import SCHEMA_VERSION, RunRecord
from xray.records.shape import find_oddity
from xray.records.wording import plural

BENCHMARK_MARK = 64  # bytes within which a benchmark's file names itself


def read_records(*places: Path) -> tuple[list[RunRecord], list[str]]:
    """Every run once, oldest first, and why other files were left out.

    Benchmarks (xray.records.benchmark) and saved models (xray.model.saved) may live
    beside the records and are no records.

    Args:
        places: folders, searched with their subfolders, or single files.

    Raises:
        UserError: two files tell different things of one run.
    """
    found: dict[str, tuple[Path, RunRecord]] = {}
    left_out, copies = [], []
    for path in _files(places):
        try:
            record = _read(path)
        except (OSError, ValueError) as error:
            left_out.append(f"{path}: {why_invalid(error)}")
            continue
        if record is None:
            continue
        first, same = found.setdefault(record.run_id, (path, record))
        if same != record:
            raise UserError(
                f"Two different records have the run_id {record.run_id!r}: {first} and "
                f"{path}. Take the wrong one away."
            )
        if first != path:
            copies.append(f"{path} is {first.name} of {first.parent}")
    if copies:
        number = plural(len(copies), "copy", "copies")
        left_out.append(f"{number} ignored: {'; '.join(copies)}")
    records = [record for _, record in found.values()]
    return sorted(records, key=lambda record: record.created), left_out


def _files(places: Iterable[Path]) -> list[Path]:
    """JSON files of folders and those named, each once."""
    lists = [
        [place] if place.is_file() else sorted(place.rglob("*.json"))
        for place in places
    ]
    return list({path.resolve(): path for paths in lists for path in paths}.values())


def _read(path: Path) -> RunRecord | None:
    """A file's record; None for a benchmark or a saved model.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no record of this version.
    """
    content = path.read_bytes()
    if b'"benchmark"' in content[:BENCHMARK_MARK]:
        return None
    if path.with_suffix(".keras").exists():
        return None
    try:
        record = RunRecord.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"not a run record ({why_invalid(error)})") from error
    if record.schema_version > SCHEMA_VERSION:
        raise ValueError(f"schema {record.schema_version}, newer than {SCHEMA_VERSION}")
    if odd := find_oddity(record.model_dump(mode="json")):
        raise ValueError(f"not a run record ({odd})")
    return record


def why_invalid(error: Exception) -> str:
    """Why a file is not what it should be, in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return str(error)
