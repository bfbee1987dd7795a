"""Runs whose files are damaged, missing or something else: every command that reads them says so in one line."""

import os

import numpy as np
import pytest
from broken import damages
from conftest import LONG

PREDICT = ["predict", "run", "frames/a.npy", "--out", "maps.h5"]
EVALUATE = ["evaluate", "run"]
REPORT = ["report", "run"]
COMPARE = ["compare", "run", "other"]
RESUME = ["train", "--resume", "run", "--set", "training.epochs=3"]
READERS = {
    "config.yaml": [
        *(["info", "run"], PREDICT, EVALUATE, ["calibrate", "run"], REPORT, COMPARE, RESUME),
        *(["regions", "run"], ["simulate", "run", "--out", "new.h5"]),
    ],
    "model.safetensors": [["info", "run"], PREDICT, EVALUATE, ["calibrate", "run"], REPORT, RESUME],
    "log.csv": [["info", "run"], REPORT, RESUME],
    "region_weights.csv": [["info", "run"], REPORT],
    "events.parquet": [REPORT, COMPARE],
    "calibration.json": [PREDICT, EVALUATE, REPORT],
    "checkpoints/last.ckpt": [RESUME, ["info", "run"]],
    "config.json": [["info", "run"], PREDICT],
    ".holder.json": [EVALUATE, ["calibrate", "run"]],
}
"""The files of a run, and commands that read them."""

KINDS = [*damages(b"x"), "missing", "folder", "loop", "pipe"]
CASES = [
    pytest.param(name, command, kind, id=f"{name}-{command[0]}-{kind}")
    for name, commands in READERS.items()
    for command in commands
    for kind in KINDS
]


def damage(path, kind):
    """Put something else in the place of a file."""
    content = path.read_bytes() if path.exists() else b"{}"
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(damages(content)[kind])


def is_written(name):
    return name.startswith("run/") or name in ("maps.h5", "maps.csv", "new.h5")


@pytest.mark.parametrize(("name", "command", "kind"), CASES if LONG else CASES[::9])
def test_a_damaged_file_of_a_run_is_refused_or_not_needed(world, name, command, kind):
    damage(world / "run" / name, kind)
    world.survives(*command, "--quiet", new=is_written)
    assert not (world / "trapped").exists()


@pytest.mark.parametrize(
    "command", [["info", "x"], REPORT[:1] + ["x"], EVALUATE[:1] + ["x"], ["train", "--resume", "x"]]
)
@pytest.mark.parametrize("kind", ["missing", "empty folder", "file", "loop", "n" * 300, "nul"])
def test_what_is_no_run_is_refused(world, command, kind):
    name = kind if len(kind) == 300 else "x"
    if kind == "empty folder":
        (world / "x").mkdir()
    elif kind == "file":
        (world / "x").write_text("x")
    elif kind == "loop":
        (world / "x").symlink_to("x")
    world.refused(*command[:-1], name)


@pytest.mark.parametrize("text", ["nan", "inf", "", "-1", "1e999", "text", "=1+1", "1;2", "\0"])
@pytest.mark.parametrize("name", ["log.csv", "region_weights.csv"])
def test_cells_of_another_kind_are_refused_or_shown(world, name, text):
    path = world / "run" / name
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(",".join([text] * (1 + header.count(","))) for _ in rows)]))
    for command in (["info", "run"], REPORT):
        world.survives(*command, "--quiet", new=is_written)
    path.write_text(header + "\n")
    for command in (["info", "run"], REPORT):
        world.survives(*command, "--quiet", new=is_written)


def test_tables_of_events_of_another_kind_are_refused(world):
    import pandas as pd

    path = world / "run/events.parquet"
    table = pd.read_parquet(path)
    numbers = table.select_dtypes("number").columns
    for other in (
        table[:0],
        table[:1],
        table[["class"]],
        table.drop(columns="class"),
        table.assign(**dict.fromkeys(numbers, np.nan)),
        table.assign(**dict.fromkeys(numbers, "text")),
        table.assign(**{"class": 3}),
        table.assign(**{"class": "unknown"}),
        pd.concat([table, table]),
        pd.DataFrame({"x": [{"a": 1}, {"b": [1]}]}),
    ):
        other.to_parquet(path)
        for command in (REPORT, COMPARE):
            world.survives(*command, "--quiet", new=is_written)
