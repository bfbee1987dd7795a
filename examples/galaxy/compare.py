"""Compare separators with SExtractor's method and with an ideal mask, on the same held-out blends.

    python examples/galaxy/compare.py runs/galaxy runs/galaxy-unweighted

SEP, the library of SExtractor, is tuned on validation blends of the first run, or on training blends
(--tune-split). All methods are evaluated on its test blends: flux errors of the galaxy in the middle (of all,
where classes are interchangeable) in every band and the fraction missed, in bins of blendedness, with 95 %
intervals from resampling whole galaxies. With --split val they are evaluated on validation blends, to choose
between settings; SEP may then have been tuned on some of them.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from oasis.adapters.galaxy import GalaxiesAdapter, GalaxyAdapter
from oasis.adapters.galaxy.baselines import input_maps, oracle_mask_maps, tune_sep
from oasis.adapters.galaxy.figures import flux_figure
from oasis.adapters.galaxy.photometry import EDGES, flux_error_table, with_fluxes
from oasis.adapters.galaxy.survey import BANDS
from oasis.data.loading import EpochSampler, make_loader
from oasis.errors import ConfigError
from oasis.evaluation.event_table import evaluate_maps, write_table
from oasis.evaluation.figures import save_figure
from oasis.evaluation.pairing import paired_difference
from oasis.run import Run
from oasis.stats.bins import bins_of


def of_runs(runs: dict[str, Run], split: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the event table of every run on the blends of the first one."""
    first = next(iter(runs.values()))
    for name, run in runs.items():
        yield name, first.measure(first.dataset(split), run.separator())


def of_baselines(
    run: Run, split: str, samples: int, draws: int, tune_split: str = "val"
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the event table of every baseline, SEP last."""
    blends, adapter = run.dataset(split), run.adapter
    yield "input", evaluate_maps(input_maps, blends, adapter)
    yield "oracle mask", evaluate_maps(oracle_mask_maps, blends, adapter)
    rest = not adapter.interchangeable
    tuned = tune_sep(run.dataset(tune_split), BANDS, rest, [0] if rest else None, samples, draws)
    print(f"SEP as tuned on {samples} blends of {tune_split} ({len(tuned.trials)} settings): {tuned.sep.options}")
    table = evaluate_maps(tuned.sep.maps, blends, adapter)
    loader = make_loader(blends, EpochSampler(len(blends), shuffle=False), 32, 1)
    yield "SEP", with_fluxes(table, np.concatenate([tuned.sep.fluxes(batch) for batch in loader]), BANDS)


def galaxies_of(table: pd.DataFrame, adapter: GalaxyAdapter | GalaxiesAdapter) -> pd.DataFrame:
    """Return the rows of the study, with the column `galaxy`."""
    rows = adapter.study.rows(table)
    numbers = [row[f"{row['class']}_galaxy"] for row in rows.to_dict("records")]
    return rows.assign(galaxy=numbers, id=rows["id"] + "/" + rows["class"]).reset_index(drop=True)


def print_counts(rows: pd.DataFrame) -> None:
    """Print the numbers of rows and of different galaxies in every bin of blendedness."""
    print("\ngalaxies by blendedness, and how many of them are different ones")
    for one in bins_of(EDGES):
        chosen = rows[one.contains(rows["blendedness"])]
        print(f"{one.name:>20}{len(chosen):>8}{chosen['galaxy'].nunique():>8}")


def print_shares(tables: dict[str, pd.DataFrame]) -> None:
    """Print the fractions missed or off by more than a factor of two, and the number of false galaxies."""
    bins = [*(one.name for one in bins_of(EDGES)), "all"]
    for column, words in (("missed", "missed"), ("catastrophic", "missed or off in r by more than a factor of 2")):
        print(f"\nshare {words} (%) by blendedness")
        print(f"{'':>20}" + "".join(f"{name:>22}" for name in bins))
        for name, rows in tables.items():
            found = 100 * flux_error_table(rows, group="galaxy")[[column, f"{column}_low", f"{column}_high"]]
            cells = [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in found.to_numpy()]
            print(f"{name:>20}" + "".join(f"{cell:>22}" for cell in cells))
    for name, rows in tables.items():
        empty = rows["invented"].dropna()
        if len(empty):
            print(f"{name}: a galaxy in {empty.sum():.0f} of {len(empty)} maps that should be empty")


def print_errors(tables: dict[str, pd.DataFrame]) -> None:
    """Print for every band and bin of blendedness the mean absolute and the median flux error."""
    bins = [*(one.name for one in bins_of(EDGES)), "all"]
    for band in BANDS:
        for column, words in (("mape", "mean absolute"), ("median", "median")):
            print(f"\n{words} flux error in {band} (%) by blendedness")
            print(f"{'':>20}" + "".join(f"{name:>22}" for name in bins))
            for name, rows in tables.items():
                found = flux_error_table(rows, band=band, group="galaxy")
                cells = [
                    f"{row[column]:.1f} [{row[f'{column}_low']:.1f}, {row[f'{column}_high']:.1f}]"
                    for row in found.to_dict("records")
                ]
                print(f"{name:>20}" + "".join(f"{cell:>22}" for cell in cells))


def print_differences(tables: dict[str, pd.DataFrame]) -> None:
    """Print the mean absolute flux error in r of each other method minus that of the first."""
    first, *others = tables
    print(f"\nmean absolute flux error in r (%) of others minus that of {first}, the same blends drawn for both")
    for name in others:
        cells = []
        for one in bins_of(EDGES):
            chosen = [rows[one.contains(rows["blendedness"])] for rows in tables.values()]
            of = dict(zip(tables, chosen, strict=True))
            found = paired_difference(
                of[first], of[name], lambda error: np.nanmean(np.abs(error), axis=-1), ("flux_r_error",), "galaxy"
            )
            cells.append(f"{found:+.1f}")
        print(f"{name:>20}" + "".join(f"{cell:>22}" for cell in cells))


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument(
        "--split", choices=("val", "test"), default="test", help="split on whose blends they are evaluated"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/galaxy_comparison"), help="folder of the results")
    parser.add_argument("--tune-on", type=int, default=150, help="number of blends for tuning SEP")
    parser.add_argument("--tune-split", choices=("train", "val"), default="val", help="split of these blends")
    parser.add_argument("--set", action="append", default=[], help="change a key of all runs, as for oasis")
    parser.add_argument("--draws", type=int, default=60, help="number of random settings of SEP to try")
    options = parser.parse_args()
    runs = {folder.name: Run(folder, options.set) for folder in options.runs}
    if len(runs) < len(options.runs):
        raise ConfigError("two of the folders have the same name: rename one")
    first = next(iter(runs.values()))
    assert isinstance(first.adapter, GalaxyAdapter | GalaxiesAdapter)
    tables = dict(of_runs(runs, options.split))
    tables |= dict(of_baselines(first, options.split, options.tune_on, options.draws, options.tune_split))
    for name, table in tables.items():
        write_table(table, options.out / f"{name.replace(' ', '_')}.parquet")
    rows = {name: galaxies_of(table, first.adapter) for name, table in tables.items()}
    print_counts(next(iter(rows.values())))
    print_errors(rows)
    print_shares(rows)
    print_differences(rows)
    drawn = {name: table for name, table in rows.items() if name != "input"}  # far above all others
    print(f"figure: {save_figure(flux_figure(drawn, 'galaxy'), options.out / 'flux.png')}")


if __name__ == "__main__":
    main()
