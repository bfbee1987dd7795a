"""Factors: how a metric depends on one factor, averaged over the campaigns that share its value."""

import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oasis.adapters.study import Study
from oasis.drawing import add_legend
from oasis.stats.bins import bins_of

LONGEST_NAME = 100  # characters
MARKS: Any = {"marker": "o", "markersize": 4, "capsize": 2}
FORMATS = {"bias": ".1f", "spread": ".1f", "iou": ".3f", "auc": ".3f", "false": ".0f"}


def factor_table(campaigns: pd.DataFrame, factor: str, names: Sequence[str]) -> pd.DataFrame:
    r"""Return the mean of metrics over the campaigns with the same value of a factor, and its standard error.

    .. math:: \bar x = \frac{1}{m} \sum_{i=1}^m x_i, \qquad
              \mathrm{SE} = \sqrt{\frac{\sum_i (x_i - \bar x)^2}{m (m - 1)}}

    over the m campaigns that share the value and differ in the other factors (Table 1 of the paper).

    Args:
        campaigns: one row per campaign, with the means of the metrics over its seeds.
        factor: the column of the factor.
        names: the columns of the metrics.

    Returns:
        One row per value: `factor`, `value`, `campaigns` (m), and each metric with its standard error `_se`.

    Example:
        >>> campaigns = pd.DataFrame({"overlap": [1, 1, 8, 8], "bias": [-40.0, -20.0, -9.0, -9.0]})
        >>> factor_table(campaigns, "overlap", ["bias"])
            factor  value  campaigns  bias  bias_se
        0  overlap      1          2 -30.0     10.0
        1  overlap      8          2  -9.0      0.0
    """
    numeric = pd.api.types.is_numeric_dtype(campaigns[factor])
    groups = campaigns.groupby(factor, sort=numeric, dropna=False)[list(names)]
    means, errors = groups.mean(), groups.sem()
    table = pd.DataFrame({"factor": factor, "value": means.index, "campaigns": groups.size().to_numpy()})
    for name in names:
        table[name], table[f"{name}_se"] = means[name].to_numpy(), errors[name].to_numpy()
    return table


def factor_figure(campaigns: pd.DataFrame, factor: str, study: Study, shown: str) -> Figure:
    """Draw the effect of a factor: AUC (or spread), bias and IoU against the study's quantity, bias in one bin.

    Black points and error bars are means over campaigns with their standard errors, grey points single campaigns.

    Args:
        campaigns: one row per campaign, as for `factor_table`.
        factor: the column of the factor.
        study: the study of the domain.
        shown: the bin of the single panels, as `4-5`.
    """
    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    quantity = study.label.partition(" (")[0]
    one = f"{study.name}, {quantity} {shown}"
    if "auc" in campaigns:
        _against_factor(panels[0], campaigns, factor, "auc", "ROC AUC")
    else:
        _against_factor(panels[0], campaigns, factor, f"spread_{shown}", f"{one}: spread (%)")
    _against_quantity(panels[1], campaigns, factor, study, "bias", f"{study.name}: bias (%)")
    panels[1].axhline(0, color="black", linewidth=0.8)
    add_legend(panels[1], title=factor, fontsize=8)
    _against_quantity(panels[2], campaigns, factor, study, "iou", f"{study.name}: median IoU")
    _against_factor(panels[3], campaigns, factor, f"bias_{shown}", f"{one}: bias (%)")
    for letter, axes in zip("abcd", panels, strict=True):
        axes.set_title(f"({letter})", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def figure_name(factor: str) -> str:
    """Return the name of the file of a factor's figure, which lies in the folder of the ablation.

    Example:
        >>> figure_name("training.epochs"), figure_name("../overlap")
        ('training.epochs.png', '.._overlap.png')
    """
    return re.sub(r"[^\w.&-]", "_", factor)[:LONGEST_NAME] + ".png"


def _against_factor(axes: Axes, campaigns: pd.DataFrame, factor: str, name: str, label: str) -> None:
    table = factor_table(campaigns, factor, [name])
    places = {value: place for place, value in enumerate(table["value"])}
    axes.plot(campaigns[factor].map(places) - 0.1, campaigns[name], "o", color="grey", alpha=0.6, markersize=4)
    axes.errorbar(list(places.values()), table[name], table[f"{name}_se"], color="black", marker="o", capsize=3)
    axes.set_xticks(list(places.values()), [_label(value) for value in places])
    axes.set(xlabel=factor, ylabel=label)
    axes.margins(x=0.1)


def _against_quantity(
    axes: Axes, campaigns: pd.DataFrame, factor: str, study: Study, name: str, label: str
) -> None:
    bins = bins_of(study.edges)
    names, centres = [f"{name}_{one.name}" for one in bins], [one.centre for one in bins]
    table = factor_table(campaigns, factor, names)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(table)))
    for colour, (_, row) in zip(colours, table.iterrows(), strict=True):
        errors = row[[f"{each}_se" for each in names]].to_numpy(dtype=float)
        values = row[names].to_numpy(dtype=float)
        axes.errorbar(centres, values, errors, color=colour, label=_label(row["value"]), **MARKS)
    axes.set(xlabel=study.label, ylabel=label)


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def table_text(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Return a table from `factor_table` as text."""
    specs = [FORMATS[name.partition("_")[0]] for name in names]
    lines = [
        f"{table['factor'].iloc[0]}: mean and standard error over campaigns",
        f"{'value':>12} {'campaigns':>9}" + "".join(f"{name.replace('_', ' '):>17}" for name in names),
    ]
    for row in table.to_dict("records"):
        cells = [
            f"{row[name]:{spec}} ± {row[f'{name}_se']:{spec}}" for name, spec in zip(names, specs, strict=True)
        ]
        lines.append(
            f"{_label(row['value']):>12} {row['campaigns']:>9}" + "".join(f"{cell:>17}" for cell in cells)
        )
    return "\n".join(lines)
