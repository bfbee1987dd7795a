"""Hybrid events: an electron recoil added to a nuclear recoil at a common vertex, and single nuclear recoils."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.migdal.detector import Window
from oasis.adapters.migdal.frames import SIGMA_ADU
from oasis.adapters.migdal.options import MigdalOptions
from oasis.data.components import Component, Components
from oasis.data.mixing import Placed, Scene, split_indices
from oasis.data.samples import Array, Scalar
from oasis.errors import ConfigError

ER, NR = "ER", "NR"
FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
PRESENT_ADU = round(3 * SIGMA_ADU, 3)  # a nuclear recoil is present where it is 3 sigma above the noise


@dataclass(frozen=True)
class _Vertex:
    """The common vertex of two tracks: pixel in the field, drift distance and gain."""

    row: float
    col: float
    depth_cm: float
    gain: float


class MigdalScene(Scene):
    """Events in a window of the camera; even samples are hybrids, odd ones single nuclear recoils.

    Args:
        options: the options of the domain.
        split: `train`, `val` or `test`, which share no track; the electron spectrum is that of the options in
            `train`, flat in the others.
        electrons: electron recoils, points in mm, intensity in keV.
        recoils: nuclear recoils: simulated like the electrons or, if the options name a file of them, measured
            ones as pixels in ADU.

    Raises:
        ConfigError: no electron has an energy within the bounds.
    """

    classes = (ER, NR)

    def __init__(self, options: MigdalOptions, split: str, electrons: Components, recoils: Components) -> None:
        self.options = options
        self.detector = options.detector
        self.electrons = electrons
        self.recoils = recoils
        self.recoil_indices = split_indices(len(recoils), FRACTIONS)[split]
        self.shape = (1, *options.size)
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

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return a nuclear recoil at a random position and, for even samples, an electron at its vertex."""
        recoil_track = int(rng.choice(self.recoil_indices))
        recoil = self.recoils[recoil_track]
        recoil_image, vertex, window, truth = (self._measured if self.options.recoils else self._simulated)(
            recoil, rng
        )
        place = {"vertex_row": vertex.row - window.row, "vertex_col": vertex.col - window.col}
        placed = [Placed(NR, recoil_image[None], (0, 0), {**place, **truth, "track": recoil_track})]
        meta: dict[str, Scalar] = {f"NR_{name}": value for name, value in truth.items()}
        meta |= {
            "kind": "hybrid" if index % 2 == 0 else "NR",
            **place,
            "window_row": window.row,
            "window_col": window.col,
            "NR_track": recoil_track,
            "ER_track": np.nan,
            "ER_energy": np.nan,
            "ER_dx": np.nan,
            "ER_dy": np.nan,
            "ER_dz": np.nan,
        }
        if index % 2 == 0:
            electron_track = int(rng.choice(self.electron_indices, p=self.electron_shares))
            electron = self.electrons[electron_track]
            turn = random_rotation(rng)
            light = self._light(electron, turn, vertex, window, 0.0, rng)
            direction = turn @ [electron.meta[name] for name in ("dx", "dy", "dz")]
            truth = dict(zip(("dx", "dy", "dz"), map(float, direction), strict=True))
            truth |= {"track": electron_track, "energy": electron.meta["energy"]}
            placed.append(Placed(ER, light[None], (0, 0), {**place, **truth}))
            meta |= {f"ER_{name}": value for name, value in truth.items()}
        return placed, meta

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the image, a nuclear recoil with camera noise plus the electron, and the box of both tracks.

        As in the paper, negative values of the noisy recoil are set to 0 before the electron is added, which is
        free of camera noise. A measured recoil has its own noise.
        """
        electron, recoil = target[0], target[1]
        noise = self.detector.noise(rng, Window(0, 0, *self.shape[1:]))[None]
        if self.options.recoils:
            noise = np.where(recoil > 0, 0, noise)
        image = np.maximum(recoil + noise, 0) + electron
        blob = recoil[0] > PRESENT_ADU
        return image.astype(np.float32), bounding_box(blob | (electron[0] > 0))[None]

    def _simulated(
        self, recoil: Component, rng: np.random.Generator
    ) -> tuple[Array, _Vertex, Window, dict[str, float]]:
        detector = self.detector
        turn = random_rotation(rng)
        rows, cols = (rng.uniform(self.options.margin, length - self.options.margin) for length in detector.shape)
        gain = detector.gain * rng.normal(1.0, detector.gain_smear)
        vertex = _Vertex(rows, cols, rng.uniform(*detector.drift_cm), gain)
        centre = (turn @ np.average(recoil.points, axis=0, weights=recoil.intensity)) / detector.pixel_mm
        window = self._window(vertex.row + centre[1], vertex.col + centre[0], rng)
        image = self._light(recoil, turn, vertex, window, detector.halo, rng)
        return image, vertex, window, {"energy": recoil.meta["ionisation"], "species": recoil.meta["species"]}

    def _measured(
        self, recoil: Component, rng: np.random.Generator
    ) -> tuple[Array, _Vertex, Window, dict[str, float]]:
        detector = self.detector
        row, col = recoil.meta["row"], recoil.meta["col"]
        gain = detector.gain * rng.normal(1.0, detector.gain_smear)
        vertex = _Vertex(row, col, rng.uniform(*detector.drift_cm), gain)
        centre = recoil.points.mean(axis=0)
        window = self._window(row + centre[0], col + centre[1], rng)
        pixels = np.rint(recoil.points + (row - window.row, col - window.col)).astype(int)
        seen = ((pixels >= 0) & (pixels < self.shape[1:])).all(axis=1)
        image = np.zeros(self.shape[1:], dtype=np.float32)
        image[tuple(pixels[seen].T)] = recoil.intensity[seen]
        return image, vertex, window, {"energy": np.nan, "species": np.nan}

    def _window(self, row: float, col: float, rng: np.random.Generator) -> Window:
        """Return the window around a centre, shifted at random and kept inside the field."""
        jitter = self.options.jitter
        shift = rng.integers(-jitter, jitter + 1, 2) if jitter else (0, 0)
        origin = [
            int(np.clip(round(centre) + step - size // 2, 0, length - size))
            for centre, step, size, length in zip(
                (row, col), shift, self.shape[1:], self.detector.shape, strict=True
            )
        ]
        return Window(*origin, *self.shape[1:])

    def _light(
        self,
        track: Component,
        turn: NDArray[np.float64],
        vertex: _Vertex,
        window: Window,
        halo: float,
        rng: np.random.Generator,
    ) -> Array:
        return self.detector.light(
            track.points @ turn.T,
            track.intensity,
            (vertex.row, vertex.col),
            rng,
            window=window,
            halo=halo,
            depth_cm=vertex.depth_cm,
            gain=vertex.gain,
        )


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation matrix drawn uniformly, from a random unit quaternion (Shoemake 1992)."""
    w, x, y, z = (quaternion := rng.standard_normal(4)) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def bounding_box(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the smallest rectangle that contains a mask, as a mask; it is empty for an empty mask.

    Example:
        >>> bounding_box(np.eye(3, dtype=bool)).all()
        np.True_
    """
    box = np.zeros_like(mask)
    if mask.any():
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    return box
