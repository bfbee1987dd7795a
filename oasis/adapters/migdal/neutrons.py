r"""Nuclear recoils of D-D neutrons in CF4: which atoms are struck, and how much energy they get.

A neutron scatters elastically on carbon and fluorine, or excites a level of fluorine (the first of carbon, at
4.4 MeV, is out of reach). With a and b the energies that a recoil gets from the motion of the centre of mass and
from that within it, and mu the cosine of the neutron's angle there, :math:`E = a + b - 2 \sqrt{ab}\, \mu`. The
angular distribution is a series of Legendre polynomials,

.. math:: \frac{1}{\sigma} \frac{d\sigma}{d\mu} = \frac{1}{2} \sum_l (2 l + 1) a_l P_l(\mu), \quad a_0 = 1

Sources, at 2.45 MeV:
    Carbon: ENDF/B-V, natural carbon, MAT 1306.
    Fluorine: the total cross section is measured (EXFOR 10047012, 2.9 barn at 2.455 MeV). Its division into
    elastic and inelastic scattering and the angular distribution are calculated: an optical model (Koning and
    Delaroche 2003, extrapolated to A = 19) with compound scattering after Hauser and Feshbach. The elastic cross
    section is uncertain to 10 %, the inelastic ones to 25 %, and a_1 lies between 0.30 and 0.47.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import Legendre
from numpy.typing import NDArray

from oasis.adapters.migdal.gas import ATOMIC_MASS, ATOMIC_NUMBER, ATOMS_PER_MOLECULE

NEUTRON_ENERGY = 2470.0  # keV
NEUTRON_MASS = 1.00866  # u
CARBON, FLUORINE = 0, 1  # indices of `ATOMIC_MASS`
STEPS = 4000  # of the tabulated angular distributions


class Channel(NamedTuple):
    """One way in which a neutron scatters: the atom, barn, keV of the excited level and a_1, a_2, ... ."""

    atom: int
    barn: float
    level: float = 0.0
    moments: tuple[float, ...] = ()


CHANNELS = (
    Channel(CARBON, 1.586, moments=(-0.01573, 0.11803, -0.01183, -0.02089, 0.00154)),
    Channel(FLUORINE, 2.05, moments=(0.40, 0.19, 0.03, 0.011)),
    *(
        Channel(FLUORINE, barn, level)
        for level, barn in ((110, 0.18), (197, 0.22), (1346, 0.11), (1459, 0.12), (1554, 0.12))
    ),
)


def endpoint() -> NDArray[np.float64]:
    """Largest recoil energy of carbon and fluorine in keV under D-D neutrons: 4 m M / (m + M)^2 E_n.

    Example:
        >>> endpoint().round()
        array([706., 473.])
    """
    return 4 * NEUTRON_MASS * ATOMIC_MASS / (NEUTRON_MASS + ATOMIC_MASS) ** 2 * NEUTRON_ENERGY


def recoil_energy(
    channel: Channel, cosine: NDArray[np.float64], neutron: float = NEUTRON_ENERGY
) -> NDArray[np.float64]:
    """Return the energy in keV of recoils (n,) by the cosine of the neutron's angle in the centre of mass.

    Args:
        channel: the kind of scattering.
        cosine: (n,) between -1 (head-on) and 1.
        neutron: the neutron's energy, keV.

    Example:
        >>> recoil_energy(CHANNELS[0], np.array([-1.0, 0.0, 1.0])).round().tolist()
        [706.0, 353.0, 0.0]
    """
    mass = ATOMIC_MASS[channel.atom]
    total = NEUTRON_MASS + mass
    motion = NEUTRON_MASS * mass / total**2 * neutron
    within = NEUTRON_MASS / total * (mass / total * neutron - channel.level)
    energy: NDArray[np.float64] = motion + within - 2 * np.sqrt(motion * within) * cosine
    return energy


def dd_recoils(
    rng: np.random.Generator, count: int, least: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw the atomic numbers (count,) and the energies in keV of recoils in CF4, all above `least` keV."""
    species, energies = np.empty(0, np.int64), np.empty(0)
    rates = np.array([ATOMS_PER_MOLECULE[channel.atom] * channel.barn for channel in CHANNELS])
    while len(energies) < count:
        chosen = rng.choice(len(CHANNELS), 2 * count, p=rates / rates.sum())
        energy = np.empty(len(chosen))
        for number, channel in enumerate(CHANNELS):
            drawn = chosen == number
            energy[drawn] = recoil_energy(channel, _cosines(channel, rng.random(drawn.sum())))
        atoms = np.array([channel.atom for channel in CHANNELS])[chosen]
        species = np.append(species, ATOMIC_NUMBER[atoms].astype(np.int64)[energy > least])
        energies = np.append(energies, energy[energy > least])
    return species[:count], energies[:count]


def _cosines(channel: Channel, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cosines (n,) of the angular distribution, by its inverse integral."""
    moments = np.array([1.0, *channel.moments])
    integral = Legendre((2 * np.arange(len(moments)) + 1) * moments / 2).integ(lbnd=-1)
    cosines = np.linspace(-1, 1, STEPS + 1)
    return np.interp(uniform, integral(cosines), cosines)
