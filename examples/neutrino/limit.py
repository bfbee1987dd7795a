r"""How often the number of protons can be right at best.

    python examples/neutrino/limit.py
    python examples/neutrino/limit.py --energies 0.4 77 --cube 10.27

A proton that stops in the cube of the vertex gives light to that cube alone: all that an image can tell of such
protons is the sum S of their light. Here a counter knows the vertex, every proton that leaves the cube, however
little of it, and S up to the Poisson fluctuations of the cube's charge. With v protons that leave it, k that do
not have the probability

.. math:: p(k \mid v, S) \propto {v + k \choose v} (1 - h)^v\, h^k\, f^{*k}(S),

where h is the probability that a proton stops in the cube, f the distribution of its light there, and all numbers
of protons are equally frequent. The most probable k is chosen. No counter can be right more often, and a real
one, which does not know the other protons exactly, is right less often.
"""

import argparse
import sys
from math import comb

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.simulation import Detector, way_out
from oasis.command import at_least, run_script
from oasis.errors import ConfigError
from oasis.stats.intervals import rate

MOST = 5  # protons
EDGES = (5.0, 100.0)  # mm, of cubes
STEP = 0.02  # MeV of light, of the histograms
BINS = 8192

Values = NDArray[np.float64]


class Protons:
    """Many protons from one vertex: their light within its cube, and whether they stop there."""

    def __init__(self, vertex: Values, energies: tuple[float, float], cube: float, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        energy = rng.uniform(*energies, count)
        direction = rng.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        quenching = Detector().quenching
        length = physics.csda_range(energy)
        left = length - way_out(np.broadcast_to(vertex, (count, 3)), direction, cube / 2)
        self.stops = left <= 0
        self.light = quenching.light_of_energy(energy) - quenching.light_of_range(np.maximum(left, 0))

    def densities(self, width: float) -> list[Values]:
        """Return the distribution of the light of 0 to 5 that stop, blurred by a width (MeV)."""
        counts = np.bincount((self.light[self.stops] / STEP).astype(int), minlength=BINS)[:BINS]
        one = np.fft.rfft(counts / max(counts.sum(), 1))
        blur = np.exp(-2 * (np.pi * np.fft.rfftfreq(BINS) * width / STEP) ** 2)
        return [np.fft.irfft(one**number * blur, BINS) for number in range(MOST + 1)]


def right_number(index: int, energies: tuple[float, float], cube: float, draws: int) -> bool:
    """Return whether the number of an event is right."""
    detector, rng = Detector(), np.random.default_rng([index, 1])
    protons = Protons(rng.uniform(-cube / 2, cube / 2, 3), energies, cube, draws, index)
    chosen = rng.integers(0, draws, rng.integers(1, MOST + 1))
    stops, light = protons.stops[chosen], protons.light[chosen]
    width = max(light.sum() / detector.light_yield, STEP**2) ** 0.5  # of Poisson, MeV
    measured = light[stops].sum() + rng.normal(0, width)
    gone, chance, densities = int((~stops).sum()), protons.stops.mean(), protons.densities(width)
    place = round(measured / STEP - 0.5) % BINS  # what is below 0 is at the end
    likely = [
        comb(gone + number, gone) * (1 - chance) ** gone * chance**number * max(densities[number][place], 0)
        for number in range(MOST + 1 - gone)
    ]
    if not gone:
        likely[0] = 0  # there is at least one
    return int(np.argmax(likely)) == stops.sum()


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--energies", type=float, nargs=2, default=(1.0, 60.0), help="MeV, uniform between them")
    parser.add_argument("--cube", type=float, default=10.0, help="mm, its edge")
    parser.add_argument("--events", type=at_least(1), default=2000)
    parser.add_argument("--draws", type=at_least(1000), default=40_000, help="protons per vertex")
    options = parser.parse_args()
    low, high = options.energies
    if not 0 < low < high <= physics.HIGHEST:
        raise ConfigError(f"--energies: expected two increasing ones above 0 and up to {physics.HIGHEST:g} MeV")
    smallest, largest = EDGES
    if not smallest <= options.cube <= largest:
        raise ConfigError(f"--cube: expected an edge of {smallest:g} to {largest:g} mm, found {options.cube:g}")
    right = [right_number(index, (low, high), options.cube, options.draws) for index in range(options.events)]
    print(f"right number at best: {rate(np.array(right)):.1%}")


if __name__ == "__main__":
    sys.exit(run_script(main))
