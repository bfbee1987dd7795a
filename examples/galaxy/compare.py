"""Compare separators with SExtractor's method, scarlet2, an ideal mask and a fit of the true shapes.

    python examples/galaxy/compare.py runs/galaxy runs/galaxy-unweighted

SEP, the library of SExtractor, is tuned on validation blends of the first run, or on training blends
(--tune-split), to the error that is reported: the mean with each error capped at 100 %. All methods are evaluated
on the test blends of the first run, for the galaxy in the middle (or all, where classes are interchangeable), in
bins of blendedness and with 95 % intervals from resampling whole galaxies: flux errors in every band, shares
missed and confused with another galaxy, errors of those that are neither, colours, magnitudes by the number of
galaxies, and the coverage of the calibrated fluxes of the first run. With --split val they are evaluated on
validation blends, to choose between settings; SEP may then have been tuned on some of them. --scarlet adds
scarlet2, on the first blends alone, since it takes up to minutes for each.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from oasis.adapters.galaxy import GalaxiesAdapter, GalaxyAdapter, btk
from oasis.adapters.galaxy.baselines import (
    Scarlet,
    Sep,
    TrueShapes,
    TunedSep,
    input_maps,
    oracle_mask_maps,
    tune_sep,
)
from oasis.adapters.galaxy.figures import flux_figure
from oasis.adapters.galaxy.flux_tables import EDGES, flux_error_table, magnitude_error_table, with_fluxes
from oasis.adapters.galaxy.survey import BANDS, PSF_FWHM
from oasis.command import at_least, run_script
from oasis.data.loading import EpochSampler, make_loader
from oasis.data.mixing import SampleDataset
from oasis.data.samples import collate_instances
from oasis.errors import ConfigError
from oasis.evaluation.calibration import BandCalibration, CalibrationOptions
from oasis.evaluation.event_table import evaluate_maps, write_table
from oasis.evaluation.figures import save_figure
from oasis.evaluation.pairing import paired_difference
from oasis.run import Run
from oasis.stats.bins import bins_of
from oasis.stats.intervals import Estimate, bootstrap

WIDTH = 25  # of a column of the printed tables
PERCENT = {"missed": 100, "confused": 100, "catastrophic": 100}


def known_galaxies(run: Run, split: str) -> set[tuple[object, ...]]:
    """Return the galaxies of a split, each by all that is known of it."""
    scene = run.adapter.scene(split)
    columns = (np.asarray(scene.stamps.table[name])[scene.indices].tolist() for name in sorted(scene.stamps.table))
    return set(zip(*columns, strict=True))


def check_unseen(name: str, run: Run, first: Run, split: str) -> None:
    """Check that a run was not trained on galaxies on which it is evaluated.

    Raises:
        ConfigError: it was, since its galaxies are divided otherwise than those of the first run.
    """
    tested = known_galaxies(first, split)
    seen = len(tested & known_galaxies(run, "train"))
    if seen:
        raise ConfigError(
            f"{name}: trained on {seen} of the {len(tested)} {split} galaxies: a run with other galaxies in "
            "data.library than the first one needs another seed"
        )


def of_runs(runs: dict[str, Run], split: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the event table of every run on the blends of the first one."""
    first = next(iter(runs.values()))
    for name, run in runs.items():
        yield name, measured(first, first.dataset(split), run)


def measured(first: Run, blends: SampleDataset, run: Run) -> pd.DataFrame:
    """Return the event table of a run; watching gives the single galaxies, without which none is `confused`."""
    return first.measure(blends, run.separator(), watch=lambda _: None)


