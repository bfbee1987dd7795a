r"""Muons: their directions at a vertical wafer, and their energy loss in silicon collision by collision.

Collisions that transfer more than `SOFT` are drawn one by one from :math:`\xi / T^2`; the rest is the restricted
mean loss with its fluctuation. The Landau distribution follows from that and is not put in. Transfers above `HARD`
are electrons with tracks of their own.

References:
    Particle Data Group (2022), Passage of Particles Through Matter, Eq. 34.13 (restricted loss).
    Sternheimer, Berger and Seltzer (1984), At. Data Nucl. Data Tables 30, 261: density effect of silicon.
"""

from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd.silicon import ATOMIC_MASS, ATOMIC_NUMBER, DENSITY, ELECTRON_MASS, UM_PER_CM
from oasis.data.draws import Random, of_rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MUON_MASS: Final = 105_658.4  # keV
EXCITATION: Final = 0.173  # keV
BLOCH: Final = 307.075  # keV cm2 / mol
STERNHEIMER: Final = {"a": 0.14921, "k": 3.2546, "x0": 0.2015, "x1": 2.8716, "c": 4.4355}
SOFT: Final = 1.0  # keV: larger transfers are drawn one by one
HARD: Final = 30.0  # keV: electrons that reach 10 um, less than a pixel; larger ones have a track


class Kinematics(NamedTuple):
    """What the energy loss of a muon of one momentum depends on.

    Attributes:
        beta2: the squared velocity.
        gamma2: the squared Lorentz factor.
        largest: the largest energy transfer to an electron, keV.
        density: the density effect delta.
        xi: collisions per um and unit of 1 / transfer, keV / um.
    """

    beta2: float
    gamma2: float
    largest: float
    density: float
    xi: float


def kinematics(gev: float) -> Kinematics:
    """Return the kinematics of muons of a momentum in GeV/c.

    Example:
        >>> round(100 * kinematics(4.0).xi, 2)
        1.78
    """
    momentum = gev * 1e6
    gamma2 = 1 + (momentum / MUON_MASS) ** 2
    beta2 = 1 - 1 / gamma2
    ratio = ELECTRON_MASS / MUON_MASS
    largest = 2 * ELECTRON_MASS * beta2 * gamma2 / (1 + 2 * np.sqrt(gamma2) * ratio + ratio**2)
    x = np.log10(momentum / MUON_MASS)
    s = STERNHEIMER
    density = 2 * np.log(10) * x - s["c"] + s["a"] * max(s["x1"] - x, 0) ** s["k"] if x > s["x0"] else 0.0
    xi = BLOCH / 2 * ATOMIC_NUMBER / ATOMIC_MASS * DENSITY / beta2 / UM_PER_CM
    return Kinematics(float(beta2), float(gamma2), float(largest), float(density), float(xi))


def restricted_loss(of: Kinematics, cut: float) -> float:
    r"""Return the mean loss to transfers below a cut (keV), in keV / um.

    .. math:: \frac{dE}{dx} = \xi \left[\ln \frac{2 m \beta^2 \gamma^2 T_c}{I^2}
              - \beta^2 \left(1 + \frac{T_c}{T_{max}}\right) - \delta\right]
    """
    logarithm = np.log(2 * ELECTRON_MASS * of.beta2 * of.gamma2 * cut / EXCITATION**2)
    return float(of.xi * (logarithm - of.beta2 * (1 + cut / of.largest) - of.density))


class Losses(NamedTuple):
    """The energy losses of n muons.

    Attributes:
        muon: (m,) the muon of each loss.
        path: (m,) um from where the muon enters.
        energy: (m,) keV.
        hard: (m,) whether it is an electron with a track.
    """

    muon: Integers
    path: Floats
    energy: Floats
    hard: NDArray[np.bool_]


def losses(length: Floats, of: Kinematics, spacing: float, rng: Random) -> Losses:
    """Draw the energy losses of muons along straight paths.

    Args:
        length: (n,) path lengths, um.
        of: the kinematics of the muons.
        spacing: of the points that share the soft losses, um.
        rng: the source of randomness, of all muons or of each.
    """
    count = np.maximum(np.ceil(length / spacing).astype(np.int64), 1)
    muon = np.repeat(np.arange(len(length)), count)
    piece = length / count
    first = np.cumsum(count) - count
    path = (np.arange(len(muon)) - (first - 0.5)[muon]) * piece[muon]
    mean, width = restricted_loss(of, SOFT) * piece, np.sqrt(of.xi * SOFT * piece)
    shape, scale = (mean / width) ** 2, width**2 / mean  # a gamma distribution is never negative
    soft = of_rows(rng, muon).gamma(shape[muon], scale[muon])
    collisions = rng.poisson(of.xi * (1 / SOFT - 1 / of.largest) * length)
    struck = np.repeat(np.arange(len(length)), collisions)
    drawn = of_rows(rng, struck)
    transfer = 1 / (1 / SOFT - drawn.random(len(struck)) * (1 / SOFT - 1 / of.largest))
    kept = drawn.random(len(struck)) < 1 - of.beta2 * transfer / of.largest
    struck, transfer = struck[kept], transfer[kept]
    where = of_rows(rng, struck).random(len(struck)) * length[struck]
    return Losses(
        np.concatenate([muon, struck]),
        np.concatenate([path, where]),
        np.concatenate([soft, transfer]),
        np.concatenate([np.zeros(len(muon), bool), transfer > HARD]),
    )


def thrown_cosine(transfer: Floats, of: Kinematics) -> Floats:
    """Return the cosine between a muon and the electron to which it transfers an energy (keV)."""
    speed = np.sqrt(of.beta2)
    return np.asarray(np.minimum(np.sqrt(transfer / (transfer + 2 * ELECTRON_MASS)) / speed, 1.0))


def directions(count: int, rng: Random) -> Floats:
    r"""Return directions (count, 3) of muons through a vertical wafer: columns, rows (downwards), depth.

    The flux per area is :math:`\cos^2 \theta\, |n \cdot d|` with the zenith angle :math:`\theta` and the
    horizontal normal n. Muons travel along positive depth; the wafer looks the same from both sides.
    """
    angle, cumulative = _zenith()
    zenith = np.interp(rng.random(count) * cumulative[-1], cumulative, angle)
    sideways = rng.uniform(-1, 1, count)  # the sine of the azimuth from the normal, whose density is the cosine
    inward = np.sqrt(1 - sideways**2)
    return np.stack([np.sin(zenith) * sideways, np.cos(zenith), np.sin(zenith) * inward], 1)


@cache
def _zenith() -> tuple[Floats, Floats]:
    """Return zenith angles and the integral of their distribution up to each."""
    angle = np.linspace(0, np.pi / 2, 2001)
    density = np.cos(angle) ** 2 * np.sin(angle) ** 2  # sin from the solid angle, sin from the normal
    return angle, np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
