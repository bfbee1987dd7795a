"""Number of principal curves of simulated electron tracks that are fitted per second on one core.

    OMP_NUM_THREADS=1 python benchmarks/curves.py --tracks 300

More threads do not help with such small matrices. The tracks are true maps of the MIGDAL simulation on the
camera's whole field, 4 to 15 keV. Also printed is the rotation of the axis at the vertex if points are drawn
instead of weighted, and if the fit is iterated until the curve hardly changes.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.migdal import MigdalAdapter
from oasis.adapters.migdal.topology import SCALE_ADU, THRESHOLD_ADU, TOLERANCE
from oasis.command import at_least, run_script
from oasis.stats.curves import PrincipalCurve, axial_angle, axis_at, principal_curve

Track = tuple[NDArray[np.intp], NDArray[np.float64], tuple[float, float]]
Fit = Callable[[NDArray[np.intp], NDArray[np.float64]], PrincipalCurve]


def simulate(count: int) -> list[Track]:
    """Return the lit pixels of tracks, their weights and the vertex."""
    test = MigdalAdapter({"size": [288, 512], "energies": [4, 15], "events": {"test": 2 * count}}).dataset("test")
    tracks = []
    for index in range(0, 2 * count, 2):
        sample = test[index]
        image = sample.target[0, 0]
        pixels = np.argwhere(image >= THRESHOLD_ADU)
        weights = np.log1p(image[tuple(pixels.T)].astype(float) / SCALE_ADU)
        tracks.append((pixels, weights, (sample.meta["vertex_row"], sample.meta["vertex_col"])))
    return tracks


def fit_axes(tracks: list[Track], fit: Fit) -> list[NDArray[np.float64]]:
    """Return the axis of every track at its vertex."""
    return [axis_at(fit(pixels, weights), vertex) for pixels, weights, vertex in tracks]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tracks", type=at_least(1), default=300)
    tracks = simulate(parser.parse_args().tracks)
    rng = np.random.default_rng(0)
    fits: dict[str, Fit] = {
        "weighted pixels": lambda *track: principal_curve(*track, threshold=TOLERANCE),
        "20,000 draws": lambda *track: principal_curve(*track, threshold=TOLERANCE, draws=20_000, rng=rng),
        "threshold 0.001": lambda *track: principal_curve(*track, threshold=0.001, max_iterations=100),
    }
    lit = np.percentile([len(pixels) for pixels, _, _ in tracks], [5, 50, 95])
    print("{} tracks of {:.0f} pixels ({:.0f} to {:.0f})".format(len(tracks), *lit[[1, 0, 2]]))
    fit_axes(tracks[:1], fits["weighted pixels"])
    axes = {}
    for name, fit in fits.items():
        wall, processor = time.perf_counter(), time.process_time()
        axes[name] = fit_axes(tracks, fit)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        turned = [axial_angle(*pair) for pair in zip(axes[name], axes["weighted pixels"], strict=True)]
        middle, most = np.percentile(turned, [50, 90])
        print(
            f"{name:16s} {len(tracks) / wall:5.0f} fits/s, {len(tracks) / processor:5.0f} per second of processor "
            f"time; axis rotated by {middle:.1f} degrees (median), {most:.1f} (90 %)"
        )


if __name__ == "__main__":
    sys.exit(run_script(main))
