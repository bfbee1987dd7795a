"""Hybrid events: an electron recoil added to a nuclear recoil at a common vertex, and single nuclear recoils."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.migdal.artefacts import happens
from oasis.adapters.migdal.detector import Detector, Window
from oasis.adapters.migdal.frames import SIGMA_ADU
from oasis.adapters.migdal.options import MigdalOptions
from oasis.data.components import Component, Components
from oasis.data.mixing import Placed, Scene, split_indices
from oasis.data.samples import Array, Scalar
from oasis.errors import ConfigError

ER, NR = "ER", "NR"
FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
REACH_PIXELS = 8  # from the ionisation to where an electron's light has faded
PRESENT_ADU = round(3 * SIGMA_ADU, 3)  # a nuclear recoil is present where it is 3 sigma above the noise


@dataclass(frozen=True)
class _Vertex:
    """The common vertex of two tracks: pixel in the field, drift distance, gain, and what images them."""

    row: float
    col: float
    depth_cm: float
    gain: float
    detector: Detector


class MigdalScene(Scene):
    """Events in a window of the camera; even samples are hybrids, odd ones single nuclear recoils.

    The window lies around both tracks. For a single recoil it lies around the recoil and an electron that is left
    out, so that the place of a recoil in the window does not tell whether there is an electron.

    Args:
        options: the options of the domain.
        split: `train`, `val` or `test`, which share no track; the electron spectrum is that of the options in
            `train`, flat in the others.
        electrons: electron recoils, points in mm, intensity in keV.
        recoils: nuclear recoils: simulated like the electrons or, if the options name a file of them, measured
            ones as pixels in ADU.

    Raises:
        ConfigError: no electron has an energy within the bounds, or no recoil one within the spectrum.
    """

    classes = (ER, NR)

    def __init__(self, options: MigdalOptions, split: str, electrons: Components, recoils: Components) -> None:
        self.options = options
        self.detector = options.detector
        self.artefacts = options.artefacts
        self.electrons = electrons
        self.recoils = recoils
        self.shape = (1, *options.window(split))
        shares = (options.empty, options.alone, options.surroundings)
        self.empty, self.alone, self.surroundings = (0.0, 0.0, 0.0) if split == "test" else shares
        self.recoil_indices = split_indices(len(recoils), FRACTIONS)[split]
        self.recoil_shares = _recoil_shares(options, recoils, self.recoil_indices)
        indices, (low, high) = split_indices(len(electrons), FRACTIONS)[split], options.energies
        energy = electrons.table["energy"][indices].astype(float)
        within = (energy >= low) & (energy < high)
        if not within.any():
            raise ConfigError(
                f"data.energies: no electron has {low:g} to {high:g} keV; the library's have "
                f"{energy.min(initial=np.inf):.3g} to {energy.max(initial=0):.3g} keV"
            )
        spectrum = energy[within] ** -(options.spectral_index if split == "train" else 0.0)
        self.electron_indices = indices[within]
        self.electron_shares = spectrum / spectrum.sum()
        self._cumulative = _cumulative(self.recoil_shares), _cumulative(self.electron_shares)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return a nuclear recoil at a random position and, for even samples, an electron at its vertex."""
        kind = self._kind(index, rng)
        if kind == "empty":
            return [], self._meta(kind)
        recoil_track, electron_track = self._recoil_track(rng), self._electron_track(rng)
        recoil, electron = self.recoils[recoil_track], self.electrons[electron_track]
        turn, recoil_turn = random_rotation(rng), None if self.options.recoils else random_rotation(rng)
        extent = self._extent(electron, turn).union(self._extent(recoil, recoil_turn))
        vertex = self._vertex(recoil, extent, rng)
        window = self._window(extent.shifted(round(vertex.row), round(vertex.col)), rng)
        place = {"vertex_row": vertex.row - window.row, "vertex_col": vertex.col - window.col}
        meta = self._meta(kind, **place, window_row=window.row, window_col=window.col)
        placed = []
        if kind != ER:
            image, truth = self._recoil(recoil, recoil_turn, vertex, window, rng)
            truth["track"] = recoil_track
            placed.append(Placed(NR, image[None], (0, 0), {**place, **truth}))
            meta |= {f"NR_{name}": value for name, value in truth.items()}
        if kind != NR:
            image, truth = self._electron(electron, turn, vertex, window, rng)
            truth["track"] = electron_track
            placed.append(Placed(ER, image[None], (0, 0), {**place, **truth}))
            meta |= {f"ER_{name}": value for name, value in truth.items()}
        if happens(self.artefacts.pile_up, rng):
            placed.append(Placed(NR, self._other_recoil(window, rng)[None], (0, 0)))
        top = extent.row + round(place["vertex_row"])
        seen = self.artefacts.visible_rows((top, top + extent.height), window.height, rng)
        if not seen.all():
            placed = [replace(one, values=one.values * seen[:, None]) for one in placed]
        return placed, meta

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the image, a nuclear recoil with camera noise plus the electron, and the box of both tracks.

        As in the paper, negative values of the noisy recoil are set to 0 before the electron is added, which is
        free of camera noise, unless the option `clean_electrons` is off. A measured recoil has its own noise.
        """
        electron, recoil = target[0], target[1]
        noise = self.detector.noise(rng, Window(0, 0, *self.shape[1:]))[None]
        if self.options.recoils:
            noise = np.where(recoil > 0, 0, noise)
        unwanted = self.artefacts.background((self.shape[1], self.shape[2]), self.detector, rng)
        if happens(self.artefacts.afterglow, rng):
            field = Window(0, 0, *self.shape[1:])
            unwanted += np.float32(self.artefacts.afterglow_share) * self._other_recoil(field, rng)
        if self.options.clean_electrons:
            image = np.maximum(recoil + unwanted + noise, 0) + electron
        else:
            image = np.maximum(recoil + electron + unwanted + noise, 0)
        image = self.artefacts.saturate(image)
        box = bounding_box((recoil[0] > PRESENT_ADU) | (electron[0] > 0), self.options.box_margin)
        if not placed or rng.random() < self.surroundings:
            box = np.ones_like(box)
        return image.astype(np.float32), box[None]

    def _recoil_track(self, rng: np.random.Generator) -> int:
        """Return a random recoil, as `rng.choice` does, which would sum up all probabilities each time."""
        return int(self.recoil_indices[self._cumulative[0].searchsorted(rng.random(), side="right")])

    def _electron_track(self, rng: np.random.Generator) -> int:
        """Return a random electron."""
        return int(self.electron_indices[self._cumulative[1].searchsorted(rng.random(), side="right")])

    def _kind(self, index: int, rng: np.random.Generator) -> str:
        """Return what a sample shows: a hybrid or a single recoil in turns, or by chance what only trains."""
        chance = rng.random()
        if chance < self.empty:
            return "empty"
        if chance < self.empty + self.alone:
            return ER
        return "hybrid" if index % 2 == 0 else NR

    @staticmethod
    def _meta(kind: str, **known: Scalar) -> dict[str, Scalar]:
        """Return the quantities of a sample; those that are not known are NaN."""
        names = ("vertex_row", "vertex_col", "window_row", "window_col")
        nuclear, electron = ("energy", "species", "track"), ("energy", "dx", "dy", "dz", "track", "outside")
        columns = (*names, *(f"NR_{name}" for name in nuclear), *(f"ER_{name}" for name in electron))
        return {**dict.fromkeys(columns, np.nan), "kind": kind, **known}

    def _vertex(self, recoil: Component, extent: Window, rng: np.random.Generator) -> _Vertex:
        """Return a random vertex with both tracks in the field, if they fit into it.

        A measured recoil stays where it was, as vignetting depends on it.
        """
        detector, options = self.detector, self.options
        row, col = (
            (recoil.meta["row"], recoil.meta["col"])
            if options.recoils
            else (
                _position(options.margin, first, first + side, length, rng)
                for first, side, length in zip(extent[:2], extent[2:], detector.shape, strict=True)
            )
        )
        return self._at(row, col, rng)

    def _at(self, row: float, col: float, rng: np.random.Generator) -> _Vertex:
        """Return a vertex at a position, of random gain, drift distance and constants that vary."""
        gain = self.detector.gain * rng.normal(1.0, self.detector.gain_smear)
        depth_cm = rng.uniform(*self.detector.drift_cm)
        return _Vertex(row, col, depth_cm, gain, self.options.variation.draw(self.detector, rng))

    def _recoil(
        self,
        recoil: Component,
        turn: NDArray[np.float64] | None,
        vertex: _Vertex,
        window: Window,
        rng: np.random.Generator,
    ) -> tuple[Array, dict[str, float]]:
        """Return the light of a recoil in a window and its true quantities; a measured one is not turned."""
        if turn is not None:
            image = self._light(recoil, turn, vertex, window, vertex.detector.halo, rng)
            return image, {"energy": recoil.meta["ionisation"], "species": recoil.meta["species"]}
        pixels = np.rint(recoil.points + (vertex.row - window.row, vertex.col - window.col)).astype(int)
        seen = ((pixels >= 0) & (pixels < self.shape[1:])).all(axis=1)
        image = np.zeros(self.shape[1:], dtype=np.float32)
        image[tuple(pixels[seen].T)] = recoil.intensity[seen]
        return image, {"energy": np.nan, "species": np.nan}

    def _other_recoil(self, window: Window, rng: np.random.Generator) -> Array:
        """Return the light of a further nuclear recoil somewhere in a window."""
        recoil = self.recoils[self._recoil_track(rng)]
        row, col = (first + rng.uniform(0, side) for first, side in zip(window[:2], window[2:], strict=True))
        vertex = self._at(row, col, rng)
        return self._recoil(recoil, None if self.options.recoils else random_rotation(rng), vertex, window, rng)[0]

    def _electron(
        self,
        electron: Component,
        turn: NDArray[np.float64],
        vertex: _Vertex,
        window: Window,
        rng: np.random.Generator,
    ) -> tuple[Array, dict[str, float]]:
        """Return the light of an electron in a window, and its true quantities."""
        direction = turn @ [electron.meta[name] for name in ("dx", "dy", "dz")]
        truth = dict(zip(("dx", "dy", "dz"), map(float, direction), strict=True))
        truth |= {"energy": electron.meta["energy"], "outside": self._outside(electron, turn, vertex, window)}
        halo = 0.0 if self.options.clean_electrons else vertex.detector.halo
        return self._light(electron, turn, vertex, window, halo, rng), truth

    def _pixels(self, track: Component, turn: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return rows and columns (n, 2) of the points of a track, relative to its vertex."""
        if turn is None:
            return np.asarray(track.points, np.float64)
        return np.asarray((track.points @ turn.T)[:, 1::-1] / self.detector.pixel_mm)

    def _extent(self, track: Component, turn: NDArray[np.float64] | None) -> Window:
        """Return the pixels in which a track leaves light, relative to its vertex."""
        pixels = self._pixels(track, turn)
        top, left, bottom, right = map(round, (*pixels.min(axis=0).tolist(), *pixels.max(axis=0).tolist()))
        return Window(top, left, bottom - top + 1, right - left + 1).grown(REACH_PIXELS)

    def _window(self, extent: Window, rng: np.random.Generator) -> Window:
        """Return a window around an extent, shifted at random as far as both still fit, and inside the field."""
        jitter = self.options.jitter
        shift = rng.integers(-jitter, jitter + 1, 2) if jitter else (0, 0)
        origin = []
        for axis, (size, length) in enumerate(zip(self.shape[1:], self.detector.shape, strict=True)):
            first, side = extent[axis], extent[axis + 2]
            slack = max(size - side, 0) // 2
            start = first + (side - size) // 2 + min(max(int(shift[axis]), -slack), slack)
            origin.append(min(max(start, 0), length - size))
        return Window(*origin, *self.shape[1:])

    def _outside(self, electron: Component, turn: NDArray[np.float64], vertex: _Vertex, window: Window) -> float:
        """Return the share of an electron's ionisation that lies outside the window."""
        pixels = self._pixels(electron, turn) + (vertex.row - window.row, vertex.col - window.col)
        inside = ((pixels >= -0.5) & (pixels < np.array(self.shape[1:]) - 0.5)).all(axis=1)
        return float(1 - electron.intensity[inside].sum() / electron.intensity.sum())

    def _light(
        self,
        track: Component,
        turn: NDArray[np.float64],
        vertex: _Vertex,
        window: Window,
        halo: float,
        rng: np.random.Generator,
    ) -> Array:
        return vertex.detector.light(
            track.points @ turn.T,
            track.intensity,
            (vertex.row, vertex.col),
            rng,
            window=window,
            halo=halo,
            depth_cm=vertex.depth_cm,
            gain=vertex.gain,
        )


