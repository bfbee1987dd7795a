"""Files with bytes changed at random, and configurations with values drawn at random: one line, or a result."""

import shutil
import string

import pytest
import yaml
from broken import WAVES, npy, npz
from conftest import LONG
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oasis.config.changes import leaves
from oasis.io.yaml_text import flow

MANY = settings(
    max_examples=150 if LONG else 3,
    derandomize=not LONG,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
PREDICT = ["predict", "run", "frames", "--out", "maps.h5"]
FILES = {
    "frames/a.npy": [PREDICT],
    "frames/a.npz": [PREDICT],
    "frames/b.csv": [PREDICT],
    "frames/c.h5": [PREDICT],
    "waves.yaml": [["regions", "waves.yaml", "--samples", "2"]],
    "study.yaml": [["ablate", "study.yaml", "--set", "grid.seed=[]"]],
    "run/config.yaml": [["info", "run"]],
    "run/model.safetensors": [["info", "run"], PREDICT],
    "run/log.csv": [["info", "run"]],
    "run/region_weights.csv": [["info", "run"]],
    "run/events.parquet": [["compare", "run", "other"]],
    "run/calibration.json": [PREDICT],
    "run/checkpoints/last.ckpt": [["train", "--resume", "run"]],
}
"""Files, and commands that read them."""


def is_written(name):
    return name.startswith(("run/", "maps.", "study/"))


@st.composite
def changes(draw, content):
    """Bytes with a few places overwritten, a part cut out, or something put in between."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, max(len(found) - 1, 0)))
        length = draw(st.integers(0, 40))
        kind = draw(st.sampled_from(("overwrite", "cut", "insert", "repeat")))
        new = draw(st.binary(min_size=length, max_size=length))
        if kind == "repeat":
            new = bytes(found[place : place + length]) * draw(st.integers(2, 9))
        found[place : place + (0 if kind == "insert" else length)] = b"" if kind == "cut" else new
    return bytes(found)


@pytest.mark.parametrize("name", FILES)
def test_bytes_that_were_changed_are_refused_or_read(world, name):
    (world / "frames/a.npz").write_bytes(npz(image=npy(WAVES)))
    path = world / name
    content, limits = path.read_bytes(), {"memory": 10 * 2**30}

    @MANY
    @given(data=st.data())
    def tried(data):
        path.write_bytes(data.draw(changes(content)))
        for command in FILES[name]:
            world.survives(*command, "--quiet", new=is_written, partly=is_written, lines=None, **limits)
        path.write_bytes(content)

    tried()


VALUES = st.one_of(
    st.sampled_from(
        [None, True, [], {}, "", 0, -1, 1, 2, 0.5, 1e-30, 1e30, 2**31, 2**64, "unknown", "1e9", [1, 2]]
    ),
    st.integers(),
    st.floats(),
    st.text(string.printable, max_size=12),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(string.ascii_letters, max_size=5), st.integers(), max_size=2),
)
WORK = ("data.events", "training.epochs", "training.workers", "training.devices", "run", "adapter")
"""Keys that say how long a command takes, or where it writes."""


@pytest.mark.parametrize("section", ["data", "model", "scaling", "head", "loss", "training", "augmentation"])
def test_values_of_any_kind_are_refused_or_obeyed(world, section):
    config = yaml.safe_load((world / "run/config.yaml").read_text())
    config["augmentation"] = {"flip": True, "affine": {"scale": [0.9, 1.1], "shift": 2}}
    keys = [key for key in leaves(config) if key.startswith(section) and not key.startswith(WORK)]
    assert keys

    @MANY
    @given(key=st.sampled_from(keys), value=VALUES)
    def tried(key, value):
        few = ["--set", "training.epochs=1", "--set", "data.events.val=8"]
        command = ["train", "waves.yaml", "--run", "new", *few, "--set", f"{key}={flow(value)}"]
        world.survives(*command, "--quiet", new=is_new, partly=is_new, lines=None, memory=10 * 2**30)
        shutil.rmtree(world / "new", ignore_errors=True)

    tried()


def is_new(name):
    return name.startswith("new/")
