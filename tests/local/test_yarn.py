"""YARN on this machine: what is refused before a process starts."""

from tests.conftest import assert_one_line
from xray.local_yarn import main


def test_a_folder_without_hadoop_is_refused(tmp_path, capsys):
    assert main(["--hadoop", str(tmp_path), "--", "true"]) == 2
    error = capsys.readouterr().err
    assert_one_line(error, str(tmp_path), "mvn -f tests/yarn/pom.xml")
