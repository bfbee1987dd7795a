"""Compare three renderers of single protons: analytic, with a learned correction, and a generator.

    python examples/neutrino/renderers.py --out runs/renderer.safetensors

Protons are simulated with multiple scattering and range straggling. The correction is stored; a fit uses it with
`data.refinement.renderer`. The generator, after the original work, is trained for comparison only.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from oasis.adapters.neutrino.fit_options import RefinementOptions
from oasis.adapters.neutrino.fitting import image_deviance
from oasis.adapters.neutrino.generator import GeneratedRenderer, Generator, train_generator
from oasis.adapters.neutrino.learned import (
    LearnedRenderer,
    distant_muon,
    nuclei_deviance,
    single_nuclei,
    train_learned,
)
from oasis.adapters.neutrino.renderer import Particles, Renderer
from oasis.adapters.neutrino.simulation import Detector
from oasis.command import at_least, run_script

ENERGIES = (1.0, 60.0)
SLOTS = 5


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Return the processor time of some work, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def step_time(renderer: Renderer, events: int = 16) -> float:
    """Return the processor time of one step of a fit, ms per event with five protons."""
    torch.manual_seed(0)
    vertex, energy = torch.zeros(events, 3), torch.full((events, SLOTS), 30.0)
    direction = torch.nn.functional.normalize(torch.randn(events, SLOTS, 3), dim=-1)
    exits, image = distant_muon(events), torch.poisson(torch.full((events, 7, 7, 7), 5.0))
    for part in (vertex, energy, direction):
        part.requires_grad_()

    def work() -> None:
        particles = Particles(vertex, energy, direction, torch.ones(events, SLOTS, dtype=torch.bool))
        image_deviance(image, renderer.total(particles, exits, 1.0)).sum().backward()

    work()
    return 1000 * min(seconds(work)[0] for _ in range(3)) / events


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nuclei", type=at_least(1), default=6000, help="simulated protons to train on")
    parser.add_argument("--steps", type=at_least(1), default=600, help="of the correction")
    parser.add_argument("--generator-steps", type=at_least(1), default=100, help="of the generator")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/renderer.safetensors"), help="file of the correction"
    )
    options = parser.parse_args()
    detector = Detector(scattering=True, threshold=0.0)
    particles, charge = single_nuclei("proton", options.nuclei, detector, ENERGIES, 0, "train")
    held_out = single_nuclei("proton", max(options.nuclei // 4, 1), detector, ENERGIES, 0, "test")
    learned = LearnedRenderer(["proton"], detector)
    spent, _ = seconds(lambda: train_learned(learned, particles, charge, options.steps))
    print(f"correction: trained for {spent:.0f} s")
    spent, generator = seconds(
        lambda: train_generator(particles, charge, detector.cube_mm, options.generator_steps)
    )
    assert isinstance(generator, Generator)
    print(f"generator: trained for {spent:.0f} s, {options.generator_steps} of its steps")
    five, fit = ["proton"] * SLOTS, RefinementOptions()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    learned.save(options.out)
    renderers = {
        "analytic": (Renderer(["proton"], detector), Renderer(five, detector)),
        "learned": (learned, LearnedRenderer(five, detector).load(options.out)),
        "generator": (
            GeneratedRenderer(["proton"], detector, generator),
            GeneratedRenderer(five, detector, generator, samples=1),
        ),
    }
    print(f"{'':12}{'deviance: mean':>16}{'median':>10}{'ms per step':>14}{'s per fit':>12}")
    for name, (single, whole) in renderers.items():
        with torch.no_grad():
            found = torch.cat([nuclei_deviance(single, *part) for part in batches(*held_out)])
        cost = step_time(whole)
        per_fit = cost * fit.steps * fit.starts / 1000
        print(f"{name:12}{found.mean():16.1f}{found.median():10.1f}{cost:14.2f}{per_fit:12.1f}")


def batches(particles: Particles, charge: torch.Tensor, size: int = 100) -> list[tuple[Particles, torch.Tensor]]:
    """Return nuclei in parts."""
    parts = torch.arange(len(charge)).split(size)
    return [(particles.at(index), charge[index]) for index in parts]


if __name__ == "__main__":
    sys.exit(run_script(main))
