"""Means and standard errors against scipy, and that figures show them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from oasis.ablation.factors import factor_figure, factor_table, table_text
from oasis.adapters import Study

STUDY = Study("dot", "height", "height (counts)", (5, 12, 20))


@pytest.fixture
def campaigns():
    """Nine campaigns of two factors, one of them not a number."""
    rng = np.random.default_rng(0)
    names = [f"{name}_{bin_}" for name in ("bias", "spread", "iou") for bin_ in ("5-12", "12-20")]
    rows = [{"overlap": 2.0**i, "rule": rule} for i in (3, 0, 1) for rule in ("size", "name", "product")]
    return pd.DataFrame(rows).join(pd.DataFrame(rng.normal(size=(9, 6)), columns=names))


def test_standard_errors_are_those_of_scipy(campaigns):
    table = factor_table(campaigns, "overlap", ["bias_5-12"])
    assert table["value"].tolist() == [1, 2, 8]
    groups = [campaigns.loc[campaigns["overlap"] == value, "bias_5-12"] for value in (1, 2, 8)]
    assert table["bias_5-12"].tolist() == pytest.approx([np.mean(group) for group in groups])
    assert table["bias_5-12_se"].tolist() == pytest.approx([stats.sem(group) for group in groups])
    assert factor_table(campaigns, "rule", [])["value"].tolist() == ["size", "name", "product"]


@pytest.mark.parametrize("factor", ["overlap", "rule"])
@pytest.mark.parametrize("detection", [True, False])
def test_the_figure_has_four_labelled_panels(campaigns, factor, detection):
    table = campaigns.assign(auc=0.7) if detection else campaigns
    figure = factor_figure(table, factor, STUDY, "12-20")
    labels = [(axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]
    assert labels == [
        ("(a)", factor, "ROC AUC" if detection else "dot, height 12-20: spread (%)"),
        ("(b)", "height (counts)", "dot: bias (%)"),
        ("(c)", "height (counts)", "dot: median IoU"),
        ("(d)", factor, "dot, height 12-20: bias (%)"),
    ]
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == (["1", "2", "8"] if factor == "overlap" else ["size", "name", "product"])
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ticks
    means = figure.axes[3].containers[0].lines[0].get_ydata()
    assert means == pytest.approx(table.groupby(factor, sort=factor == "overlap")["bias_12-20"].mean().to_numpy())


def test_the_text_states_means_and_errors():
    campaigns = pd.DataFrame({"overlap": [1, 1, 8], "bias_4-5": [-40.0, -20.0, 3.0], "iou_4-5": [0.5, 0.7, 0.8]})
    names = ["bias_4-5", "iou_4-5"]
    lines = table_text(factor_table(campaigns, "overlap", names), names).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["value", "campaigns", "bias", "4-5", "iou", "4-5"],
        ["1", "2", "-30.0", "±", "10.0", "0.600", "±", "0.100"],
        ["8", "1", "3.0", "±", "nan", "0.800", "±", "nan"],
    ]
