"""Tracks that cross the images: electrons of natural radioactivity, muons and alpha particles in He/CF4.

They are what faint spots lie beside and under, not a study of tracks: ranges are power laws, scattering is that of
the standard formula, the ionisation is deposited in steps of a fraction of the diffusion.

References:
    Highland 1975, Nucl. Instrum. Methods 129, 497, and Lynch and Dahl 1991, ibid. B58, 6: multiple scattering.
    Bragg and Kleeman 1905, Phil. Mag. 10, 318: the range of alpha particles rises as energy to the power 3/2.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.ndimage import gaussian_filter

from oasis.adapters.cygno.digitisation import Array, Digitisation
from oasis.adapters.options import Rising
from oasis.options import Options

Floats = NDArray[np.float64]

ELECTRON_MEV = 0.511
RADIATION_LENGTH = 35.4  # g/cm2, of He/CF4 in the volumes 60/40
SLOWEST_KEV = 0.5  # an electron of this energy stops
RANGE, POWER = 3.2e-4, 1.73  # g/cm2 at 10 keV and exponent of the range of electrons of 5 to 100 keV in CF4
KINDS = ("electron", "muon", "alpha")
MARGIN = 4.0  # sigmas of the diffusion around a window from which light gets into it
FEWEST = 1e-3  # electrons in a pixel that are too few to matter

Energy = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1e9)]


class TrackOptions(Options):
    """The options of tracks.

    Attributes:
        shares: relative frequency of electrons, muons and alpha particles.
        electron_kev: range of the energies of electrons; the logarithm is uniform.
        alpha_kev: range of the energies of alpha particles.
        muon_kev_cm: mean ionisation of a muon, keV/cm.
        density: of the gas, mg/cm3.
        step_mm: length of a step; smaller than the diffusion.
    """

    shares: tuple[Share, Share, Share] = (0.7, 0.2, 0.1)
    electron_kev: Annotated[tuple[Energy, Energy], Rising] = (5.0, 100.0)
    alpha_kev: Annotated[tuple[Energy, Energy], Rising] = (4500.0, 6000.0)
    muon_kev_cm: float = Field(2.3, gt=0, le=1e4)
    density: float = Field(1.56, gt=0, le=1e4)
    step_mm: float = Field(0.25, gt=0, le=10)

    @model_validator(mode="after")
    def _some_kind(self) -> "TrackOptions":
        if not sum(self.shares):
            raise ValueError("shares: expected at least one above 0")
        return self


@dataclass(frozen=True)
class Track:
    """The ionisation along a track.

    Attributes:
        points: (n, 3) mm along rows, columns and the drift, from its start.
        energy: (n,) keV.
        kind: of `KINDS`.
    """

    points: Floats
    energy: Floats
    kind: str


def random_track(options: TrackOptions, length_mm: float, rng: np.random.Generator) -> Track:
    """Return a track of random kind, energy and direction.

    Args:
        options: of tracks.
        length_mm: of muons, which cross the field.
        rng: the generator.
    """
    kind = str(rng.choice(KINDS, p=np.array(options.shares) / sum(options.shares)))
    if kind == "electron":
        energy = float(np.exp(rng.uniform(*np.log(options.electron_kev))))
        return Track(*electron_path(energy, options, rng), kind)
    if kind == "alpha":
        energies = _slowing(float(rng.uniform(*options.alpha_kev)), options)
    else:
        energies = _muon(length_mm, options, rng)
    steps = np.arange(len(energies)) + 0.5
    return Track(steps[:, None] * options.step_mm * _direction(rng), energies, kind)


def electron_range(energy_kev: float, density: float) -> float:
    """Return the length of the path of an electron in mm; in this range of energies it is a power of the energy.

    Example:
        >>> round(electron_range(30.0, density=1.56), 1)
        13.7
    """
    return float(10 * RANGE * (energy_kev / 10) ** POWER / (density * 1e-3))


def electron_path(energy_kev: float, options: TrackOptions, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the points (n, 3) in mm and the energies (n,) in keV that an electron deposits, with scattering."""
    direction, place = _direction(rng), np.zeros(3)
    points, energies = [], []
    while energy_kev > SLOWEST_KEV:
        step = min(options.step_mm, electron_range(energy_kev, options.density))
        loss = min(step * _loss(energy_kev, options.density), energy_kev)
        direction = _scattered(direction, _angle(energy_kev, step, options.density), rng)
        place = place + step * direction
        points.append(place)
        energies.append(loss)
        energy_kev -= loss
    return np.array([*points, place]), np.array([*energies, energy_kev])


