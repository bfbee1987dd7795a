"""Images of faint recoils: spots of light on the noise of a camera, alone or beside and under tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.cygno.digitisation import Array, brightest
from oasis.adapters.cygno.noise import Noise
from oasis.adapters.cygno.options import CygnoOptions
from oasis.adapters.cygno.tracks import KINDS, random_track, track_light
from oasis.data.mixing import Placed, Scene, add_up
from oasis.data.samples import Scalar

RECOIL, TRACK = "recoil", "track"
OF_RECOIL = ("energy", "drift_cm", "row", "col", "electrons", "charge", "light")
LEAST_RMS = 0.1  # counts; integers have at least 0.29, but the rms of a dead pixel is 0
SENSORS = 2**31  # numbers of windows of a sensor


@dataclass(frozen=True)
class Recoil(Placed):
    """A recoil.

    Attributes:
        whole: (1, h, w) all of its light; `values` are those of its true pixels.
    """

    whole: Array | None = None


class CygnoScene(Scene):
    """Images with recoils, as the camera sees them after the pedestal was subtracted.

    The map of a recoil is its expected light in the true pixels, the brightest that hold `truth_share` of it. The
    fainter rest is part of the image only. An image without recoils has one of no energy.

    Args:
        options: the options of the domain.
        split: `train`, `val` or `test`.
        noise: of the camera.
        vignetting: (H, W) relative light yield over the sensor, or None.
    """

    def __init__(
        self, options: CygnoOptions, split: str, noise: Noise, vignetting: NDArray[np.floating] | None = None
    ) -> None:
        self.options, self.noise, self.vignetting = options, noise, vignetting
        self.tpc = options.digitisation
        self.classes = (RECOIL, TRACK) if options.tracks else (RECOIL,)
        self.size = options.window(split)
        self.shape = (1, *self.size)
        self.trains = split == "train"

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return recoils and tracks at random positions.

        The truth quantities of the sample are those of its first recoil, its window of the sensor and its number
        of tracks.
        """
        sensor = int(rng.integers(SENSORS))
        shade = self._shade(sensor)
        tracks, points = self._tracks(sensor, shade, rng)
        if rng.random() < self.options.empty:
            nothing = {**dict.fromkeys(OF_RECOIL, 0.0), "sensor": float(sensor)}
            recoils = [Placed(RECOIL, np.zeros((1, 1, 1), np.float32), (0, 0), nothing)]
        else:
            fewest, most = self.options.recoils if self.trains else (1, 1)
            count = fewest if fewest == most else int(rng.integers(fewest, most + 1))
            recoils = [self._recoil(index + extra, sensor, shade, points, rng) for extra in range(count)]
        truth = {f"{RECOIL}_{name}": float(recoils[0].meta[name]) for name in OF_RECOIL}
        return [*recoils, *tracks], {**truth, "sensor": sensor, "tracks": len(tracks)}

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the counts of all light, also of that outside the true pixels, plus the noise of the pixels."""
        sensor = int(placed[0].meta["sensor"])
        light = add_up([_with_all_light(one) for one in placed], self.classes, self.shape).sum(axis=0)
        noise = self.noise.pixels(sensor, self.size).draw(rng)
        return self.tpc.expose(light, rng) + noise, np.ones((1, *self.size), dtype=bool)

    def context(self, meta: Mapping[str, Scalar]) -> Array:
        """Return the logarithm of the rms of every pixel (1, H, W)."""
        return log_rms(self.noise.pixels(int(meta["sensor"]), self.size).rms)[None]

    def _shade(self, sensor: int) -> Array:
        """Return the relative light yield in the window of an image, one number if it is uniform."""
        if self.vignetting is None:
            return np.ones((1, 1), np.float32)
        rng, length = np.random.default_rng([sensor, 1]), self.tpc.sensor_pixels
        lit = np.argwhere(self.vignetting > 0)
        centre = lit[rng.integers(len(lit))] / self.vignetting.shape * length
        indices = []
        for middle, side, bins in zip(centre, self.size, self.vignetting.shape, strict=True):
            first = int(np.clip(round(middle) - side // 2, 0, max(length - side, 0)))
            indices.append(np.minimum((first + np.arange(side)) * bins // length, bins - 1))
        return np.asarray(self.vignetting[np.ix_(*indices)], np.float32)

    def _recoil(
        self,
        turn: int,
        sensor: int,
        shade: Array,
        points: NDArray[np.floating],
        rng: np.random.Generator,
    ) -> Placed:
        """Return a recoil; `turn` chooses its energy, `points` are positions on tracks."""
        options = self.options
        energy = float(options.energies[turn % len(options.energies)])
        if self.trains and options.training_energies is not None:
            energy = float(np.exp(rng.uniform(*np.log(options.training_energies))))
        visible = energy * (options.quenching if options.species == "NR" else 1.0)
        drift = float(rng.uniform(*options.drift_cm))
        margin = options.training_margin if self.trains else options.margin
        row, col = (float(rng.uniform(margin, side - 1 - margin)) for side in self.size)
        if len(points) and rng.random() < options.beneath:
            row, col = map(float, points[rng.integers(len(points))])
        electrons = int(self.tpc.survivors(visible, drift, rng))
        charge = float(self.tpc.multiplied(electrons, rng))
        known = {"energy": energy, "drift_cm": drift, "row": row, "col": col, "electrons": float(electrons)}
        meta = {**known, "charge": charge, "light": 0.0, "sensor": float(sensor)}
        light, origin = self.tpc.spot(charge, row, col, drift)
        if self.vignetting is not None:
            rows, cols = (
                np.clip(first + np.arange(length), 0, side - 1)
                for first, length, side in zip(origin, light.shape, self.size, strict=True)
            )
            light *= shade[np.ix_(rows, cols)]
        values = np.where(brightest(light, options.truth_share), light, 0)[None]
        return Recoil(RECOIL, values, origin, {**meta, "light": float(light.sum())}, light[None])

    def _tracks(
        self, sensor: int, shade: Array, rng: np.random.Generator
    ) -> tuple[list[Placed], NDArray[np.floating]]:
        """Return tracks through the window, and positions (k, 2) on them that a recoil may have."""
        options, placed, points = self.options, [], [np.empty((0, 2))]
        for _ in range(int(rng.poisson(options.tracks))):
            diagonal = float(np.hypot(*self.size)) * self.tpc.pixel_mm
            track = random_track(options.track, 2 * diagonal, rng)
            anchor = track.points[rng.integers(len(track.points))]  # which of its points lies in the window
            row, col = (rng.uniform(0, side - 1) for side in self.size)
            start = (row - anchor[0] / self.tpc.pixel_mm, col - anchor[1] / self.tpc.pixel_mm)
            drift = float(rng.uniform(*options.drift_cm)) - anchor[2] / 10
            light = track_light(track, (*start, drift), self.size, self.tpc, rng) * shade
            meta = {"energy": float(track.energy.sum()), "kind": float(KINDS.index(track.kind))}
            placed.append(Placed(TRACK, light[None], (0, 0), {**meta, "sensor": float(sensor)}))
            points.append(start + track.points[:, :2] / self.tpc.pixel_mm)
        everywhere, margin = np.concatenate(points), options.margin
        inside = ((everywhere >= margin) & (everywhere <= np.array(self.size) - 1 - margin)).all(axis=1)
        return placed, everywhere[inside]


def _with_all_light(one: Placed) -> Placed:
    return replace(one, values=one.whole) if isinstance(one, Recoil) and one.whole is not None else one


def log_rms(rms: NDArray[np.floating]) -> Array:
    """Return the natural logarithm of the rms of pixels in counts, at least that of 0.1 counts."""
    return np.asarray(np.log(np.maximum(rms, LEAST_RMS)), np.float32)
