"""The decay of 135Xe: beta spectra, and the conversion electrons and photons of 135Cs.

Energies are in keV. Intensities are per decay.

References:
    Singh, Rodionov and Khazov (2008), Nucl. Data Sheets 109, 517: levels, endpoints and intensities (A = 135).
    ICRP Publication 107 (2008): mean energies, conversion electrons, X-rays.
"""

from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd.silicon import ELECTRON_MASS, FINE_STRUCTURE
from oasis.data.draws import Random

Floats = NDArray[np.float64]

DAUGHTER: Final = 55  # the atomic number of caesium
BRANCHES: Final = ((915.2, 0.96), (757.0, 0.0059), (556.8, 0.0311), (183.7, 0.00075), (102.6, 0.00123))
"""Endpoint and intensity of each beta branch, for Q = 1165 keV."""


class Line(NamedTuple):
    """Particles of one energy.

    Attributes:
        energy: the bounds of the energy, keV; equal for a sharp line.
        intensity: number per decay.
    """

    energy: tuple[float, float]
    intensity: float


CONVERSION: Final = (
    Line((213.8, 213.8), 0.0571),  # K
    Line((244.1, 244.8), 0.00931),  # L
    Line((248.8, 249.8), 0.00244),  # M and higher
)
AUGER: Final = (Line((25.4, 34.2), 0.0059),)
"""Electrons that leave with the vacancy of a conversion electron, treated as such."""

PHOTONS: Final = (
    Line((30.973, 30.973), 0.0277),
    Line((30.625, 30.625), 0.0150),
    Line((34.92, 34.99), 0.0077),
    Line((35.8, 35.8), 0.0018),
    Line((158.2, 158.2), 0.00289),
    Line((249.794, 249.794), 0.90),
    Line((358.4, 358.4), 0.0022),
    Line((407.99, 407.99), 0.00358),
    Line((608.185, 608.185), 0.0290),
    Line((812.6, 812.6), 0.0007),
)
X_RAYS: Final = PHOTONS[:4]


def beta_spectrum(energy: Floats, endpoint: float) -> Floats:
    r"""Return the spectrum of an allowed beta branch in arbitrary units.

    .. math:: N(T) \propto F(T)\, p\, E\, (Q - T)^2, \qquad
              F = \frac{2 \pi \eta}{1 - e^{-2 \pi \eta}}
              \left[\frac{E^2}{m^2} (1 + 4 \alpha^2 Z^2) - 1\right]^{\sqrt{1 - \alpha^2 Z^2} - 1}, \qquad
              \eta = \frac{\alpha Z E}{p}

    Args:
        energy: kinetic energies T, keV.
        endpoint: Q of the branch, keV.
    """
    total = energy + ELECTRON_MASS
    p = np.sqrt(total**2 - ELECTRON_MASS**2)
    charge = FINE_STRUCTURE * DAUGHTER
    eta = charge * total / np.maximum(p, 1e-9)
    power = np.sqrt(1 - charge**2) - 1
    fermi = 2 * np.pi * eta / -np.expm1(-2 * np.pi * eta)
    fermi *= ((total / ELECTRON_MASS) ** 2 * (1 + 4 * charge**2) - 1) ** power
    return np.asarray(fermi * p * total * np.clip(endpoint - energy, 0, None) ** 2)


def mean_energy(endpoint: float) -> float:
    """Return the mean kinetic energy of a branch, keV.

    Example:
        >>> round(mean_energy(915.2), 1)
        310.3
    """
    energy = (np.arange(20_000) + 0.5) * endpoint / 20_000
    return float(np.average(energy, weights=beta_spectrum(energy, endpoint)))


@cache
def _cumulative() -> tuple[Floats, Floats]:
    """Return energies and the cumulative spectrum of all branches."""
    energy = np.linspace(0, BRANCHES[0][0], 9153)
    middle = (energy[1:] + energy[:-1]) / 2
    total = np.zeros(len(middle))
    for endpoint, intensity in BRANCHES:
        density = beta_spectrum(middle, endpoint)
        total += intensity * density / density.sum()
    return energy, np.concatenate([[0.0], np.cumsum(total) / total.sum()])


def beta_energies(count: int, rng: Random) -> Floats:
    """Return energies (count,) of beta electrons from the spectrum of all branches, keV."""
    energy, cumulative = _cumulative()
    return np.asarray(np.interp(rng.random(count), cumulative, energy))


def line_energies(lines: tuple[Line, ...], count: int, rng: Random) -> Floats:
    """Return energies (count,) of particles drawn from lines in proportion to their intensity, keV."""
    cumulative = np.cumsum([line.intensity for line in lines])
    drawn = np.searchsorted(cumulative / cumulative[-1], rng.random(count), side="right")
    bounds = np.array([line.energy for line in lines])[drawn]
    return np.asarray(rng.uniform(bounds[:, 0], bounds[:, 1]))


def per_decay(lines: tuple[Line, ...]) -> float:
    """Return the summed intensity of lines."""
    return float(sum(line.intensity for line in lines))
