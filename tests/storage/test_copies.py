"""What stands on S3, as a folder for those who read one."""

import pytest

from tests.refusals import refused
from xray.common.errors import UserError
from xray.storage.copies import local_copies

ENDINGS = (".json", ".predictions.npz")


@pytest.fixture
def prefix(own_bucket):
    folder = own_bucket.folder / "results"
    for name in (
        *("a.json", "a.predictions.npz", "more/b.json"),
        *("models/a.keras", "models/a.json", "checkpoints/c.npz"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return "s3://nih/results/"


def test_records_are_copied_and_models_and_checkpoints_are_not(
    own_bucket, prefix, tmp_path
):
    with local_copies([prefix, str(tmp_path)], own_bucket.credentials, ENDINGS) as (
        copy,
        own,
    ):
        found = {
            str(path.relative_to(copy)): path.read_text()
            for path in copy.rglob("*")
            if path.is_file()
        }
        assert own == tmp_path
    names = ["a.json", "a.predictions.npz", "more/b.json"]
    assert found == {name: name for name in names}
    assert not copy.exists()


def test_an_error_names_the_address_and_not_the_copy(own_bucket, prefix):
    with (
        refused("^s3://nih/results/a.json is odd.$"),
        local_copies([prefix], own_bucket.credentials, ENDINGS) as (copy,),
    ):
        raise UserError(f"{copy / 'a.json'} is odd.")


def test_a_prefix_without_records_is_told(own_bucket, prefix):
    said = "No .json or .predictions.npz file below s3://nih/results/checkpoints/."
    with (
        refused(said),
        local_copies([f"{prefix}checkpoints"], own_bucket.credentials, ENDINGS),
    ):
        pass
