"""Scenes: decay products and muons in a window of a sensor, each placed as one component with its charge."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd.depositing import deposit, muon_deposits
from oasis.adapters.ccd.options import CcdOptions
from oasis.adapters.ccd.sensor import CHUNK, FAINTEST, Sensor
from oasis.adapters.ccd.sources import Window, diagnostic, xenon
from oasis.adapters.ccd.tracks import Deposits, Electrons
from oasis.data.components import Components
from oasis.data.mixing import Placed, Scene, split_indices
from oasis.data.samples import Array, Scalar

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
BETA, CE, ELECTRON, PHOTON, MUON = "beta", "ce", "electron", "photon", "muon"
DIAGNOSTIC = ("front", "back", "bulk")


class Stamp(NamedTuple):
    """The charge of one object in its box.

    Attributes:
        owner: the object.
        origin: row and column of the first pixel.
        values: (1, h, w) e-.
    """

    owner: int
    origin: tuple[int, int]
    values: Array


def stamps(deposits: Deposits, charge: Floats, sensor: Sensor, shape: Sequence[int]) -> list[Stamp]:
    """Return the charge of every object in a window, spread by diffusion; objects without any are left out.

    Args:
        deposits: points in um from the corner of the window, in order of the objects.
        charge: (m,) e- of every point.
        sensor: the sensor.
        shape: rows and columns of the window.
    """
    places = deposits.points[:, 1::-1] / sensor.pixel_um - 0.5  # rows, columns
    half = sensor.kernel // 2
    nearest = np.rint(places)
    inside = ((nearest >= -half) & (nearest < np.array(shape) + half)).all(axis=1)
    owner, places, charge, nearest = deposits.owner[inside], places[inside], charge[inside], nearest[inside]
    if not len(owner):
        return []
    depth = deposits.points[inside, 2]
    objects, first = np.unique(owner, return_index=True)
    low = np.maximum(np.minimum.reduceat(nearest, first).astype(np.int64) - half, 0)
    high = np.minimum(np.maximum.reduceat(nearest, first).astype(np.int64) + half + 1, shape)
    size = high - low
    ends = np.cumsum(size.prod(axis=1))
    flat = np.zeros(ends[-1])
    place = np.searchsorted(objects, owner)
    for begin in range(0, len(owner), CHUNK):
        part = slice(begin, begin + CHUNK)
        pixels, shares = sensor.spread(places[part], depth[part])
        of = place[part]
        local = pixels - low[of][:, None]
        rows, columns = local[:, :, 0, None], local[:, None, :, 1]
        kept = (rows >= 0) & (rows < size[of, 0, None, None]) & (columns >= 0)
        kept &= columns < size[of, 1, None, None]
        index = (ends - size.prod(axis=1))[of, None, None] + rows * size[of, 1, None, None] + columns
        flat += np.bincount(index[kept], (shares * charge[part, None, None])[kept], len(flat))
    flat[flat < FAINTEST] = 0
    boxes = zip(
        objects.tolist(), low.tolist(), size.tolist(), np.split(flat.astype(np.float32), ends[:-1]), strict=True
    )
    return [
        Stamp(number, (corner[0], corner[1]), values.reshape(1, *lengths))
        for number, corner, lengths, values in boxes
        if values.any()
    ]


class CcdScene(Scene):
    """Decay products of 135Xe and muons in a window of a CCD, or the electrons of the diagnostic sample.

    Args:
        options: the options of the domain.
        classes: the class names.
        split: `train`, `val` or `test`, which share no electron track.
        tracks: the library of electron tracks.
    """

    def __init__(self, options: CcdOptions, classes: tuple[str, ...], split: str, tracks: Components) -> None:
        self.options = options
        self.classes = classes
        self.shape = (1, *options.window(split))
        self.electrons = Electrons(tracks, split_indices(len(tracks), FRACTIONS)[split])
        self.photons = options.training_photons if split == "train" else 1.0
        self.rates = (options.training_rate if split == "train" else None) or (options.rate, options.rate)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return the objects that reach the window, at random positions."""
        options, sensor = self.options, self.options.sensor
        rate = float(np.exp(rng.uniform(*np.log(self.rates))))
        window = Window((self.shape[1], self.shape[2]), sensor)
        of_xenon = options.sample == "xenon"
        placed: list[Placed] = []
        starts = (
            xenon(options, window, rate, rng, self.photons) if of_xenon else diagnostic(options, window, rate, rng)
        )
        for name, start in starts.items():
            made = deposit(start, self.electrons, sensor, rng)
            truth = {"energy": start.energy, "side": start.side.astype(float)}
            placed += self._placed(self._class(name), made, truth, rng)
        if of_xenon:
            made, side = muon_deposits(options, window, self.electrons, rate, rng)
            total = np.bincount(made.owner, made.energy, len(side)).astype(float)
            placed += self._placed(MUON, made, {"energy": total, "side": side.astype(float)}, rng)
        return placed, {"rate": rate, "objects": len(placed)}

    def _class(self, origin: str) -> str:
        return ELECTRON if origin in (BETA, CE) and ELECTRON in self.classes else origin

    def _placed(
        self, name: str, deposits: Deposits, truth: Mapping[str, Floats], rng: np.random.Generator
    ) -> list[Placed]:
        sensor = self.options.sensor
        deposited = np.bincount(deposits.owner, deposits.energy, len(truth["energy"]))
        truth = {**truth, "deposited": deposited.astype(float)}
        charge = sensor.pairs(deposits.energy, rng)
        return [
            Placed(name, one.values, one.origin, {key: float(column[one.owner]) for key, column in truth.items()})
            for one in stamps(deposits, charge, sensor, self.shape[1:])
        ]

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the image with dark current, noise and defects, and the pixels that are not saturated."""
        return self.options.sensor.observe(target.sum(axis=0), rng)
