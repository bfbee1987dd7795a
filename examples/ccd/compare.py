"""Compare networks with components and cuts on the same held-out images, at several rates of objects.

Tables: panoptic quality regardless of class and by class, also in the counting of the paper and for conversion
electrons that are told from beta electrons by their energy alone; energies of objects, of those that share pixels
and of the others, beside sums over boxes as in the paper; and distances of electron spectra. `true maps` groups
the true maps of the classes: no network can do better with the same grouping.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oasis.adapters.ccd.adapter import CcdAdapter
from oasis.adapters.ccd.baselines import Cuts, box_sums, classical
from oasis.adapters.ccd.metrics import Energies, chi2, median_interval, paper_counts, spectrum_distance
from oasis.adapters.ccd.scene import BETA, CE, ELECTRON, MUON, PHOTON
from oasis.command import at_least, run_script
from oasis.data.instances import Instances
from oasis.data.samples import Sample
from oasis.drawing import COLOURS
from oasis.evaluation.figures import save_figure
from oasis.evaluation.gallery import predicted_maps
from oasis.evaluation.instances import visible
from oasis.evaluation.symmetry import symmetry_spread
from oasis.instances.grouping import group
from oasis.instances.matching import Counts, count, panoptic_quality
from oasis.run import Run
from oasis.run.comparable import comparable_runs
from oasis.separator.separator import Separator
from oasis.stats.intervals import Estimate

THRESHOLDS = (0.1, 0.5, 0.8)  # of the IoU
PANELS = 3  # side by side
CEILING, CLASSICAL = "true maps", "components"
BY_LINE = (BETA, CE, PHOTON, MUON)

Method = Callable[[Sample], Instances]
Split = Literal["test", "val"]


@dataclass(frozen=True)
class Results:
    """What one method finds in the images of one rate.

    Attributes:
        images: images (1, H, W).
        found: objects of every image.
        true: true objects of every image.
        classes: the class names.
    """

    images: Sequence[NDArray[np.float32]]
    found: Sequence[Instances]
    true: Sequence[Instances]
    classes: tuple[str, ...]

    def counts(self, how: Callable[..., Counts], **options: object) -> list[Counts]:
        """Return the counts of every image."""
        return [how(found, true, **options) for found, true in zip(self.found, self.true, strict=True)]

    def energies(self, boxes: bool = False) -> Energies:
        """Return the charges of matched objects; with `boxes`, sums of the image over the predicted boxes."""
        parts = [
            Energies.of(found, true, box_sums(image, found) if boxes else None)
            for image, found, true in zip(self.images, self.found, self.true, strict=True)
        ]
        return Energies.concatenate(parts)


def load_runs(folders: Sequence[Path], changes: Sequence[str] = ()) -> dict[str, Run]:
    """Read runs that were trained on the same data."""
    return comparable_runs(folders, "ccd", lambda run: run.config.adapter == "ccd", changes)


def mean_over_flips(separator: Separator, sample: Sample) -> NDArray[np.float32]:
    """Return the maps (N, B, H, W) of a sample as the mean over its four flips."""
    return np.asarray(symmetry_spread(separator, torch.from_numpy(sample.image[None]), rotations=False).mean[0])


def methods_of(runs: Mapping[str, Run], cuts: Cuts, flips: bool = False) -> dict[str, Method]:
    """Return the methods by name; with `flips` every network gives the mean over four flips of the image."""
    first = next(iter(runs.values()))
    classes, limits, sensor = first.adapter.classes, first.adapter.limits, first.adapter.options.sensor
    grouping = first.config.grouping

    def of_network(run: Run) -> Method:
        separator = run.separator()
        maps = mean_over_flips if flips else partial(predicted_maps, adapter=run.adapter)
        return lambda sample: group(
            np.where(sample.valid, maps(separator, sample), 0),
            classes,
            limits,
            run.config.grouping,
        )

    methods: dict[str, Method] = {
        CEILING: lambda sample: group(sample.target, classes, limits, grouping),
    }
    if PHOTON in classes:
        methods[CLASSICAL] = lambda sample: classical(
            sample.image - sensor.dark_e, sensor.noise_e, classes, sensor.pair_ev, cuts
        )
    return {**methods, **{name: of_network(run) for name, run in runs.items()}}


def at_rate(run: Run, rate: float, **changes: object) -> CcdAdapter:
    """Return the adapter of a run with another rate, and other options."""
    options = run.adapter.options.model_copy(update={"rate": rate, **changes})
    return CcdAdapter(options, run.adapter.seed, max(run.adapter.limits.values()))


def measure(
    run: Run, methods: Mapping[str, Method], rate: float, number: int, split: Split = "test"
) -> dict[str, Results]:
    """Return what every method finds in the first held-out images at a rate."""
    dataset, limits = at_rate(run, rate).dataset(split), list(run.adapter.limits.values())
    samples = [dataset[index] for index in range(min(number, len(dataset)))]
    images = [sample.image for sample in samples]
    true = [visible(sample.instances, limits, sample.valid) for sample in samples]
    return {
        name: Results(images, [method(sample) for sample in samples], true, run.adapter.classes)
        for name, method in methods.items()
    }


def by_line(results: Results, samples_true: Sequence[Instances], pair_ev: float, cuts: Cuts) -> Results:
    """Return results in which electrons with the energy of the conversion line are a class of their own."""

    def relabelled(found: Instances) -> Instances:
        energy = found.intensity[:, 0] * pair_ev / 1e3
        names = np.array(results.classes)[np.asarray(found.labels, int)]
        line = (names == ELECTRON) & (np.abs(energy - cuts.ce_kev) <= cuts.ce_window_kev)
        labels = np.array([BY_LINE.index(BETA if name == ELECTRON else name) for name in names], int)
        labels[line] = BY_LINE.index(CE)
        return Instances(found.shape, labels, found.offsets, found.pixels, found.values)

    return Results(results.images, [relabelled(found) for found in results.found], samples_true, BY_LINE)


def line_truth(run: Run, rate: float, number: int, split: Split = "test") -> list[Instances]:
    """Return the true objects of the same images with beta and conversion electrons apart."""
    adapter = at_rate(run, rate, merge_electrons=False)
    dataset = adapter.dataset(split)
    samples = (dataset[index] for index in range(min(number, len(dataset))))
    return [visible(sample.instances, list(adapter.limits.values()), sample.valid) for sample in samples]


def print_quality(
    results: Mapping[str, Results], how: Callable[..., Counts], title: str, blind: bool = False
) -> None:
    """Print panoptic quality with its 95 % interval, and its two factors."""
    print(f"\n{title}")
    for name, one in results.items():
        classes = ("any class",) if blind else one.classes
        table = panoptic_quality(one.counts(how), classes)
        cells = [
            f"{row['class']} {Estimate.of(row, 'pq'):.3f} (SQ {row['sq']:.2f}, RQ {row['rq']:.2f})"
            for row in table.to_dict("records")
        ]
        print(f"{name:>16}  " + "; ".join(cells))


def print_energies(results: Mapping[str, Results]) -> None:
    """Print medians and 25-75 % ranges of the errors of charges, in percent."""
    print("\nerror of the charge of matched objects (%): sharing pixels | alone; median [95 %], 25-75 %, number")
    rows = {name: one.energies() for name, one in results.items()}
    some = next(iter(results.values()))
    parts = [Energies.of(true, true, box_sums(i, true)) for i, true in zip(some.images, some.true, strict=True)]
    rows["true boxes"] = Energies.concatenate(parts)
    if CLASSICAL in results:
        rows["found boxes"] = results[CLASSICAL].energies(boxes=True)
    for name, energies in rows.items():
        cells = []
        for chosen in (energies.shares, ~energies.shares):
            errors = 100 * (energies.ratio[chosen] - 1)
            low, high = np.quantile(errors, [0.25, 0.75]) if len(errors) else (np.nan, np.nan)
            cells.append(f"{median_interval(errors):+.1f}, {low:+.0f} to {high:+.0f}, n = {len(errors)}")
        print(f"{name:>16}  " + " | ".join(cells))


def spectra(one: Results, pair_ev: float, boxes: bool = False) -> tuple[list[NDArray], list[NDArray]]:
    """Return the energies (keV) of found and of true electrons in every image."""
    chosen = [label for label, name in enumerate(one.classes) if name in (ELECTRON, BETA, CE)]

    def energies(objects: Instances, charge: NDArray) -> NDArray:
        return charge[np.isin(np.asarray(objects.labels), chosen)] * pair_ev / 1e3

    found = [
        energies(each, box_sums(image, each) if boxes else each.intensity[:, 0])
        for image, each in zip(one.images, one.found, strict=True)
    ]
    return found, [energies(each, each.intensity[:, 0]) for each in one.true]


def print_spectra(results: Mapping[str, Results], pair_ev: float) -> None:
    """Print how far the spectra of deposited energies of electrons are from the truth."""
    print("\nspectrum of electrons: Wasserstein distance (keV), summed energy / true, chi2 per 60 keV")
    rows = {name: spectra(one, pair_ev) for name, one in results.items()}
    if CLASSICAL in results:
        rows["found boxes"] = spectra(results[CLASSICAL], pair_ev, boxes=True)
    for name, (found, true) in rows.items():
        if not sum(map(len, found)) or not sum(map(len, true)):
            print(f"{name:>16}  no electron to compare")
            continue
        sums = [np.concatenate(part) for part in (found, true)]
        distance = spectrum_distance(found, true)
        print(f"{name:>16}  {distance:.0f}, {sums[0].sum() / sums[1].sum():.2f}, {chi2(*sums):.1f}")


def check_maps(results: Mapping[str, Results]) -> None:
    """Print the classes of which a method finds nothing in all images."""
    for name, one in results.items():
        total = sum(found.counts(len(one.classes)) for found in one.found)
        empty = [label for label, number in zip(one.classes, total, strict=True) if not number]
        if empty:
            print(f"{name}: found nothing of {', '.join(empty)}")


def rate_figure(tables: Mapping[float, Mapping[str, Results]]) -> Figure:
    """Draw the panoptic quality regardless of class against the rate."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(next(iter(tables.values()))):
        rows = [
            panoptic_quality(results[name].counts(partial(count, classes=1, blind=True)), ("any class",)).iloc[0]
            for results in tables.values()
        ]
        value, low, high = (np.array([row[f"pq{end}"] for row in rows]) for end in ("", "_low", "_high"))
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(
            list(tables), value, [value - low, high - value], color=colour, marker="o", capsize=3, label=name
        )
    axes.set(
        xscale="log", xlabel="objects / those of one exposure", ylabel="PQ at IoU > 0.5, any class", ylim=(0, 1.02)
    )
    axes.set_xticks(list(tables), [f"{rate:g}" for rate in tables])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def image_figure(results: Mapping[str, Results], index: int) -> Figure:
    """Draw an image with the outlines of true and found objects, a colour for each class."""
    first = next(iter(results.values()))
    panels = {
        "truth": first.true[index],
        **{name: one.found[index] for name, one in results.items() if name != CEILING},
    }
    columns = min(len(panels), PANELS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3 * columns, 3.2 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, (name, objects) in zip(grid, panels.items(), strict=False):
        axes.imshow(np.arcsinh(np.clip(first.images[index][0], 0, None) / 10), cmap="gray_r")
        for number, label in enumerate(np.asarray(objects.labels)):
            axes.contour(objects.dense(number)[0] > 0, [0.5], colors=COLOURS[label % len(COLOURS)], linewidths=0.8)
        axes.set(title=name, xticks=[], yticks=[])
    handles = [
        figure.axes[0].plot([], [], color=COLOURS[i], label=name)[0] for i, name in enumerate(first.classes)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def report(
    run: Run, results: Mapping[str, Results], rate: float, number: int, cuts: Cuts, split: Split = "test"
) -> None:
    """Print all tables of one rate."""
    classes, pair_ev = run.adapter.classes, run.adapter.options.sensor.pair_ev
    objects = sum(map(len, next(iter(results.values())).true))
    print(f"\n== rate x{rate:g}: {objects} objects in {len(next(iter(results.values())).true)} images")
    check_maps(results)
    for threshold in THRESHOLDS:
        how = partial(count, classes=1, threshold=threshold, blind=True)
        print_quality(results, how, f"PQ regardless of class, IoU > {threshold}", blind=True)
    print_quality(results, partial(count, classes=len(classes)), "PQ by class, IoU > 0.5")
    print_quality(results, partial(paper_counts, classes=len(classes)), "the same in the counting of the paper")
    if ELECTRON in classes:
        truth = line_truth(run, rate, number, split)
        lines = {name: by_line(one, truth, pair_ev, cuts) for name, one in results.items()}
        print_quality(lines, partial(count, classes=len(BY_LINE)), "PQ with conversion electrons by their energy")
    print_energies(results)
    if ELECTRON in classes or BETA in classes:
        print_spectra(results, pair_ev)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument("--rates", type=float, nargs="+", default=(1.0, 10.0, 30.0), help="of objects")
    parser.add_argument("--images", type=at_least(1), default=200, help="number of held-out images for each rate")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="val: to choose options")
    parser.add_argument("--out", type=Path, default=Path("runs/ccd_comparison"), help="folder of the figures")
    parser.add_argument("--flips", action="store_true", help="separate each image in four orientations")
    parser.add_argument(
        "--set", action="append", default=[], help="change a key of all: data.evaluation_size=[256,256]"
    )
    options = parser.parse_args()
    runs, cuts = load_runs(options.runs, options.set), Cuts()
    first, methods = next(iter(runs.values())), methods_of(runs, cuts, options.flips)
    tables = {}
    for rate in options.rates:
        tables[rate] = measure(first, methods, rate, options.images, options.split)
        report(first, tables[rate], rate, options.images, cuts, options.split)
    figures = {"rates": rate_figure(tables)}
    for rate, results in tables.items():
        index = int(np.argmax([len(true) for true in next(iter(results.values())).true[:20]]))
        figures[f"image_x{rate:g}"] = image_figure(results, index)
    for title, figure in figures.items():
        print(f"figure: {save_figure(figure, options.out / f'{title}.png')}")


if __name__ == "__main__":
    sys.exit(run_script(main))
