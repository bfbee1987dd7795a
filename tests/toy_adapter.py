"""A small domain for tests: a bright bar over faint dots, 24 x 20 pixels."""

import numpy as np

from oasis.adapters import Adapter, Study
from oasis.data.mixing import Mixer, Placed, Scene
from oasis.data.quantities import Quantities, Quantity
from oasis.options import Options


class Settings(Options):
    train: int = 16
    val: int = 6
    test: int = 7


class DotsAndBars(Scene):
    classes = ("dot", "bar")
    shape = (1, 24, 20)

    def place(self, index, rng):
        row, col = rng.integers(2, 18), rng.integers(2, 14)
        height = float(rng.uniform(5, 20))
        placed = [Placed("bar", np.full((1, 24, 3), 100, np.float32), (0, int(rng.integers(4, 12))))]
        if index % 2 == 0:
            placed.append(Placed("dot", np.full((1, 4, 4), height, np.float32), (int(row), int(col))))
        there = index % 2 == 0
        return placed, {
            "kind": "both" if there else "bar",
            "height": height,
            "dot_height": height if there else np.nan,
        }

    def observe(self, target, placed, rng):
        image = target.sum(axis=0) + rng.exponential(0.1, self.shape).astype(np.float32)
        return image.astype(np.float32), np.ones((1, 24, 20), bool)


class ToyAdapter(Adapter):
    """Dots under bars."""

    classes = ("dot", "bar")
    unit = "counts"
    quantities = Quantities(classes=("dot",), of_object=(Quantity(name="height", centre=12, width=4),))
    options_type = Settings
    thresholds = 1.0
    defaults = {
        "model": {"name": "unet", "base_channels": 4},
        "scaling": {"scale": 5.0, "peak": False},
        "loss": {"region_weights": {"dot&bar": 4}},
        "training": {"epochs": 2, "batch_size": 4, "workers": 0, "precision": "float32", "learning_rate": 1e-2},
    }
    study = Study(
        "dot", "height", "height (counts)", (5, 12, 20), signal="kind == 'both'", background="kind == 'bar'"
    )

    def dataset(self, split):
        return Mixer(DotsAndBars(), getattr(self.options, split), self.seed, split, fixed=split != "train")

    def event_rows(self, prediction, sample):
        return {"dot": {"peak_predicted": float(prediction.maps[0].max())}}
