"""Silicon: ranges of electrons, their transport cross section, and the attenuation of photons.

Energies are in keV, lengths in micrometres.

References:
    Berger, Coursey, Zucker and Chang, ESTAR, NIST: collision stopping powers and CSDA ranges of electrons.
    Elam, Ravel and Sieber (2002), Radiat. Phys. Chem. 63, 121: attenuation of photons.
    Klein and Nishina (1929), Z. Phys. 52, 853.
    Moliere (1947), Z. Naturforsch. 2a, 133: screening of the atomic nucleus.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from oasis.data.draws import Random, of_rows

Floats = NDArray[np.float64]

DENSITY: Final = 2.33  # g / cm3
ATOMIC_NUMBER: Final = 14
ATOMIC_MASS: Final = 28.0855  # g / mol
AVOGADRO: Final = 6.02214076e23
ELECTRON_MASS: Final = 510.999  # keV
ELECTRON_RADIUS: Final = 2.8179403e-13  # cm
FINE_STRUCTURE: Final = 1 / 137.036
UM_PER_CM: Final = 1e4

# keV, MeV cm2 / g and mg / cm2 of ESTAR
ENERGIES: Final = np.array([12.5, 20, 30, 50, 100, 150, 200, 300, 400, 500, 600, 800, 900, 1000])
STOPPING: Final = np.array(
    [14.32, 10.10, 7.480, 5.175, 3.265, 2.583, 2.236, 1.892, 1.729, 1.638, 1.585, 1.529, 1.516, 1.507]
)
RANGES: Final = np.array(
    [0.507, 1.142, 2.308, 5.592, 18.22, 35.61, 56.46, 105.4, 160.6, 219.7, 281.2, 408.6, 473.4, 538.6]
)

# keV and cm2 / g: photoelectric absorption, and incoherent scattering relative to that on free electrons
PHOTOELECTRIC: Final = (np.array([30.97, 35.0, 100.0, 249.8]), np.array([1.0505, 0.715, 0.025, 0.0014]))
BINDING: Final = (np.array([30.97, 35.0, 100.0]), np.array([0.833, 0.846, 0.995]))


@cache
def _logarithmic_range() -> CubicSpline:
    """Return ln R (um) against ln T (keV), straight outside the table."""
    energies, ranges = np.log(ENERGIES), np.log(RANGES / (1e3 * DENSITY) * UM_PER_CM)
    inner = CubicSpline(energies, ranges)
    low, high = energies[0] - 4, energies[-1] + 2
    ends = [ranges[0] - 4 * inner(energies[0], 1), ranges[-1] + 2 * inner(energies[-1], 1)]
    middle = np.linspace(energies[0], energies[-1], 200)
    nodes = np.concatenate(
        [np.linspace(low, energies[0], 40)[:-1], middle, np.linspace(energies[-1], high, 40)[1:]]
    )
    values = np.concatenate(
        [np.linspace(ends[0], ranges[0], 40)[:-1], inner(middle), np.linspace(ranges[-1], ends[1], 40)[1:]]
    )
    return CubicSpline(nodes, values)


@cache
def _grid() -> tuple[Floats, Floats]:
    """Return increasing ln T and ln R, close enough for linear interpolation."""
    spline = _logarithmic_range()
    energies = np.linspace(spline.x[0], spline.x[-1], 4000)
    return energies, np.asarray(spline(energies))


def csda_range(energy: ArrayLike) -> Floats:
    """Return the mean path length of electrons that slow down to rest, um (ESTAR).

    Example:
        >>> csda_range([20, 100, 500]).round(1)
        array([  4.9,  78.2, 942.9])
    """
    energies, ranges = _grid()
    return np.asarray(np.exp(np.interp(np.log(np.asarray(energy, float)), energies, ranges)))


def energy_of_range(length: ArrayLike) -> Floats:
    """Return the energy (keV) of electrons with a mean path length (um): the inverse of `csda_range`."""
    energies, ranges = _grid()
    return np.asarray(np.exp(np.interp(np.log(np.asarray(length, float)), ranges, energies)))


def momentum(energy: Floats) -> Floats:
    """Return the momentum of electrons, keV / c."""
    return np.asarray(np.sqrt(energy * (energy + 2 * ELECTRON_MASS)))


def transport_length(energy: Floats) -> Floats:
    r"""Return the transport mean free path of elastic scattering, um.

    .. math:: \frac{1}{\lambda} = \frac{N_A \rho}{A} 2 \pi Z (Z + 1) r_e^2 \left(\frac{m}{\beta p}\right)^2
              \left[\ln \frac{1 + s}{s} - \frac{1}{1 + s}\right], \qquad
              s = \frac{\chi_0^2}{4} \left(1.13 + 3.76 (Z \alpha / \beta)^2\right)

    with the screening angle :math:`\chi_0` of Moliere.
    """
    p = momentum(energy)
    beta = p / (energy + ELECTRON_MASS)
    angle = 4.2135 * ATOMIC_NUMBER ** (1 / 3) / p
    s = angle**2 / 4 * (1.13 + 3.76 * (ATOMIC_NUMBER * FINE_STRUCTURE / beta) ** 2)
    area = 2 * np.pi * ATOMIC_NUMBER * (ATOMIC_NUMBER + 1) * (ELECTRON_RADIUS * ELECTRON_MASS / (beta * p)) ** 2
    inverse = AVOGADRO * DENSITY / ATOMIC_MASS * area * (np.log((1 + s) / s) - 1 / (1 + s))
    return np.asarray(UM_PER_CM / inverse)


def photoelectric(energy: ArrayLike) -> Floats:
    """Return the photoelectric mass attenuation, cm2 / g: log-log interpolation, a power law outside the table."""
    x, (energies, values) = np.log(np.asarray(energy, float)), (np.log(each) for each in PHOTOELECTRIC)
    slopes = np.diff(values) / np.diff(energies)
    place = np.clip(np.searchsorted(energies, x) - 1, 0, len(slopes) - 1)
    return np.asarray(np.exp(values[place] + slopes[place] * (x - energies[place])))


def compton(energy: ArrayLike) -> Floats:
    """Return the incoherent mass attenuation, cm2 / g: Klein and Nishina, less the binding of the electrons.

    Example:
        >>> compton([30.97, 249.8]).round(3)
        array([0.149, 0.113])
    """
    energy = np.asarray(energy, float)
    k = energy / ELECTRON_MASS
    bracket = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - np.log1p(2 * k) / k)
    area = bracket + np.log1p(2 * k) / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2
    electrons = AVOGADRO * ATOMIC_NUMBER / ATOMIC_MASS
    free = 2 * np.pi * ELECTRON_RADIUS**2 * area * electrons
    return np.asarray(free * np.interp(energy, *BINDING))


def interaction(energy: ArrayLike, path: ArrayLike) -> Floats:
    """Return the probability that a photon is absorbed or scatters within a path (um) of silicon."""
    depth = (photoelectric(energy) + compton(energy)) * DENSITY * np.asarray(path, float) / UM_PER_CM
    return np.asarray(-np.expm1(-depth))


def recoil_energy(energy: Floats, rng: Random) -> Floats:
    """Return the energies of Compton electrons of photons (n,), drawn from the Klein-Nishina cross section, keV.

    The share e of its energy that a photon keeps has the density (e + 1 / e - sin^2) by rejection.
    """
    kept = np.empty(len(energy))
    todo = np.arange(len(energy))
    while len(todo):
        drawn, k = of_rows(rng, todo), energy[todo] / ELECTRON_MASS
        share = 1 / (1 + 2 * k) + drawn.random(len(todo)) * (1 - 1 / (1 + 2 * k))
        cosine = 1 - (1 / share - 1) / k
        density = (share + 1 / share - 1 + cosine**2) / (1 + 2 * k + 1 / (1 + 2 * k))
        found = drawn.random(len(todo)) < density
        kept[todo[found]] = share[found]
        todo = todo[~found]
    return np.asarray(energy * (1 - kept))
