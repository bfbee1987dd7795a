r"""Protons, deuterons, tritons and muons in polystyrene: ranges, stopping powers and scintillation light.

Energies are kinetic, in MeV; lengths are in mm. Values for nuclei of charge 1 and mass a (in proton masses) follow
from the table of the proton at the same velocity, energy E / a:

.. math:: S_a(E) = S_p(E / a), \qquad R_a(E) = a R_p(E / a), \qquad L_a(E) = a L_p(E / a)

References:
    Berger, Coursey, Zucker and Chang, ESTAR, PSTAR, and ASTAR, NIST Standard Reference Database 124: polystyrene.
    Birks (1951), Proc. Phys. Soc. A 64, 874: quenching of scintillation.
    Navas et al. (Particle Data Group, 2024), Phys. Rev. D 110, 030001, section 34: Bethe's formula; the constants
    of polystyrene are those of its atomic and nuclear properties, https://pdg.lbl.gov/AtomicNuclearProperties.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DENSITY: Final = 1.060  # g / cm3
MM_PER_CM: Final = 10.0
MASSES: Final = {"proton": 1.0, "deuteron": 1.99901, "triton": 2.99372}  # in proton masses
# Kinetic energy (MeV), total stopping power (MeV cm2 / g) and CSDA range (g / cm2) of protons, from PSTAR.
PSTAR: Final = np.array(
    [
        *((0.001, 226.8, 5.400e-6), (0.01, 597.7, 2.728e-5), (0.05, 971.7, 7.506e-5), (0.1, 916.4, 1.271e-4)),
        *((0.2, 686.3, 2.539e-4), (0.3, 544.5, 4.187e-4), (0.5, 409.4, 8.478e-4), (0.7, 328.4, 1.397e-3)),
        *((1, 257.7, 2.438e-3), (1.5, 193.7, 4.703e-3), (2, 157.2, 7.587e-3), (3, 116.1, 1.509e-2)),
        *((4, 93.06, 2.478e-2), (5, 78.20, 3.655e-2), (6, 67.72, 5.033e-2), (7, 59.91, 6.607e-2)),
        *((8, 53.84, 8.370e-2), (9, 48.99, 0.1032), (10, 45.00, 0.1245), (12.5, 37.56, 0.1856)),
        *((15, 32.39, 0.2575), (17.5, 28.57, 0.3399), (20, 25.62, 0.4324), (25, 21.36, 0.6472)),
        *((30, 18.42, 0.9001), (35, 16.26, 1.190), (40, 14.60, 1.515), (45, 13.28, 1.874)),
        *((50, 12.21, 2.268), (55, 11.32, 2.693), (60, 10.57, 3.151), (70, 9.369, 4.158), (80, 8.452, 5.284)),
    ]
)
HIGHEST: Final = float(PSTAR[-1, 0])  # MeV
NODES: Final = 2000  # of the interpolation tables, evenly spaced in the logarithm of the energy

MUON_MASS: Final = 105.6584  # MeV
ELECTRON_MASS: Final = 0.510999  # MeV
BETHE: Final = 0.307075  # MeV cm2 / mol: 4 pi N_A r_e^2 m_e c^2
ELECTRONS_PER_MASS: Final = 0.53768  # Z / A of polystyrene, mol / g
MEAN_EXCITATION: Final = 68.7e-6  # MeV
STERNHEIMER: Final = (0.16454, 3.2224, 0.1647, 2.5031, 3.2999)  # a, k, x0, x1, C of the density effect


def stopping_power(energy: ArrayLike, mass: ArrayLike = 1.0) -> Array:
    """Return the mass stopping power of nuclei of charge 1 in MeV cm2 / g, log-log between the nodes of PSTAR.

    Args:
        energy: MeV.
        mass: in proton masses.

    Example:
        >>> stopping_power([10, 27.5]).round(2)  # PSTAR: 19.77 at 27.5 MeV
        array([45.  , 19.77])
    """
    return _log_log(np.asarray(energy, float) / np.asarray(mass), PSTAR[:, 1])


def csda_range(energy: ArrayLike, mass: ArrayLike = 1.0) -> Array:
    """Return the range of nuclei of charge 1 in mm, in the continuous-slowing-down approximation.

    Example:
        >>> csda_range([10, 30, 60]).round(2)
        array([ 1.17,  8.49, 29.73])
    """
    mass = np.asarray(mass, float)
    return mass * _log_log(np.asarray(energy, float) / mass, PSTAR[:, 2] / DENSITY * MM_PER_CM)


def _log_log(energy: Array, values: Array) -> Array:
    return np.asarray(np.exp(np.interp(np.log(energy), np.log(PSTAR[:, 0]), np.log(values))))


@dataclass(frozen=True, eq=False)
class Quenching:
    r"""Quenched light of a proton as a function of its energy and of its range (Birks 1951).

    .. math:: L(E) = \int_0^E \frac{dE'}{1 + k_B S(E')}

    The light of a segment of a track is the difference of L between the residual energies, or ranges, at its two
    ends. All three tables are monotonic, so that any follows from any other by interpolation; they end at
    `HIGHEST`.

    Attributes:
        energy: (n,) MeV.
        length: (n,) mm, the range.
        light: (n,) MeV, the energy at which an unquenched particle gives as much light.
    """

    energy: Array
    length: Array
    light: Array

    def light_of_energy(self, energy: ArrayLike, mass: ArrayLike = 1.0) -> Array:
        """Return the light in MeV of stopping nuclei of charge 1.

        Example:
            >>> quenching(0.0126).light_of_energy([10, 30, 60]).round(1)
            array([ 4.6, 19.6, 45.2])
        """
        return self._scaled(energy, mass, self.energy, self.light)

    def light_of_range(self, length: ArrayLike, mass: ArrayLike = 1.0) -> Array:
        """Return the light in MeV of the last part of a track, from a distance in mm before its end."""
        return self._scaled(length, mass, self.length, self.light)

    def energy_of_light(self, light: ArrayLike, mass: ArrayLike = 1.0) -> Array:
        """Return the energy in MeV of stopping nuclei from their light in MeV."""
        return self._scaled(light, mass, self.light, self.energy)

    def energy_of_range(self, length: ArrayLike, mass: ArrayLike = 1.0) -> Array:
        """Return the energy in MeV of stopping nuclei from their range in mm."""
        return self._scaled(length, mass, self.length, self.energy)

    def _scaled(self, x: ArrayLike, mass: ArrayLike, nodes: Array, values: Array) -> Array:
        mass = np.asarray(mass, float)
        return np.asarray(mass * np.interp(np.asarray(x, float) / mass, nodes, values))


@cache
def quenching(birks: float) -> Quenching:
    """Return the tables for Birks' constant in g / (MeV cm2).

    Example:
        >>> tables = quenching(0.0126)
        >>> (tables.light_of_energy(30.0) / 30).round(2)  # a third of 30 MeV is quenched
        np.float64(0.65)
    """
    energy = np.geomspace(PSTAR[0, 0], HIGHEST, NODES)
    yields = 1 / (1 + birks * stopping_power(energy))
    light = np.concatenate([[energy[0] * yields[0]], np.diff(energy) * (yields[1:] + yields[:-1]) / 2]).cumsum()
    return Quenching(*(np.concatenate([[0.0], table]) for table in (energy, csda_range(energy), light)))


def muon_stopping_power(energy: ArrayLike) -> Array:
    r"""Return the mean mass stopping power of muons in MeV cm2 / g, by Bethe's formula with the density effect.

    .. math:: S = K \frac{Z}{A} \frac{1}{\beta^2} \left( \frac12 \ln \frac{2 m_e \beta^2 \gamma^2 W}{I^2}
              - \beta^2 - \frac{\delta}{2} \right)

    Args:
        energy: MeV, of the order of the muon's mass or more.

    Example:
        >>> (muon_stopping_power([300, 500, 1000]) * DENSITY).round(2)  # MeV / cm
        array([2.05, 2.07, 2.17])
    """
    gamma = 1 + np.asarray(energy, float) / MUON_MASS
    momentum2 = gamma**2 - 1  # (beta gamma)^2
    beta2 = momentum2 / gamma**2
    ratio = ELECTRON_MASS / MUON_MASS
    largest = 2 * ELECTRON_MASS * momentum2 / (1 + 2 * gamma * ratio + ratio**2)
    a, k, x0, x1, c = STERNHEIMER
    x = np.log10(momentum2) / 2
    density = np.where(x > x0, 2 * np.log(10) * x - c + a * np.clip(x1 - x, 0, None) ** k, 0)
    logarithm = np.log(2 * ELECTRON_MASS * momentum2 * largest / MEAN_EXCITATION**2) / 2
    return np.asarray(BETHE * ELECTRONS_PER_MASS / beta2 * (logarithm - beta2 - density / 2))


def landau_width(energy: ArrayLike) -> Array:
    r"""Return the width of the energy-loss distribution, :math:`\xi = K Z \rho / (2 A \beta^2)`, in MeV per cm.

    Example:
        >>> landau_width(1000.0).round(4)
        np.float64(0.0883)
    """
    gamma = 1 + np.asarray(energy, float) / MUON_MASS
    return np.asarray(BETHE / 2 * ELECTRONS_PER_MASS * DENSITY / (1 - gamma**-2))
