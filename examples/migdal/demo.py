"""Trains the same small model unweighted and overlap-weighted, and compares them on the same held-out events.

python examples/migdal/demo.py [--seed 0] [--epochs 10] [--out runs/demo]
"""

import argparse
import logging
import time
from pathlib import Path

import pandas as pd

from oasis.config import Setup, load_config
from oasis.evaluation import auc, detection_scores, evaluate, summarise, write_table
from oasis.report import comparison_figures, gallery_figure, gallery_indices, save_figure
from oasis.separator import Separator

QUICKSTART = Path(__file__).with_name("quickstart.yaml")
WEIGHTS = {
    "unweighted": ["loss.class_weights={}", "loss.region_weights={}"],
    "overlap-weighted": [],
}


def train_and_measure(name: str, changes: list[str]) -> tuple[Setup, Separator, pd.DataFrame]:
    """Train one of the two models and return it with its event table."""
    setup = load_config(QUICKSTART, changes)
    print(f"\n{name}: class weights {setup.config.loss.class_weights}, regions {setup.config.loss.region_weights}")
    separator = setup.train()
    table = evaluate(separator, setup.adapter.dataset("test"), setup.adapter, setup.config.loss.thresholds)
    write_table(table, setup.folder / "events.parquet")
    return setup, separator, table


def print_comparison(tables: dict[str, pd.DataFrame], setup: Setup) -> None:
    """Print bias, spread, IoU and AUC of both models at the lowest energies."""
    study = setup.adapter.study
    assert study is not None
    print(f"\n{'':>18} {'energy':>8} {'median ΔI %':>24} {'25-75 % spread':>15} {'median IoU':>12}")
    for name, table in tables.items():
        for row in summarise(table, study).bins.head(3).itertuples():
            interval = f"{row.bias:+.1f} [{row.bias_low:+.1f}, {row.bias_high:+.1f}]"
            print(f"{name:>18} {row.low:g}-{row.high:g} keV {interval:>24} {row.spread:>15.1f} {row.iou:>12.2f}")
    print()
    for name, table in tables.items():
        scores = detection_scores(table, study)
        assert scores is not None
        print(f"{name:>18} AUC, 3-6 keV hybrids against nuclear recoils alone: {auc(*scores):.3f}")


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.monotonic()
    tables: dict[str, pd.DataFrame] = {}
    for name, weights in WEIGHTS.items():
        changes = [f"seed={options.seed}", f"run={options.out / name}", *weights]
        if options.epochs:
            changes.append(f"training.epochs={options.epochs}")
        setup, separator, tables[name] = train_and_measure(name, changes)
    print_comparison(tables, setup)
    study = setup.adapter.study
    assert study is not None
    figures = comparison_figures(tables, study)
    events = gallery_indices(tables["overlap-weighted"], study)
    figures["gallery"] = gallery_figure(
        separator, setup.adapter.dataset("test"), events, setup.adapter, study.name
    )
    for title, figure in figures.items():
        print(f"figure: {save_figure(figure, options.out / f'{title}.png')}")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