def of_baselines(run: Run, split: str, tuned: TunedSep) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the event table of every baseline, SEP last."""
    blends, adapter = run.dataset(split), run.adapter
    yield "input", evaluate_maps(input_maps, blends, adapter)
    yield "oracle mask", evaluate_maps(oracle_mask_maps, blends, adapter)
    shapes = TrueShapes(several=not adapter.interchangeable)
    yield "true shapes", evaluate_maps(shapes.maps, blends, adapter)
    yield "SEP", of_sep(tuned.sep, blends, run)


def of_sep(sep: Sep, blends: SampleDataset, run: Run) -> pd.DataFrame:
    """Return the event table of SEP with the fluxes of its catalogue, and print how pure and complete that is."""
    table = evaluate_maps(sep.maps, blends, run.adapter)
    sampler = EpochSampler(len(blends), shuffle=False)
    batches = list(make_loader(blends, sampler, 32, 1, collate=collate_instances))
    matched, detected, galaxies = np.concatenate([sep.detections(batch) for batch in batches]).T
    purity, completeness = btk.purity(matched, detected), btk.completeness(matched, galaxies)
    print(
        f"SEP's catalogue: purity {purity:.3f}, completeness {completeness:.3f} (within 5 pixels, as BTK matches)"
    )
    return with_fluxes(table, np.concatenate([sep.fluxes(batch) for batch in batches]), BANDS)


def of_scarlet(run: Run, split: str, tuned: TunedSep) -> pd.DataFrame:
    """Return the event table of scarlet2 on the blends of a split."""
    fit = Scarlet(tuned.sep, [PSF_FWHM[band] for band in BANDS], run.adapter.pixel_scale)
    return evaluate_maps(fit.maps, run.dataset(split), run.adapter, batch_size=1, workers=0)


def galaxies_of(table: pd.DataFrame, adapter: GalaxyAdapter | GalaxiesAdapter) -> pd.DataFrame:
    """Return the rows of the study, with the column `galaxy`."""
    rows = adapter.study.rows(table)
    numbers = [row[f"{row['class']}_galaxy"] for row in rows.to_dict("records")]
    return rows.assign(galaxy=numbers, id=rows["id"] + "/" + rows["class"]).reset_index(drop=True)


def print_line(name: str, cells: Iterator[str] | list[str]) -> None:
    """Print the name of a method and the cells of a row."""
    print(f"{name:>20}" + "".join(f"{cell:>{WIDTH}}" for cell in cells))


def print_counts(rows: pd.DataFrame) -> None:
    """Print the numbers of rows and of different galaxies in every bin of blendedness."""
    print("\ngalaxies by blendedness, and how many of them are different ones")
    for one in bins_of(EDGES):
        chosen = rows[one.contains(rows["blendedness"])]
        print(f"{one.name:>20}{len(chosen):>8}{chosen['galaxy'].nunique():>8}")


def print_bins(tables: dict[str, pd.DataFrame], columns: dict[str, str], band: str = "r") -> None:
    """Print columns of `flux_error_table`, given with a heading each, for every method."""
    found = {name: flux_error_table(rows, band=band, group="galaxy") for name, rows in tables.items()}
    for column, words in columns.items():
        print(f"\n{words} (%) by blendedness")
        print_line("", [*(one.name for one in bins_of(EDGES)), "all"])
        for name, table in found.items():
            values = [Estimate.of(row, column) for row in table.to_dict("records")]
            factor = PERCENT.get(column, 1)
            print_line(name, [f"{Estimate(*(factor * end for end in value)):.1f}" for value in values])


def print_errors(tables: dict[str, pd.DataFrame]) -> None:
    """Print for every band and bin of blendedness the flux errors, and then the shares of lost galaxies."""
    for band in BANDS:
        words = {
            "mape": f"mean absolute flux error in {band}",
            "capped": f"mean absolute flux error in {band}, each capped at 100 %",
            "median": f"median flux error in {band}",
            "right": f"mean absolute flux error in {band} of galaxies neither missed nor confused",
        }
        print_bins(tables, words, band)
    shares = {
        "missed": "share missed",
        "confused": "share whose map is mostly another galaxy's light",
        "catastrophic": "share missed or off in r by more than a factor of 2",
    }
    print_bins(tables, shares)
    for name, rows in tables.items():
        empty = rows["invented"].dropna()
        if len(empty):
            print(f"{name}: a galaxy in {empty.sum():.0f} of {len(empty)} maps that should be empty")


def print_colours(tables: dict[str, pd.DataFrame]) -> None:
    """Print the median error of colours in every bin of blendedness."""
    for colour in ("g_r", "r_z"):
        print(f"\nmedian error of the colour {colour.replace('_', '-')} (mag) by blendedness")
        print_line("", [one.name for one in bins_of(EDGES)])
        for name, rows in tables.items():
            chosen = [rows[one.contains(rows["blendedness"])] for one in bins_of(EDGES)]
            estimates = [
                bootstrap(part[f"colour_{colour}_error"].to_numpy(), median_of, groups=part["galaxy"].to_numpy())
                for part in chosen
            ]
            print_line(name, [f"{one:+.3f}" for one in estimates])


def print_magnitudes(tables: dict[str, pd.DataFrame]) -> None:
    """Print relative errors of magnitudes by the number of galaxies in a blend."""
    print("\nmean |error| of the r magnitude over the magnitude (%), by galaxies in the blend")
    for name, rows in tables.items():
        found = magnitude_error_table(rows, group="galaxy").to_dict("records")
        cells = [f"{row['galaxies']:.0f}: {Estimate.of(row, 'relative'):.2f}" for row in found]
        print_line(name, [f"{cell:>{WIDTH + 2}}" for cell in cells])
        print_line("without a magnitude", [f"{100 * row['without']:.1f} %" for row in found])


def print_coverage(run: Run, table: pd.DataFrame) -> None:
    """Print how often the intervals of calibrated fluxes contain the true one; fitted to validation blends."""
    adapter = run.adapter
    if adapter.interchangeable:
        return
    by = CalibrationOptions(
        absent=False, strata="blendedness_predicted", edges=EDGES[1:-1], group=f"{adapter.study.name}_galaxy"
    )
    calibration = BandCalibration.fit(measured(run, run.dataset("val"), run), [adapter.study.name], BANDS, by)
    for column in ("blendedness", "blendedness_predicted"):
        found = calibration.coverage(table, column, EDGES)
        print(f"\ncoverage of 90 % intervals (%) and their median width (nmgy), by {column}")
        print_line("", [one.name for one in bins_of(EDGES)])
        for band, rows in found.groupby("band", sort=False):
            rows = rows[rows["low"].notna()].to_dict("records")
            covered = [Estimate(*(100 * end for end in Estimate.of(row, "coverage"))) for row in rows]
            print_line(
                str(band), [f"{one:.0f}, {row['width']:.2f}" for one, row in zip(covered, rows, strict=True)]
            )


def print_differences(tables: dict[str, pd.DataFrame]) -> None:
    """Print the mean absolute flux error of each other method minus that of the first, in every band."""
    first, *others = tables
    for band in BANDS:
        print(f"\nmean flux error in {band} (%, each capped at 100) of others minus that of {first}, same blends")
        for name in others:
            same = tables[first]["id"].isin(tables[name]["id"])
            of = {first: tables[first][same].reset_index(drop=True), name: tables[name]}
            cells = []
            for one in bins_of(EDGES):
                chosen = {key: rows[one.contains(rows["blendedness"])] for key, rows in of.items()}
                column = (f"flux_{band}_error",)
                found = paired_difference(chosen[first], chosen[name], mean_capped, column, "galaxy")
                cells.append(f"{found:+.1f}")
            print_line(name, cells)


def mean_capped(errors: np.ndarray) -> np.ndarray:
    """Return the mean absolute error over the last axis, each capped at 100 %."""
    return np.nanmean(np.minimum(np.abs(errors), 100), axis=-1)


def median_of(errors: np.ndarray) -> np.ndarray:
    """Return the median over the last axis."""
    return np.nanmedian(errors, axis=-1)


def arguments() -> argparse.Namespace:
    """Return the arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument(
        "--split", choices=("val", "test"), default="test", help="split on whose blends they are evaluated"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/galaxy_comparison"), help="folder of the results")
    parser.add_argument("--tune-on", type=at_least(1), default=150, help="number of blends for tuning SEP")
    parser.add_argument("--tune-split", choices=("train", "val"), default="val", help="split of these blends")
    parser.add_argument("--set", action="append", default=[], help="change a key of all runs, as for oasis")
    parser.add_argument("--draws", type=at_least(0), default=60, help="number of random settings of SEP to try")
    parser.add_argument(
        "--scarlet", type=at_least(0), default=0, help="number of blends that scarlet2 fits; 0 for none"
    )
    return parser.parse_args()


def main() -> None:
    """Run the comparison."""
    options = arguments()
    runs = {folder.name: Run(folder, options.set) for folder in options.runs}
    if len(runs) < len(options.runs):
        raise ConfigError("two of the folders have the same name: rename one")
    first = next(iter(runs.values()))
    adapter = first.adapter
    assert isinstance(adapter, GalaxyAdapter | GalaxiesAdapter)
    for name, run in runs.items():
        check_unseen(name, run, first, options.split)
    tables = dict(of_runs(runs, options.split))
    rest = not adapter.interchangeable
    classes = [0] if rest else None
    tuned = tune_sep(first.dataset(options.tune_split), BANDS, rest, classes, options.tune_on, options.draws)
    settings = f"{len(tuned.trials)} settings on {options.tune_on} blends of {options.tune_split}"
    print(f"SEP, the best of {settings} (error {tuned.error:.1f} %): {tuned.sep.options}")
    tables |= dict(of_baselines(first, options.split, tuned))
    if options.scarlet:
        few = Run(options.runs[0], [*options.set, f"data.events.{options.split}={options.scarlet}"])
        tables["scarlet2"] = of_scarlet(few, options.split, tuned)
    for name, table in tables.items():
        write_table(table, options.out / f"{name.replace(' ', '_')}.parquet")
    rows = {name: galaxies_of(table, adapter) for name, table in tables.items()}
    print_counts(next(iter(rows.values())))
    print_errors(rows)
    print_colours(rows)
    print_magnitudes(rows)
    print_coverage(first, tables[next(iter(runs))])
    print_differences(rows)
    drawn = {name: table for name, table in rows.items() if name != "input"}  # far above all others
    print(f"figure: {save_figure(flux_figure(drawn, 'galaxy'), options.out / 'flux.png')}")


if __name__ == "__main__":
    sys.exit(run_script(main))
