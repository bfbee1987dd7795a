"""Three classes, seven overlap regions: nuclei, vesicles and membranes in one fluorescence channel.

Trains one small model for each rule for the region weights, on equal budgets, and prints the error in every
region:

    python examples/three_classes.py --epochs 10 --images 1024 --seeds 3
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import oasis
from oasis.adapters import Adapter, DataOptions, SplitCounts
from oasis.command import at_least, run_script
from oasis.data.mixing import Placed, Scene
from oasis.data.samples import Array, Scalar
from oasis.evaluation.batches import predictions
from oasis.run import Run

SIZE = 64  # pixels
DARK = 3.0  # photons per pixel that are no object's
RULES: dict[str, dict[str, Any]] = {
    "unweighted": {},
    "by size": {"rule": "size", "weights": {2: 3, 3: 6}},
    "product": {"rule": "product", "weights": {"nucleus": 1, "vesicle": 3, "membrane": 2}},
    "balanced": {"rule": "balanced", "power": 0.5, "limit": 20},
    "learned": {"rule": "learned", "rate": 0.02, "limit": 6},
}


class BlobOptions(DataOptions):
    """The section `data`: images per split."""

    events: SplitCounts = SplitCounts(train=1024, val=128, test=512)


class BlobScene(Scene):
    """Draws one cell: a broad nucleus, a ring of membrane, and small vesicles anywhere."""

    classes = ("nucleus", "vesicle", "membrane")
    shape = (1, SIZE, SIZE)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return the objects of one image."""
        rows, cols = np.mgrid[:SIZE, :SIZE].astype(np.float32)
        row, col = rng.uniform(20, 44, 2)
        distance = np.hypot(rows - row, (cols - col) * rng.uniform(0.8, 1.25))
        wide = rng.uniform(8, 13)
        nucleus = rng.uniform(60, 200) * np.exp(-((distance / wide) ** 4))
        membrane = rng.uniform(15, 60) * np.exp(-(((distance - rng.uniform(0.8, 1.5) * wide) / 2.5) ** 2))
        maps = [("nucleus", nucleus), ("membrane", membrane)]
        for _ in range(rng.integers(4, 13)):
            spot = np.hypot(rows - row - rng.normal(0, 12), cols - col - rng.normal(0, 12))
            maps.append(("vesicle", rng.uniform(10, 50) * np.exp(-((spot / rng.uniform(1.5, 2.5)) ** 2))))
        return [Placed(name, np.where(light > 0.5, light, 0)[None], (0, 0)) for name, light in maps], {}

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, np.ndarray]:
        """Count photons and subtract the dark level."""
        photons = rng.poisson(target.sum(axis=0) + DARK) - DARK
        return photons.astype(np.float32), np.ones((1, SIZE, SIZE), dtype=bool)


class BlobAdapter(Adapter[BlobOptions]):
    """Nuclei, vesicles and membranes, in photons."""

    classes = BlobScene.classes
    unit = "photons"
    thresholds = 1.0
    defaults = {
        "model": {"name": "unet", "base_channels": 8, "depth": 3, "norm": "batch"},
        "scaling": {"scale": 10.0, "peak": False},
        "training": {"batch_size": 16, "learning_rate": 3e-3, "schedule": "onecycle", "workers": 0},
    }

    def scene(self, split: str) -> BlobScene:
        """Return the scene from which images are mixed."""
        return BlobScene()


def region_errors(run: Run, separator: oasis.Separator) -> np.ndarray:
    """Return the mean absolute error (2^N,) of the maps in every region of the test images, in photons."""
    loss = oasis.OverlapLoss(separator.classes, thresholds=1.0, spatial_dims=2)
    sums = torch.zeros(2, 8, dtype=torch.float64)
    for event in predictions(separator, run.dataset("test"), workers=0):
        sums += loss.compare(event.maps, event.batch.target, event.batch.valid).region_sums()
    return (sums[0] / sums[1] / len(separator.classes)).numpy()


def main() -> None:
    """Train with every rule and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=at_least(1), default=10)
    parser.add_argument("--images", type=at_least(1), default=1024, help="of an epoch; half as many are tested")
    parser.add_argument("--seeds", type=at_least(1), default=1, help="runs of every rule")
    parser.add_argument("--run", type=Path, default=Path("runs/three_classes"))
    options = parser.parse_args()
    count = options.images
    errors: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
    for seed in range(options.seeds):
        for rule, weights in RULES.items():
            values = {
                "adapter": f"{__file__}:BlobAdapter",
                "run": str(options.run / f"{rule.replace(' ', '_')}_{seed}"),
                "seed": seed,
                "data": {"events": {"train": count, "val": -(-count // 8), "test": -(-count // 2)}},
                "loss": {"region_weights": weights},
                "training": {"epochs": options.epochs},
            }
            run = Run.from_values(values)
            if seed == 0 and rule == "unweighted":
                print(run.region_statistics("test").text("photons"), flush=True)
            errors[rule].append(region_errors(run, run.train(resume=run.files.last.exists())))
    print(f"\nmean absolute error (photons), mean over {options.seeds} seeds ± their standard deviation")
    print(f"{'region':>28}" + "".join(f"{rule:>15}" for rule in RULES))
    statistics = run.region_statistics("test")
    for code, region in zip(statistics.codes, statistics.table()["region"], strict=True):
        cells = [(np.mean(found, axis=0)[code], np.std(found, axis=0)[code]) for found in errors.values()]
        print(f"{region:>28}" + "".join(f"{f'{mean:.2f} ± {spread:.2f}':>15}" for mean, spread in cells))


if __name__ == "__main__":
    sys.exit(run_script(main))