def _position(margin: int, first: int, last: int, length: int, rng: np.random.Generator) -> float:
    """Return a position so that what extends from `first` to `last` around it is inside, if it fits."""
    low, high = max(margin, -first), min(length - margin, length - last)
    return rng.uniform(low, high) if low < high else rng.uniform(margin, length - margin)


def _recoil_shares(options: MigdalOptions, recoils: Components, indices: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the probability of each recoil, so that their spectrum is that of the options.

    Raises:
        ConfigError: no recoil lies within the spectrum, or measured recoils have no energy.
    """
    spectrum = options.recoil_spectrum
    if spectrum is None:
        return np.full(len(indices), 1 / len(indices))
    if options.recoils:
        raise ConfigError("data.recoil_spectrum: measured recoils (data.recoils) have no energies to weight")
    energy = recoils.table["ionisation"][indices].astype(float)
    found, _ = np.histogram(energy, spectrum.edges)
    ratio = np.divide(spectrum.counts, found, out=np.zeros(len(found)), where=found > 0)
    place = np.searchsorted(spectrum.edges, energy, side="right") - 1
    within = (place >= 0) & (place < len(found))
    shares = np.where(within, ratio[np.clip(place, 0, len(found) - 1)], 0)
    if not shares.any():
        raise ConfigError(
            "data.recoil_spectrum: no recoil lies in a bin with counts; those of the library have "
            f"{energy.min():.3g} to {energy.max():.3g} keVee"
        )
    return np.asarray(shares / shares.sum())


def _cumulative(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    cumulative = shares.cumsum()
    return np.asarray(cumulative / cumulative[-1])


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation matrix drawn uniformly, from a random unit quaternion (Shoemake 1992)."""
    drawn: list[float] = rng.standard_normal(4).tolist()
    w, x, y, z = (one / hypot(*drawn) for one in drawn)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> NDArray[np.bool_]:
    """Return the smallest rectangle that contains a mask, grown by a margin; it is empty for an empty mask.

    Example:
        >>> bounding_box(np.eye(3, dtype=bool)).all()
        np.True_
    """
    box = np.zeros_like(mask)
    if mask.any():
        (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
        box[max(top - margin, 0) : bottom + margin + 1, max(left - margin, 0) : right + margin + 1] = True
    return box
