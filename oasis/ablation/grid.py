"""Grid: every combination of chosen values, trained and evaluated, and the effect of each factor."""

from itertools import product

import pandas as pd

from oasis.ablation.ablation import Ablation
from oasis.ablation.factors import factor_figure, factor_table, figure_name, table_text
from oasis.ablation.jobs import Listed, check_done, write_rows
from oasis.ablation.trial import OF_BINS, OF_DETECTION
from oasis.ablation.workers import do_all
from oasis.evaluation.figures import save_figure
from oasis.io.tables import write_csv
from oasis.stats.bins import Bin


def run_grid(ablation: Ablation, workers: int = 1) -> str:
    """Train and evaluate the remaining trials of the grid, and return the effect of every factor as text.

    Writes `ablation.csv` (a row per trial), `factors.csv` (a row per value of a factor) and a figure per factor.

    Args:
        ablation: an ablation with a grid.
        workers: processes on this machine; others may share the folder.

    Raises:
        ConfigError: a point is invalid.
        ModelError: trials failed; the results of the others are written.
    """
    grid = ablation.options.grid
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    seeded = tuple(product(points, ablation.seeds))
    jobs = Listed(ablation=ablation, split=ablation.options.split, csv="ablation.csv", points=seeded)
    trials = jobs.trials()  # raises for an invalid point before anything is trained
    do_all(jobs, workers)
    rows = write_rows(jobs, trials)
    text = _report(ablation, rows) if len(rows) else ""
    check_done(trials, jobs.split)
    return text


def _report(ablation: Ablation, rows: pd.DataFrame) -> str:
    """Write tables and figures of all factors and return the tables as text."""
    options, study, folder = ablation.options, ablation.study, ablation.folder
    text = [f"{folder / 'ablation.csv'}: {len(rows)} trials"]
    keys = list({**options.grid, **options.ratios})
    factors = [key for key in keys if rows[key].nunique(dropna=False) > 1]
    if not factors:
        return text[0]
    campaigns = rows.groupby(keys, sort=False, dropna=False).mean(numeric_only=True).reset_index()
    shown = Bin(*(options.bin or study.edges[:2])).name
    names = [f"{name}_{shown}" for name in OF_BINS]
    names += [name for name in OF_DETECTION if name in campaigns]
    tables = [factor_table(campaigns, factor, names) for factor in factors]
    write_csv(pd.concat(tables), folder / "factors.csv")
    for factor, table in zip(factors, tables, strict=True):
        figure = save_figure(factor_figure(campaigns, factor, study, shown), folder / figure_name(factor))
        text += ["", table_text(table, names), f"figure: {figure}"]
    return "\n".join(text)
