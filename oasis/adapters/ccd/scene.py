"""Scenes: decay products and muons in a window of a sensor, each placed as one component with its charge."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd.depositing import deposit, muon_deposits
from oasis.adapters.ccd.options import CcdOptions
from oasis.adapters.ccd.sensor import CHUNK, FAINTEST, Sensor
from oasis.adapters.ccd.sources import Window, diagnostic, xenon
from oasis.adapters.ccd.tracks import Deposits, Electrons
from oasis.data.components import Components
from oasis.data.draws import Draws
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


class _Charged(NamedTuple):
    """Objects of one class, of several samples.

    Attributes:
        name: their class.
        deposits: the points of n objects.
        charge: (m,) e- of every point.
        truth: (n,) true quantities.
        sample: (n,) the sample of each.
    """

    name: str
    deposits: Deposits
    charge: Floats
    truth: Mapping[str, Floats]
    sample: NDArray[np.integer[Any]]


def stamps(deposits: Deposits, charge: Floats, sensor: Sensor, shape: Sequence[int]) -> list[Stamp]:
    """Return the charge of every object in a window, spread by diffusion; objects without any are left out.

    Args:
        deposits: points in um from the corner of the window, in order of the objects.
        charge: (m,) e- of every point.
        sensor: the sensor.
        shape: rows and columns of the window.
    """
    half = sensor.kernel // 2
    places = np.stack([deposits.points[:, axis] for axis in (1, 0)])  # rows, columns
    places /= sensor.pixel_um
    places -= 0.5
    nearest = np.rint(places)
    (height, width), (down, across) = shape, nearest
    inside = (down >= -half) & (down < height + half) & (across >= -half) & (across < width + half)
    chosen = np.flatnonzero(inside)
    if not len(chosen):
        return []
    owner, charge, depth = deposits.owner[chosen], charge[chosen], deposits.points[chosen, 2]
    places, nearest = places[:, chosen], nearest[:, chosen].astype(np.int64)
    objects, first = np.unique(owner, return_index=True)
    low = np.minimum.reduceat(nearest, first, axis=1).T - half
    high = np.maximum.reduceat(nearest, first, axis=1).T + half + 1
    size = high - low
    ends = np.cumsum(size.prod(axis=1))
    begins = ends - size.prod(axis=1)
    flat = _spread(places, depth, charge, np.searchsorted(objects, owner), low, size, sensor)
    flat[flat < FAINTEST] = 0
    lit = np.maximum.reduceat(flat, begins) > 0
    top = np.maximum(low, 0)
    bottom = np.minimum(high, shape)
    cut = ((top > low) | (bottom < high)).any(axis=1)
    found = []
    for number, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        if not lit[number]:
            continue
        values = flat[begin:end].reshape(size[number])
        if cut[number]:
            rows, columns = map(slice, top[number] - low[number], bottom[number] - low[number])
            values = values[rows, columns]
            if not values.any():
                continue
        row, column = top[number].tolist()
        found.append(Stamp(int(objects[number]), (row, column), values[None].astype(np.float32)))
    return found


def _spread(
    places: Floats,
    depth: Floats,
    charge: Floats,
    box: Integers,
    low: Integers,
    size: Integers,
    sensor: Sensor,
) -> Floats:
    """Return the charge in the pixels of boxes, one after another, of points in order of the boxes."""
    ends = np.cumsum(size.prod(axis=1))
    begins = ends - size.prod(axis=1)
    flat, steps = np.zeros(ends[-1]), np.arange(sensor.kernel)[:, None]
    for first in range(0, len(box), CHUNK):
        part = slice(first, first + CHUNK)
        of = box[part]
        begin, end, width = begins[of[0]], ends[of[-1]], size[of, 1]
        (row, column), down, across = sensor.spread(places[:, part], depth[part])
        start = (row - low[of, 0]) * width + (column - low[of, 1] + begins[of] - begin)
        index = (start + steps * width)[:, None] + steps
        values = (down * charge[part])[:, None] * across
        flat[begin:end] += np.bincount(index.ravel(), values.ravel(), end - begin)
    return flat


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
        return self.place_all([index], [rng])[0]

    def place_all(
        self, indices: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> list[tuple[list[Placed], dict[str, Scalar]]]:
        """Return the objects of several samples."""
        options, sensor = self.options, self.options.sensor
        rates = [float(np.exp(rng.uniform(*np.log(self.rates)))) for rng in rngs]
        window = Window((self.shape[1], self.shape[2]), sensor)
        of_xenon = options.sample == "xenon"
        found: list[_Charged] = []
        starts = (
            xenon(options, window, rates, rngs, self.photons)
            if of_xenon
            else diagnostic(options, window, rates, rngs)
        )
        for name, (start, rng) in starts.items():
            made = deposit(start, self.electrons, sensor, rng)
            truth = {"energy": start.energy, "side": start.side.astype(float)}
            found.append(self._charged(self._class(name), made, truth, rng))
        if of_xenon:
            made, side, rng = muon_deposits(options, window, self.electrons, rates, rngs)
            total = np.bincount(made.owner, made.energy, len(side)).astype(float)
            found.append(self._charged(MUON, made, {"energy": total, "side": side.astype(float)}, rng))
        placed = self._stamped(found, len(rngs))
        return [(each, {"rate": rate, "objects": len(each)}) for each, rate in zip(placed, rates, strict=True)]

    def _class(self, origin: str) -> str:
        return ELECTRON if origin in (BETA, CE) and ELECTRON in self.classes else origin

    def _charged(self, name: str, deposits: Deposits, truth: Mapping[str, Floats], rng: Draws) -> _Charged:
        """Return objects with their charge and their true quantities."""
        deposited = np.bincount(deposits.owner, deposits.energy, len(rng)).astype(float)
        charge = self.options.sensor.pairs(deposits.energy, rng.rows(deposits.owner))
        return _Charged(name, deposits, charge, {**truth, "deposited": deposited}, rng.of)

    def _stamped(self, found: Sequence[_Charged], samples: int) -> list[list[Placed]]:
        """Return the objects that reach the window, in every sample."""
        firsts = np.cumsum([0, *(len(one.sample) for one in found)])
        joined = Deposits(
            np.concatenate([one.deposits.owner + first for one, first in zip(found, firsts, strict=False)]),
            np.concatenate([one.deposits.points for one in found]),
            np.concatenate([one.deposits.energy for one in found]),
        )
        charge = np.concatenate([one.charge for one in found])
        placed: list[list[Placed]] = [[] for _ in range(samples)]
        for stamp in stamps(joined, charge, self.options.sensor, self.shape[1:]):
            kind = int(np.searchsorted(firsts, stamp.owner, side="right")) - 1
            one, number = found[kind], stamp.owner - int(firsts[kind])
            meta = {key: float(column[number]) for key, column in one.truth.items()}
            placed[one.sample[number]].append(Placed(one.name, stamp.values, stamp.origin, meta))
        return placed

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the image with dark current, noise and defects, and the pixels that are not saturated."""
        return self.options.sensor.observe(target.sum(axis=0), rng)