def _loss(energy_kev: float, density: float) -> float:
    """Return the energy loss in keV/mm that belongs to the range."""
    return energy_kev / (POWER * electron_range(energy_kev, density))


def _angle(energy_kev: float, step_mm: float, density: float) -> float:
    """Return the rms of the projected scattering angle in a step (Lynch and Dahl's formula), radians."""
    energy = energy_kev / 1e3
    momentum_velocity = energy * (energy + 2 * ELECTRON_MEV) / (energy + ELECTRON_MEV)
    lengths = step_mm / 10 * density * 1e-3 / RADIATION_LENGTH
    correction = max(1 + 0.038 * np.log(lengths), 0.3)
    return float(min(13.6 / momentum_velocity * np.sqrt(lengths) * correction, 1.0))


def _scattered(direction: Floats, angle: float, rng: np.random.Generator) -> Floats:
    kick = rng.standard_normal(3) * angle
    turned = direction + kick - (kick @ direction) * direction
    return np.asarray(turned / np.linalg.norm(turned))


def _direction(rng: np.random.Generator) -> Floats:
    direction = rng.standard_normal(3)
    return np.asarray(direction / np.linalg.norm(direction))


def _slowing(energy_kev: float, options: TrackOptions) -> Floats:
    """Return the energies of an alpha particle's steps; 5.5 MeV have a range of 6.4 mg/cm2 in this gas."""
    length = 10 * 6.4 / options.density * (energy_kev / 5500.0) ** 1.5
    edges = np.arange(0.0, length + options.step_mm, options.step_mm).clip(max=length)
    return np.asarray(-np.diff(energy_kev * (1 - edges / length) ** (2 / 3)))


def _muon(length_mm: float, options: TrackOptions, rng: np.random.Generator) -> Floats:
    """Return the energies of a muon's steps: clusters of 50 eV on average, so that thin layers fluctuate."""
    count = max(int(length_mm / options.step_mm), 1)
    clusters = rng.poisson(options.muon_kev_cm * options.step_mm / 10 / 0.05, count)
    return np.asarray(rng.gamma(np.maximum(clusters, 1e-300), 0.05))


def track_light(
    track: Track,
    start: tuple[float, float, float],
    shape: tuple[int, int],
    tpc: Digitisation,
    rng: np.random.Generator,
) -> Array:
    """Return the expected light (H, W) of a track in a window, counts.

    Args:
        track: the ionisation.
        start: row and column in the window, pixels, and drift distance in cm of its start.
        shape: of the window.
        tpc: the detector.
        rng: the generator.
    """
    rows, cols = (start[axis] + track.points[:, axis] / tpc.pixel_mm for axis in (0, 1))
    drift = np.maximum(start[2] + track.points[:, 2] / 10, 0.0)
    charge = tpc.multiplied(tpc.survivors(track.energy, drift, rng), rng)
    sigma = tpc.transverse_pixels(float(np.average(drift, weights=track.energy + 1e-12)))
    margin = int(np.ceil(MARGIN * sigma))
    row, col = (np.rint(places).astype(int) + margin for places in (rows, cols))
    height, width = (side + 2 * margin for side in shape)
    seen = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    if not seen.any():
        return np.zeros(shape, np.float32)
    flat, depth = row[seen] * width + col[seen], 10 * drift[seen]
    sums = [
        gaussian_filter(np.bincount(flat, values, height * width).reshape(height, width), sigma, truncate=MARGIN)
        for values in (charge[seen], charge[seen] * depth, charge[seen] * depth**2)
    ]
    columns, first, second = (each[margin : height - margin, margin : width - margin] for each in sums)
    lit = columns > FEWEST
    mean = first[lit] / columns[lit]
    spread = np.maximum(second[lit] / columns[lit] - mean**2, 0) + tpc.longitudinal(mean / 10) ** 2
    light = np.zeros(shape, np.float32)
    light[lit] = tpc.saturated(columns[lit], np.sqrt(spread))
    return light
