"""The command that prints predictions and checks the model."""

import json

from experiments import forecast
from tests.conftest import assert_one_line
from tests.report.test_forecast import run


def ask(capsys, folder, *arguments):
    code = forecast.main([str(folder), *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def write(folder, *workers):
    for count in workers:
        run(count).write(folder)
    return folder


def test_time_cost_and_knee(tmp_path, capsys):
    folder = write(tmp_path, 1, 2, 4)
    code, out, _ = ask(capsys, folder, "--workers", "8", "64", "--images", "112120")
    assert code == 0
    found = json.loads(out.splitlines()[-1])
    assert found["images"] == 112120
    assert [row["workers"] for row in found["predictions"]] == [1, 8, 64]
    assert found["predictions"][1]["usd"] > 0
    assert "Measured up to 4 worker(s)" in out


def test_a_slower_network_takes_longer(tmp_path, capsys):
    folder = write(tmp_path, 1, 2)
    options = ([], ["--network-gbps", "1.25"], ["--network-gbps", "0.5"])
    seconds = [
        json.loads(ask(capsys, folder, "--workers", "64", *more)[1].splitlines()[-1])[
            "predictions"
        ][-1]["seconds"]
        for more in options
    ]
    assert seconds[0] == seconds[1] < seconds[2]  # the first is the priced machine's


def test_held_out_counts(tmp_path, capsys):
    code, out, _ = ask(capsys, write(tmp_path, 1, 2, 4), "--hold-out")
    assert code == 0
    found = json.loads(out.splitlines()[-1])["held_out"]
    assert [row["workers"] for row in found] == [1, 2, 4]
    assert all(row["inside"] for row in found)


def test_too_few_records_are_one_line(tmp_path, capsys):
    code, _, err = ask(capsys, tmp_path)
    assert code == 2
    assert_one_line(err, "No resident Elephas record")
    code, _, err = ask(capsys, write(tmp_path, 2), "--hold-out")
    assert code == 2
    assert_one_line(err, "three worker counts")
