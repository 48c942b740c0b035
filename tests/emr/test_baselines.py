"""The printed commands for single instances are valid shell and hold what they say."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from emr.baselines import instructions, run_instances, user_data
from emr.commands import make_sweep
from emr.settings import load_settings
from tests.refusals import refused
from xray.config.file import load_config
from xray.config.run import RunConfig
from xray.config.runners import GPU, SEQUENTIAL

CONFIG = Path("experiments/configs/published.yaml")


def sweep(*overrides, settings=()):
    config = load_config(CONFIG, ["data.credentials=secrets.yaml", *overrides])
    return make_sweep(load_settings(overrides=settings), config, [1, 2], 2)


@pytest.mark.parametrize("runner", [SEQUENTIAL, GPU])
def test_user_data_passes_shellcheck(runner, tmp_path):
    script = tmp_path / "user-data.sh"
    script.write_text(user_data(sweep(), runner))
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert f"experiments/{runner.script}" in script.read_text()


def test_the_instance_ends_itself():
    command = run_instances(sweep(), SEQUENTIAL, "m5.xlarge")
    assert "--instance-initiated-shutdown-behavior terminate" in command
    assert "trap 'shutdown -h now' EXIT" in command


def test_the_instructions_are_a_shell_script(tmp_path):
    """Run for real, with an `aws` that shows what it was given."""
    text = instructions(sweep(), "c5.xlarge", "g5.xlarge")
    tool = tmp_path / "aws"
    tool.write_text('#!/bin/sh\nprintf "<%s>" "$@"; echo\n')
    tool.chmod(0o755)
    commands = text.partition("# When they have ended")[0]
    done = subprocess.run(
        ["bash", "-c", f"PATH={shlex.quote(str(tmp_path))}:$PATH\n{commands}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "<--instance-type><c5.xlarge>" in done.stdout
    assert "<--instance-type><g5.xlarge>" in done.stdout
    assert "<--user-data><#!/usr/bin/env bash" in done.stdout
    assert "secrets.yaml" not in text


def test_the_same_settings_are_the_same_sweep():
    assert sweep().name == sweep().name
    assert sweep("training.epochs=2").name != sweep().name
    assert sweep(settings=["core.instance_type=m5a.xlarge"]).name != sweep().name
    assert sweep(settings=["idle_minutes=30"]).name == sweep().name


def test_repeats_come_one_round_after_the_other():
    names = [run.name for run in sweep().runs]
    assert names == [f"elephas-e{n}-r{k}" for k in (1, 2) for n in (1, 2)]


def test_nothing_of_this_machine_reaches_the_cluster():
    config = sweep("runner.master=local[2]", "data.cache_dir=/tmp/cache").config
    assert (config.data.credentials, config.data.cache_dir) == (None, None)
    assert config.runner.master is None
    assert isinstance(RunConfig.model_validate(config.to_dict()), RunConfig)


def test_what_a_cluster_cannot_have_is_refused():
    with refused("model.weights must be imagenet or on S3"):
        sweep("model.weights=mine.keras")
    with refused("data.train_list must be on S3 for EMR.*Got 'train.txt'"):
        sweep("data.train_list=train.txt", "data.test_list=s3://b/test.txt")
    with refused("data.images must be on S3 for EMR.*Got 'images/'"):
        sweep("data.images=images/")
    with refused("runner.backend is for the gpu runner alone"):
        sweep("runner.backend=jax")
    with refused("data.endpoint_url must not be set for EMR"):
        sweep("data.endpoint_url=http://127.0.0.1:9000")
    with refused("output.models must be on S3 for EMR.*Got 'models'"):
        sweep("output.models=models")
    with refused("output.tensorboard must be null for EMR.*Got 'logs'"):
        sweep("output.tensorboard=logs")
    assert sweep("output.models=s3://b/m/").config.output.models == "s3://b/m/"
    for executors, repeats in (([0], 1), ([1], 0)):
        with refused("must be at least 1"):
            make_sweep(load_settings(), load_config(CONFIG), executors, repeats)
    with refused("A cluster takes 256 steps"):
        make_sweep(load_settings(), load_config(CONFIG), [1, 2, 3], 100)
