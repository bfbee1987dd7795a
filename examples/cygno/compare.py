"""Compare networks with the classical chain and a matched filter at equal numbers of fakes.

Every method gives clusters with a score. Its threshold on the score leaves `--fakes` clusters per full frame in
empty images; recoils count as found where a cluster above that threshold contains a true pixel. Events whose
electrons were all absorbed cannot be found and are counted apart.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oasis.adapters.cygno import CygnoAdapter
from oasis.adapters.cygno.chain import Chain
from oasis.adapters.cygno.clusters import Clustering, Clusters, Finder, pixel_curve, recoil_row, threshold_for
from oasis.adapters.cygno.figures import curve_figure, efficiency_figure
from oasis.adapters.cygno.matched import MatchedFilter
from oasis.adapters.cygno.scene import log_rms
from oasis.command import at_least, run_script
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import ConfigError
from oasis.evaluation.figures import save_figure
from oasis.run import Run
from oasis.run.comparable import comparable_runs
from oasis.separator.separator import Separator
from oasis.stats.intervals import rate

Array = NDArray[np.float32]

FULL = 2304**2  # pixels of a full frame
EMPTY = 512  # side of the empty images
LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0)  # fakes per full frame of the curves
RECALL = 0.8  # at which precisions are compared
SHOWN = 3  # pictures per energy


@dataclass(frozen=True)
class Network:
    """A network as a method.

    Attributes:
        separator: the network, with a presence head.
        clustering: of the pixels.
        share: None to score pixels by the logit of the presence of a recoil and to sum the counts of clusters;
            else they are scored by the predicted map, which is summed and divided by this share of the light.
    """

    separator: Separator
    clustering: Clustering
    share: float | None = None

    def score(self, image: Array, rms: Array) -> Array:
        """Return the logit (H, W) of presence, or the map of recoils."""
        prediction = self.separator.predict(image, log_rms(rms))
        if self.share is not None:
            return prediction.maps[0, 0, 0].cpu().numpy()
        if prediction.presence is None:
            raise ConfigError("a run without head.presence: its pixels have no score")
        return prediction.presence.pixels[0, 0, 0].cpu().numpy()

    def __call__(self, image: Array, rms: Array) -> Clusters:
        """Return the clusters of an image."""
        start = perf_counter()
        score = self.score(image, rms)
        between = perf_counter()
        found = self.clustering(score, image if self.share is None else score / np.float32(self.share))
        seconds = {"preselect": between - start, "cluster": perf_counter() - between}
        return Clusters(found.pixels, found.score, found.integral, found.shape, found.sent, seconds)


def load_runs(folders: list[Path], changes: list[str]) -> dict[str, Run]:
    """Read runs that see the same images."""
    return comparable_runs(folders, "cygno", lambda run: isinstance(run.adapter, CygnoAdapter), changes)


def changed(adapter: CygnoAdapter, **options: object) -> CygnoAdapter:
    """Return the adapter with some options changed."""
    return type(adapter)({**adapter.options.model_dump(), **options}, adapter.seed)


def rms_of(sample: Sample) -> Array:
    """Return the rms of the pixels (H, W), which is the context of a sample."""
    assert sample.context is not None
    return np.exp(sample.context[0])


def methods_of(runs: Mapping[str, Run], options: argparse.Namespace) -> dict[str, Finder]:
    """Return all methods by name."""
    clustering = Clustering(cut=options.cut, grow=options.grow)
    methods: dict[str, Finder] = {}
    for name, run in runs.items():
        separator = run.separator()
        methods[name] = Network(separator, clustering)
        if options.maps:
            by_map = Clustering(cut=run.adapter.options.select, grow=options.grow)
            methods[f"{name}, map"] = Network(separator, by_map, run.adapter.options.truth_share)
    methods["matched filter"] = MatchedFilter(clustering=Clustering(cut=options.sigma, grow=options.matched_grow))
    for nsigma, eps in ((0.9, 12.0), (0.2, 18.0)) if options.chain else ():
        methods[f"chain {nsigma:g} sigma"] = Chain(nsigma=nsigma, eps=eps)
    return methods


def find(dataset: SampleDataset, count: int, methods: Mapping[str, Finder]) -> dict[str, list[Clusters]]:
    """Return the clusters that every method finds in the first images of a data set."""
    found: dict[str, list[Clusters]] = {name: [] for name in methods}
    for index in range(count):
        sample = dataset[index]
        for name, method in methods.items():
            found[name].append(method(sample.image[0], rms_of(sample)))
    return found


def measure(dataset: SampleDataset, methods: Mapping[str, Finder]) -> dict[str, pd.DataFrame]:
    """Return a row for every recoil of a data set, for each method."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.meta["recoil_energy"] == 0:
            continue
        known = {name: sample.meta[f"recoil_{name}"] for name in ("energy", "electrons", "light", "drift_cm")}
        for name, method in methods.items():
            clusters = method(sample.image[0], rms_of(sample))
            row = recoil_row(clusters, sample.target[0, 0] > 0, float(known["light"]))
            rows[name].append({**known, **row})
    return {name: pd.DataFrame(each) for name, each in rows.items()}


