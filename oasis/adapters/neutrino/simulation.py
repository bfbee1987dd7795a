r"""Charge images of straight tracks in a scintillator of cubes: quenched light, cross-talk, photon statistics.

A track is cut where it crosses from cube to cube; the light of each segment follows from the residual ranges at
its two ends (`physics.Quenching`), so that no step length is involved. Then light leaks through the faces of every
cube, and photoelectrons (p.e.) are drawn. Multiple scattering and range straggling, which move the end of a
stopping proton by some per cent of its range, little compared with a cube, are neglected unless the detector has
`scattering`; nuclear interactions always are.

The volume is centred on the origin; lengths are in mm, energies in MeV.

References:
    Moyal (1955), Phil. Mag. 46, 263: approximation of the distribution of energy losses.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.scattering import scattered_paths
from oasis.data.draws import Random, of_rows
from oasis.options import Options

Array = NDArray[np.float64]

CUBE: Final = 10.0  # mm, unless the detector has others
CUBES: Final = 7  # along each axis of the volume
SPECIES: Final = ("muon", *physics.MASSES)
MASS_OF: Final = np.array([np.nan, *physics.MASSES.values()])  # by species, in proton masses
MOYAL_MEAN: Final = np.euler_gamma + np.log(2)  # of the standard distribution
FAR: Final = 1e4  # mm: a muon goes further than any volume


class Detector(Options):
    """The response of the detector, from energy to photoelectrons.

    Attributes:
        light_yield: p.e. per MeV of unquenched energy; 75 gives some 150 p.e. for a muon that crosses a cube of
            10 mm.
        birks: Birks' constant, g / (MeV cm2); published values for plastics are 0.009 to 0.022.
        crosstalk: fraction of a cube's light that leaks through each of its six faces.
        threshold: cubes with fewer p.e. are set to 0.
        fluctuations: simulate fluctuations of the muon's energy loss.
        scattering: simulate multiple scattering and range straggling of nuclei; ten times slower.
        cube_mm: edge of a cube; 10 mm in the public data set, 10.27 mm with the gaps between cubes.
    """

    light_yield: float = Field(75.0, gt=0, le=1e6)
    birks: float = Field(0.0126, ge=0, le=10)
    crosstalk: float = Field(0.033, ge=0, le=1 / 6)
    threshold: float = Field(1.0, ge=0, le=1e6)
    fluctuations: bool = True
    scattering: bool = False
    cube_mm: float = Field(CUBE, ge=5, le=100)

    @property
    def half(self) -> float:
        """Half of the edge of the volume, mm."""
        return self.cube_mm * CUBES / 2

    @property
    def quenching(self) -> physics.Quenching:
        """The light of stopping nuclei."""
        return physics.quenching(self.birks)


@dataclass(frozen=True)
class Tracks:
    """Straight tracks.

    Attributes:
        species: (n,) index into `SPECIES`.
        energy: (n,) MeV at the start.
        start: (n, 3) mm.
        direction: (n, 3) unit vectors.
    """

    species: NDArray[np.intp]
    energy: Array
    start: Array
    direction: Array

    def __len__(self) -> int:
        return len(self.species)

    def of(self, chosen: NDArray[np.bool_]) -> "Tracks":
        """Return the chosen tracks."""
        return Tracks(self.species[chosen], self.energy[chosen], self.start[chosen], self.direction[chosen])

    @property
    def length(self) -> Array:
        """(n,) length until they stop, mm; infinite for muons."""
        nuclei = self.species > 0
        length = np.full(len(self), np.inf)
        length[nuclei] = physics.csda_range(self.energy[nuclei], MASS_OF[self.species[nuclei]])
        return length


def expected_charge(tracks: Tracks, detector: Detector, rng: Random | None = None) -> Array:
    """Return the mean charge of every track in every cube (n, 7, 7, 7), p.e.

    Light from one layer of cubes around the volume leaks in.

    Args:
        tracks: n tracks.
        detector: the response of the detector.
        rng: the source of fluctuations of the muons' energy loss, and of scattering; the mean loss and straight
            tracks if None.

    Example:
        >>> proton = Tracks(np.array([1]), np.array([30.0]), np.zeros((1, 3)), np.array([[0, 0, 1.0]]))
        >>> charge = expected_charge(proton, Detector())[0]
        >>> charge.sum().round(), charge[3, 3, 2:5].round()
        (np.float64(1467.0), array([ 23., 574., 651.]))
    """
    outer = CUBES + 2
    straight = tracks if rng is None or not detector.scattering else tracks.of(tracks.species == 0)
    muons = tracks.species == 0
    of_straight = of_rows(rng, muons) if rng is not None and detector.scattering else rng
    charge = _straight_charge(straight, detector, of_straight, outer)
    if len(straight) < len(tracks) and rng is not None:
        whole = np.zeros((len(tracks), *charge.shape[1:]))
        whole[muons] = charge
        whole[~muons] = _scattered_charge(tracks.of(~muons), detector, of_rows(rng, ~muons), outer)
        charge = whole
    return _leak(charge, detector.crosstalk)


def _straight_charge(tracks: Tracks, detector: Detector, rng: Random | None, outer: int) -> Array:
    """Return the charge of straight tracks in every cube (n, outer, outer, outer), before cross-talk."""
    crossings = _crossings(tracks, outer, detector.cube_mm)
    light = _light(tracks, crossings, detector, rng)
    middle = (crossings[:, 1:] + crossings[:, :-1]) / 2
    place = tracks.start[:, None] + middle[..., None] * tracks.direction[:, None]
    return _deposited(place, light, detector, outer)


def _scattered_charge(tracks: Tracks, detector: Detector, rng: Random, outer: int) -> Array:
    """Return the same for nuclei that scatter."""
    mass = MASS_OF[tracks.species]
    place, remaining = scattered_paths(tracks.energy, mass, tracks.start, tracks.direction, rng)
    light = -np.diff(detector.quenching.light_of_range(remaining, mass[:, None]))
    return _deposited(place, light, detector, outer)


def _deposited(place: Array, light: Array, detector: Detector, outer: int) -> Array:
    """Return the charge in every cube of light (n, m), MeV, at places (n, m, 3)."""
    index = np.floor(place / detector.cube_mm + outer / 2).astype(np.intp)
    inside = ((index >= 0) & (index < outer)).all(axis=2) & (light > 0)
    track = np.nonzero(inside)[0]
    flat = np.ravel_multi_index((track, *index[inside].T), (len(place), outer, outer, outer))
    charge = np.bincount(flat, detector.light_yield * light[inside], len(place) * outer**3).astype(np.float64)
    return charge.reshape(-1, outer, outer, outer)


def _crossings(tracks: Tracks, cubes: int, cube: float) -> Array:
    """Return the distances from the start at which tracks cross planes between cubes (n, m), ends included."""
    planes = (np.arange(cubes + 1) - cubes / 2) * cube
    slope = np.where(np.abs(tracks.direction) < 1e-9, 1e-9, tracks.direction)
    distances = ((planes - tracks.start[..., None]) / slope[..., None]).reshape(len(tracks), 3 * (cubes + 1))
    length = np.minimum(tracks.length, FAR)[:, None]
    return np.sort(np.concatenate([np.zeros_like(length), np.clip(distances, 0, length), length], axis=1), axis=1)


def _light(tracks: Tracks, crossings: Array, detector: Detector, rng: Random | None) -> Array:
    """Return the quenched light (n, m - 1) in MeV between the m crossings of every track."""
    pieces = np.diff(crossings)
    light = np.empty_like(pieces)
    nuclei = tracks.species > 0
    mass = MASS_OF[tracks.species[nuclei], None]
    remaining = crossings[nuclei, -1:] - crossings[nuclei]
    light[nuclei] = -np.diff(detector.quenching.light_of_range(remaining, mass))
    energy = tracks.energy[~nuclei, None]
    stopping = physics.muon_stopping_power(energy)
    loss = stopping * physics.DENSITY * np.ones_like(pieces[~nuclei])  # MeV / cm
    if rng is not None and detector.fluctuations:
        moyal = -2 * np.log(np.abs(of_rows(rng, ~nuclei).standard_normal(loss.shape)))
        loss += physics.landau_width(energy) * (moyal - MOYAL_MEAN)
    light[~nuclei] = loss * pieces[~nuclei] / physics.MM_PER_CM / (1 + detector.birks * stopping)
    return light


def _leak(charge: Array, crosstalk: float) -> Array:
    """Return charge (n, *S) after a fraction has leaked through each face of its cube, without the outermost."""
    dims = charge.ndim - 1
    inner = [slice(None), *[slice(1, -1)] * dims]
    gained = np.zeros_like(charge[tuple(inner)])
    for axis in range(1, dims + 1):
        for beside in (slice(None, -2), slice(2, None)):
            gained += charge[(*inner[:axis], beside, *inner[axis + 1 :])]
    gained *= crosstalk
    gained += (1 - 2 * dims * crosstalk) * charge[tuple(inner)]
    return gained


def simulate(
    tracks: Tracks, detector: Detector, rng: Random, event: NDArray[np.intp] | None = None
) -> NDArray[np.float32]:
    """Draw the charge of every track in every cube (n, 7, 7, 7), p.e.

    Args:
        tracks: n tracks.
        detector: the response of the detector.
        rng: the source of randomness, of all tracks or of each.
        event: (n,) the number of the event of each track, from 0 on; a single event if None. In cubes where the
            sum of an event is below the threshold, its tracks have no charge.
    """
    mean = expected_charge(tracks, detector, rng)
    lit = np.nonzero(mean)
    charge = np.zeros(mean.shape, np.float32)
    charge[lit] = of_rows(rng, lit[0]).poisson(mean[lit])
    event = np.zeros(len(tracks), np.intp) if event is None else event
    if len(event):
        order = np.argsort(event, kind="stable")
        numbers, first = np.unique(event[order], return_index=True)
        total = np.add.reduceat(charge[order], first)
        charge[total[np.searchsorted(numbers, event)] < detector.threshold] = 0
    return charge


def way_out(start: Array, direction: Array, half: float = CUBE * CUBES / 2) -> Array:
    """Return the distance from points (n, 3) within a cubic volume to its surface along directions (n, 3), mm.

    Example:
        >>> way_out(np.array([[5.0, 0, 0]]), np.array([[1.0, 0, 0]]))
        array([30.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = (np.copysign(half, direction) - start) / direction
    return np.asarray(np.where(direction == 0, np.inf, distances).min(axis=1))
