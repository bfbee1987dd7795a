"""Compare separators with SExtractor's method and with what an ideal mask could do, on the same held-out blends.

    python examples/galaxy/compare.py runs/galaxy runs/galaxy-unweighted

SEP, the library of SExtractor, is tuned on the validation blends of the first run. All methods are measured on its
test blends: flux errors of the study's class in bins of blendedness, in every band, with 95 % intervals that draw
whole galaxies.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from oasis.adapters.base import Study
from oasis.adapters.galaxy.baselines import input_maps, oracle_mask_maps, tune_sep
from oasis.adapters.galaxy.figures import flux_figure
from oasis.adapters.galaxy.photometry import EDGES, flux_error_table, with_fluxes
from oasis.adapters.galaxy.survey import BANDS
from oasis.comparison import paired_difference
from oasis.config import Setup, load_config
from oasis.data.loading import EpochSampler, make_loader
from oasis.errors import ConfigError
from oasis.evaluation import evaluate_maps, write_table
from oasis.figures import save_figure


def of_runs(setups: dict[str, Setup]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the event table of every run on the test blends of the first one."""
    first = next(iter(setups.values()))
    for name, setup in setups.items():
        yield name, first.evaluate(setup.trained(), first.dataset("test"))


def of_baselines(setup: Setup, samples: int, draws: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the event table of every baseline, SEP last."""
    test, adapter, limits = setup.dataset("test"), setup.adapter, setup.config.loss.thresholds
    yield "input", evaluate_maps(input_maps, test, adapter, limits)
    yield "oracle mask", evaluate_maps(oracle_mask_maps, test, adapter, limits)
    rest = not adapter.interchangeable
    tuned = tune_sep(setup.dataset("val"), BANDS, rest, [0] if rest else None, samples, draws)
    print(f"SEP as tuned on {samples} validation blends ({len(tuned.trials)} settings): {tuned.sep.options}")
    table = evaluate_maps(tuned.sep.maps, test, adapter, limits)
    loader = make_loader(test, EpochSampler(len(test), shuffle=False), 32, 1)
    yield "SEP", with_fluxes(table, np.concatenate([tuned.sep.fluxes(batch) for batch in loader]), BANDS)


def print_errors(tables: dict[str, pd.DataFrame], group: str | None) -> None:
    """Print for every band and bin of blendedness the mean absolute and the median flux error."""
    bins = [*(f"{low:g}-{high:g}" for low, high in pairwise(EDGES)), "all"]
    for band in BANDS:
        for column, words in (("mape", "mean absolute"), ("median", "median")):
            print(f"\n{words} flux error in {band} (%) by blendedness")
            print(f"{'':>20}" + "".join(f"{name:>22}" for name in bins))
            for name, rows in tables.items():
                found = flux_error_table(rows, band=band, group=group)
                cells = [
                    f"{row[column]:.1f} [{row[f'{column}_low']:.1f}, {row[f'{column}_high']:.1f}]"
                    for row in found.to_dict("records")
                ]
                print(f"{name:>20}" + "".join(f"{cell:>22}" for cell in cells))


def print_differences(tables: dict[str, pd.DataFrame], group: str | None) -> None:
    """Print by how much the mean absolute flux error in r of the first method is below that of the others."""
    first, *others = tables
    print(f"\nmean absolute flux error in r (%) of others minus that of {first}, the same blends drawn for both")
    for name in others:
        cells = []
        for low, high in pairwise(EDGES):
            chosen = [one[one["blendedness"].between(low, high, inclusive="left")] for one in tables.values()]
            of = dict(zip(tables, chosen, strict=True))
            found = paired_difference(
                of[first], of[name], lambda error: np.nanmean(np.abs(error), axis=-1), ("flux_r_error",), group
            )
            cells.append(f"{found:+.1f}")
        print(f"{name:>20}" + "".join(f"{cell:>22}" for cell in cells))


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument("--out", type=Path, default=Path("runs/galaxy_comparison"), help="folder of the results")
    parser.add_argument("--tune-on", type=int, default=300, help="validation blends that SEP is tuned on")
    parser.add_argument("--draws", type=int, default=60, help="settings of SEP to try at random")
    options = parser.parse_args()
    setups = {run.name: load_config(run) for run in options.runs}
    if len(setups) < len(options.runs):
        raise ConfigError("two of the folders have the same name: rename one")
    first = next(iter(setups.values()))
    study = first.adapter.study
    assert isinstance(study, Study)
    tables = dict(of_runs(setups)) | dict(of_baselines(first, options.tune_on, options.draws))
    for name, table in tables.items():
        write_table(table, options.out / f"{name.replace(' ', '_')}.parquet")
    rows = {name: table[table["class"] == study.name].reset_index(drop=True) for name, table in tables.items()}
    print_errors(rows, study.group)
    print_differences(rows, study.group)
    drawn = {name: table for name, table in rows.items() if name != "input"}  # far above all others
    print(f"figure: {save_figure(flux_figure(drawn, study.group), options.out / 'flux.png')}")


if __name__ == "__main__":
    main()