def curves_of(dataset: SampleDataset, methods: Mapping[str, Finder], energy: float) -> dict[str, pd.DataFrame]:
    """Return precision and recall of pixels, for the methods that give every pixel a score."""
    chosen = [dataset[index] for index in range(len(dataset))]
    chosen = [sample for sample in chosen if sample.meta["recoil_energy"] == energy and sample.target[0].any()]
    truths = [sample.target[0, 0] > 0 for sample in chosen]
    curves = {}
    for name, method in methods.items():
        score = getattr(method, "score", getattr(method, "significance", None))
        if score is not None:
            scores = [score(sample.image[0], rms_of(sample)) for sample in chosen]
            curves[name] = pixel_curve(scores, truths)
    return curves


def print_table(head: str, columns: Iterable[str], rows: Mapping[str, Iterable[str]]) -> None:
    """Print a table with a line for each method."""
    print(f"\n{head}\n{'':>20}" + "".join(f"{column:>24}" for column in columns))
    for name, cells in rows.items():
        print(f"{name:>20}" + "".join(f"{cell:>24}" for cell in cells))


def efficiency(rows: pd.DataFrame, energy: float, threshold: float, absorbed: bool = False) -> str:
    """Return the fraction of recoils of an energy that are found, with its 95 % interval."""
    chosen = rows[(rows["energy"] == energy) & ((rows["electrons"] > 0) | absorbed)]
    return f"{rate(chosen['score'].to_numpy() > threshold):.2f}"


def quartiles(rows: pd.DataFrame, energy: float, threshold: float, column: str) -> str:
    """Return the median and the 25-75 % range of a column for the recoils that are found."""
    values = rows.loc[(rows["energy"] == energy) & (rows["score"] > threshold), column].dropna().to_numpy()
    if not len(values):
        return "-"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def print_results(
    rows: Mapping[str, pd.DataFrame], empty: Mapping[str, list[Clusters]], thresholds: Mapping[str, float]
) -> None:
    """Print efficiencies, masks, light and pixels sent on."""
    energies = sorted(next(iter(rows.values()))["energy"].unique())
    names = [f"{energy:g} keV" for energy in energies]

    def per_energy(cell, **options):
        return {
            name: [cell(table, e, thresholds[name], **options) for e in energies] for name, table in rows.items()
        }

    print_table("found, of recoils with an electron that reaches the GEMs", names, per_energy(efficiency))
    print_table("found, of all recoils", names, per_energy(efficiency, absorbed=True))
    print_table("integral / true light of found recoils", names, per_energy(quartiles, column="ratio"))
    print_table("precision of the mask", names, per_energy(quartiles, column="precision"))
    print_table("recall of the mask", names, per_energy(quartiles, column="recall"))
    seen = {name: sum(one.shape[0] * one.shape[1] for one in each) / FULL for name, each in empty.items()}
    sent = {
        name: [
            f"{thresholds[name]:.2f}",
            f"{sum((one.score > thresholds[name]).sum() for one in each) / seen[name]:.2f}",
            f"{sum(len(one) for one in each) / seen[name]:.1f}",
            f"{sum(one.sent for one in each) / seen[name]:.0f}",
        ]
        for name, each in empty.items()
    }
    print_table("empty images, per full frame", ("threshold", "fakes", "fakes without it", "pixels sent"), sent)


def print_curves(curves: Mapping[str, pd.DataFrame], energy: float) -> None:
    """Print precisions at a recall, and the areas under the curves."""
    cells = {
        name: [
            f"{np.interp(RECALL, curve['recall'], curve['precision']):.3f}",
            f"{np.interp(RECALL, curve['recall'], curve['cut']):.2f}",
            f"{curve.attrs['area']:.3f}",
        ]
        for name, curve in curves.items()
    }
    print_table(f"pixels of {energy:g} keV", (f"precision at recall {RECALL:g}", "cut there", "area"), cells)


def print_times(adapter: CygnoAdapter, methods: Mapping[str, Finder], side: int, repeats: int = 3) -> None:
    """Print the times of every method on a full frame with a recoil; the fastest of some repeats.

    Where other programs run, the time of the processor is less misleading than that on the wall.
    """
    full = changed(adapter, size=(side, side), evaluation_size=None, empty=0.0)
    sample = full.dataset("test")[0]
    image, rms = sample.image[0], rms_of(sample)
    cells = {}
    for name, method in methods.items():
        runs, processor = [], []
        for _ in range(repeats):
            start = process_time()
            runs.append(method(image, rms))
            processor.append(process_time() - start)
        best = min((one.seconds for one in runs), key=lambda one: sum(one.values()))
        seconds = best["preselect"], best["cluster"], min(processor)
        cells[name] = [*(f"{second:.2f}" for second in seconds), f"{runs[0].sent}"]
    head = f"seconds on a frame of {side} x {side} with {torch.get_num_threads()} threads of torch, 1 of scipy"
    print_table(head, ("t_preselect", "t_cluster", "of the processor", "pixels sent"), cells)


