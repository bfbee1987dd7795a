"""Trains the small models that the package contains, which `oasis demo` shows: some minutes each on one core.

    python examples/zoo.py                 # all
    python examples/zoo.py migdal galaxy   # some

Each is the quickstart of its domain with fewer events, fewer epochs and, where needed, a smaller network, so that
it has at most 1 MB. Its folder `oasis/zoo/models/NAME` is a run without its figures, with a model card, whose
numbers are measured on the events of the test split.
"""

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

from oasis.command import run_script
from oasis.config.changes import changed
from oasis.errors import ConfigError
from oasis.io.texts import write_text
from oasis.io.yaml_text import parse_yaml
from oasis.run import Run
from oasis.starting.quickstarts import quickstart

MODELS = Path(__file__).parents[1] / "oasis" / "zoo" / "models"
LARGEST = 10**6  # bytes
FILES = ("config.yaml", "model.safetensors", "log.csv", "region_weights.csv", "size_check.json")
CHANGES = {
    "migdal": ["data.events={train: 3000, val: 300, test: 2000}", "training.epochs=8"],
    "galaxy": [
        "data.library={simulated: 1500}",
        "data.events={train: 2500, val: 300, test: 1000}",
        "model.base_channels=8",
        "training.epochs=12",
    ],
    "neutrino": [
        "data.events={train: 5000, val: 300, test: 1000}",
        "model.base_channels=8",
        "training.epochs=12",
        "training.workers=0",
    ],
    "waveform": [
        "data.events={train: 3000, val: 300, test: 2000}",
        "model.base_channels=24",
        "model.multiplier=1",
        "training.epochs=16",
    ],
    "cells": [
        "data.events={train: 1600, val: 60, test: 300}",
        "model.base_channels=8",
        "training.batch_size=8",
        "training.epochs=6",
    ],
    "ccd": ["data.events={train: 1200, val: 8, test: 30}", "training.epochs=6"],
    "cygno": ["data.events={train: 1500, val: 60, test: 300}", "training.epochs=5"],
}
CARD = """# {name}

The small model that `oasis demo {name}` shows: to try, not to measure with. The quickstart of the domain
(`oasis init {name}`) trains on more events for longer.

- Classes: {classes}; unit of the intensities: {unit}
- Network: {network}, {parameters:,} parameters; trained on images of {size} pixels.
- Training: {events:,} events per epoch, {epochs} epochs, seed {seed}; `config.yaml` has all settings.
- Data: {data}.
- Made by `python examples/zoo.py {name}`.

On the {tested:,} events of the test split:

```
{summary}
```
"""
DATA = {
    "migdal": "simulated camera images",
    "galaxy": "simulated galaxies",
    "neutrino": "simulated vertices",
    "waveform": "simulated waveforms",
    "cells": "simulated images of cells, of a microscope with a point-spread function of 1 pixel",
    "ccd": "simulated exposures",
    "cygno": "simulated camera images",
}


def make(name: str) -> None:
    """Train a model, measure it, and write its folder and card."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        run = Run.from_values(changed(parse_yaml(quickstart(name), name), CHANGES[name]), name)
        run.train()
        found = run.evaluate()
        target = MODELS / name
        target.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            if (run.folder / file).exists():
                shutil.copyfile(run.folder / file, target / file)
        write_text(target / "README.md", card(name, run, found.summary.text(run.adapter.unit)))
    size = os.path.getsize(target / "model.safetensors")
    print(f"{name}: {size / 1e6:.2f} MB\n{found.summary.text(run.adapter.unit)}", flush=True)
    if size > LARGEST:
        raise ConfigError(f"{name}: {size} bytes, at most {LARGEST} are wanted")


def card(name: str, run: Run, summary: str) -> str:
    """Return the model card of a run as Markdown."""
    separator = run.separator("cpu")
    return CARD.format(
        name=name,
        classes=", ".join(run.adapter.classes),
        unit=run.adapter.unit,
        network=separator.options.model["name"],
        parameters=sum(weights.numel() for weights in separator.parameters()),
        size=" x ".join(map(str, separator.options.trained_size)),
        events=len(run.dataset("train")),
        epochs=run.config.training.epochs,
        seed=run.config.seed,
        data=DATA[name],
        tested=len(run.dataset("test")),
        summary=summary,
    )


def main(arguments: list[str]) -> None:
    """Make the named models, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(CHANGES), metavar="NAME", help=", ".join(CHANGES))
    for name in parser.parse_args(arguments).names:
        make(name)


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
