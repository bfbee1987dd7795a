"""Commands that are killed or interrupted at any moment: nothing is left, and nothing that was whole is lost."""

import shlex
import signal
import time

import numpy as np
import pandas as pd
import pytest
from conftest import LONG

KILLS = 50 if LONG else 2
SLOW = ("training.epochs=4", "data.events.train=160", "data.events.val=40")  # some seconds on any machine


def changes(*settings):
    return [part for setting in settings for part in ("--set", setting)]


def log_of(folder):
    return pd.read_csv(folder / "log.csv").drop(columns="seconds")


@pytest.fixture(scope="module")
def undisturbed(server, trained, tmp_path_factory):
    """The log of a training that nobody ended, and how long it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    begun = time.monotonic()
    ended = server.run("train", trained / "waves.yaml", "--run", "run", *changes(*SLOW), cwd=folder)
    assert ended.code == 0, ended
    return log_of(folder / "run"), time.monotonic() - begun


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_training_that_was_killed_goes_on_to_the_same_end(world, server, undisturbed, kill):
    log, seconds = undisturbed
    delay = np.random.default_rng(kill).uniform(0, seconds)
    train = ["train", "waves.yaml", "--run", "killed", *changes(*SLOW)]
    running = server.begin(*train, cwd=world.path)
    time.sleep(delay)
    running.kill()
    assert not running.wait().alive
    rows = log_of(world / "killed") if (world / "killed/log.csv").exists() else log[:0]
    if (world / "killed/checkpoints/last.ckpt").exists():
        ended = world.run("train", "--resume", "killed")
    else:
        ended = world.run(*train)
    assert ended.code == 0, ended
    again = log_of(world / "killed")
    pd.testing.assert_frame_equal(again, log)
    pd.testing.assert_frame_equal(again[: len(rows)], rows)
    world.check(ended, world.contents())
    assert world.run("info", "killed").code == 0


COMMANDS = {
    "train": ["train", "waves.yaml", "--run", "new", *changes(*SLOW, "training.epochs=16")],
    "evaluate": ["evaluate", "run", *changes("data.events.test=300")],
    "calibrate": ["calibrate", "run", *changes("data.events.val=3000")],
    "report": ["report", "run"],
    "predict": ["predict", "run", "many.npy", "--out", "maps.h5"],
    "simulate": ["simulate", "waves.yaml", "--out", "simulated.h5", *changes("data.events.test=30000")],
    "ablate": ["ablate", "study.yaml", "--workers", "2", *changes("training.epochs=3")],
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_asked_to_end_says_so_in_one_line(world, server, name, number):
    np.save(world / "many.npy", np.random.default_rng(0).normal(5, 1, (20_000, 64)).astype(np.float32))
    before = world.contents()
    for delay in (1.0, 0.5, 0.2, 0.1):  # the command may have ended sooner, or be about to
        running = server.begin(*COMMANDS[name], "--quiet", cwd=world.path)
        time.sleep(delay)
        running.kill(number)
        ended = running.wait()
        lines = [line for line in ended.said if line.startswith("interrupted; all files are intact: ")]
        if lines:
            break
    world.check(ended, before, new=lambda file: file.startswith(("run/", "new/", "study/")))
    assert ended.code == 128 + number, ended
    (line,) = lines
    if "--resume" in line:
        command = shlex.split(line.partition("with  ")[2])[1:]
        assert world.run(*command).code == 0


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "ablate")])
def test_what_a_killed_command_left_is_removed_when_it_runs_again(world, server, name):
    np.save(world / "many.npy", np.random.default_rng(0).normal(5, 1, (500, 64)).astype(np.float32))
    for delay in (0.3, 0.6, 1.0, 1.5)[: 4 if LONG else 2]:
        running = server.begin(*COMMANDS[name], "--quiet", cwd=world.path)
        time.sleep(delay)
        running.kill()
        assert not running.wait().alive
    ended = world.run(*COMMANDS[name], "--quiet", seconds=120)
    assert ended.code == 0, ended
    assert not [name for name in world.contents() if name.endswith(".part")]