def efficiency_curves(
    rows: Mapping[str, pd.DataFrame], empty: Mapping[str, list[Clusters]], energy: float
) -> dict[str, pd.DataFrame]:
    """Return the fraction of recoils found against the fakes per full frame."""
    curves = {}
    for name, table in rows.items():
        scores = table.loc[(table["energy"] == energy) & (table["electrons"] > 0), "score"].to_numpy()
        lines = [(level, (scores > threshold_for(empty[name], level, FULL)).mean()) for level in LEVELS]
        curves[name] = pd.DataFrame(lines, columns=["fakes", "efficiency"])
    return curves


def picture_figure(dataset: SampleDataset, network: Network, energies: Iterable[float]) -> Figure:
    """Draw recoils of every energy: image, smoothed image with true pixels, and score with the selected ones."""
    figure = Figure(figsize=(9, 9), layout="constrained")
    axes = figure.subplots(3, 3)
    samples = [dataset[index] for index in range(min(len(dataset), 60))]
    for line, energy in zip(axes, sorted(energies)[:3], strict=False):
        sample = next(one for one in samples if one.meta["recoil_energy"] == energy and one.target[0].any())
        image, truth = sample.image[0], sample.target[0, 0] > 0
        score = network.score(image, rms_of(sample))
        filtered = MatchedFilter().significance(image, rms_of(sample))
        for panel, (values, title, limits, colours) in zip(
            line,
            (
                (image, f"{energy:g} keV: counts", (-6, 12), "gray"),
                (filtered, "matched filter (sigma), true pixels", (-3, 10), "gray"),
                (score, "logit of presence, selected pixels", (-8, 4), "viridis"),
            ),
            strict=True,
        ):
            panel.imshow(values, vmin=limits[0], vmax=limits[1], cmap=colours)
            panel.set(title=title, xticks=[], yticks=[])
        line[1].contour(truth, [0.5], colors="#d55e00", linewidths=1)
        line[2].contour(score > network.clustering.cut, [0.5], colors="white", linewidths=1)
        line[2].contour(truth, [0.5], colors="#d55e00", linewidths=1)
    return figure


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument("--split", default="test", help="the recoils: test, or val to tune on")
    parser.add_argument("--events", type=at_least(1), help="images with recoils; all by default")
    parser.add_argument("--empty", type=at_least(1), default=200, help="empty images of 512 x 512 pixels")
    parser.add_argument("--fakes", type=float, default=1.0, help="clusters per full frame of 2304 x 2304")
    parser.add_argument("--cut", type=float, default=1.0, help="logit above which a network selects pixels")
    parser.add_argument(
        "--grow", type=at_least(0), default=4, help="pixels by which its clusters are dilated for their sum"
    )
    parser.add_argument("--sigma", type=float, default=4.0, help="significance above which the filter selects")
    parser.add_argument(
        "--matched-grow", type=at_least(0), default=6, help="the same dilation for the matched filter"
    )
    parser.add_argument("--no-chain", dest="chain", action="store_false", help="leave out the classical chain")
    parser.add_argument("--maps", action="store_true", help="also select pixels by the predicted map")
    parser.add_argument("--threads", type=at_least(1), default=2, help="threads of the networks")
    parser.add_argument(
        "--side", type=at_least(0), default=2304, help="side of the frame whose time is taken; 0 for none"
    )
    parser.add_argument("--energy", type=float, default=0.5, help="keV, of the curves")
    parser.add_argument("--out", type=Path, default=Path("runs/cygno_comparison"), help="folder of the figures")
    parser.add_argument(
        "--set", action="append", default=[], help="change a key of all: data.noise.telegraph=0.01"
    )
    return parser.parse_args()


def main() -> None:
    """Run the comparison."""
    options = parsed()
    torch.set_num_threads(options.threads)
    runs = load_runs(options.runs, options.set)
    adapter = next(iter(runs.values())).adapter
    methods = methods_of(runs, options)
    events = {"train": 1, "val": options.events or 600, "test": options.events or 900}
    size = adapter.options.window("test")
    recoils = changed(adapter, events=events, empty=0.0, evaluation_size=size).dataset(options.split)
    nothing = changed(adapter, events={**events, "test": options.empty}, empty=1.0, evaluation_size=(EMPTY, EMPTY))
    empty = find(nothing.dataset("test"), options.empty, methods)
    rows = measure(recoils, methods)
    thresholds = {name: threshold_for(each, options.fakes, FULL) for name, each in empty.items()}
    print(f"{len(recoils)} recoils, {options.empty} empty images of {EMPTY} x {EMPTY}")
    print_results(rows, empty, thresholds)
    curves = curves_of(recoils, methods, options.energy)
    print_curves(curves, options.energy)
    if options.side:
        print_times(adapter, methods, options.side)
    first, faintest = next(iter(methods.values())), min(adapter.options.energies)
    figures = {
        "curves": curve_figure(curves),
        "efficiency": efficiency_figure(efficiency_curves(rows, empty, faintest), faintest),
        "pictures": picture_figure(recoils, first, adapter.options.energies),
    }
    for title, figure in figures.items():
        print(f"figure: {save_figure(figure, options.out / f'{title}.png')}")


if __name__ == "__main__":
    sys.exit(run_script(main))
