r"""Tracks of stopping nuclei with multiple scattering and range straggling, in steps of equal length.

The angle in a plane changes in a step of length s by a normal deviate of the variance

.. math:: \theta^2 = \left(\frac{13.6\,\mathrm{MeV}}{\beta c p}\right)^2
          \left(1 + 0.038 \ln \frac{R}{X_0}\right)^2 \frac{s}{X_0},

with the logarithm of the whole range R, so that steps add up to Highland's formula. Ranges straggle by
:math:`0.012 R^{0.935}` cm.

References:
    Navas et al. (Particle Data Group, 2024), Phys. Rev. D 110, 030001, section 34.3: multiple scattering.
    Bortfeld (1997), Med. Phys. 24, 2024: range straggling.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.neutrino import physics
from oasis.data.draws import Random

Array = NDArray[np.float64]

STEPS: Final = 200  # of every track
RADIATION_LENGTH: Final = 413.1  # mm of polystyrene
SCALE: Final = 13.6  # MeV
PROTON_MASS: Final = 938.272  # MeV
STRAGGLING: Final = (0.012, 0.935)


def scattered_paths(
    energy: Array, mass: Array, start: Array, direction: Array, rng: Random
) -> tuple[Array, Array]:
    """Return the middles of the steps of nuclei (n, m, 3), mm, and the residual ranges at their ends (n, m + 1).

    Residual ranges are those of the mean track, whose light the steps share.

    Args:
        energy: (n,) MeV.
        mass: (n,) in proton masses.
        start: (n, 3) mm.
        direction: (n, 3) unit vectors.
        rng: the source of randomness.
    """
    mean = physics.csda_range(energy, mass)
    factor, power = STRAGGLING
    spread = factor * (mean / physics.MM_PER_CM) ** power * physics.MM_PER_CM
    straggled = mean + spread * rng.standard_normal(len(mean))
    length = np.maximum(straggled, 0.5 * mean)
    fraction = np.linspace(1, 0, STEPS + 1)
    remaining = mean[:, None] * fraction
    middle = (remaining[:, 1:] + remaining[:, :-1]) / 2
    left = np.stack([np.interp(one, _table(m)[0], _table(m)[1]) for one, m in zip(middle, mass, strict=True)])
    step = length / STEPS
    angles = scattering_angle(left, mass[:, None], step[:, None], mean[:, None])[..., None]
    turned = np.cumsum(angles * rng.standard_normal((*left.shape, 2)), axis=1)
    least = np.eye(3)[np.abs(direction).argmin(axis=1)]
    first = np.cross(direction, least)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(direction, first)], axis=1)
    along = direction[:, None] + turned @ axes
    along /= np.linalg.norm(along, axis=2, keepdims=True)
    moved = np.cumsum(along * step[:, None, None], axis=1)
    return start[:, None] + moved - along * step[:, None, None] / 2, remaining


def scattering_angle(energy: Array, mass: Array, step: Array, length: Array) -> Array:
    """Return the standard deviation of the angle in a plane after a step of a track, radians; lengths in mm."""
    rest = mass * PROTON_MASS
    beta_p = energy * (energy + 2 * rest) / (energy + rest)  # MeV
    logarithm = np.maximum(1 + 0.038 * np.log(np.maximum(length, 1e-3) / RADIATION_LENGTH), 0.1)
    return np.asarray(SCALE / np.maximum(beta_p, 0.1) * logarithm * np.sqrt(step / RADIATION_LENGTH))


def _table(mass: float) -> tuple[Array, Array]:
    """Return ranges in mm and energies in MeV of nuclei of a mass."""
    energies = np.geomspace(physics.PSTAR[0, 0], physics.HIGHEST, 400) * mass
    return physics.csda_range(energies, mass), energies
