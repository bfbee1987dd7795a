import numpy as np
import pandas as pd
import pytest

from oasis.adapters import Study
from oasis.evaluation.figures import (
    bias_figure,
    comparison_figures,
    intensity_figure,
    iou_figure,
    save_figure,
    training_figure,
)
from oasis.evaluation.summary import summarise

STUDY = Study("dot", "height", "height (counts)", (0, 5, 10, 20), "kind == 'both'", "kind == 'bar'")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    true = rng.uniform(10, 1000, 300)
    return pd.DataFrame(
        {
            "id": [f"test/{index}" for index in range(300)],
            "class": "dot",
            "kind": np.where(np.arange(300) % 3, "both", "bar"),
            "height": rng.uniform(0, 10, 300),
            "intensity_true": true,
            "intensity_predicted": true * rng.normal(0.9, 0.2, 300),
            "delta_percent": rng.normal(-10, 20, 300),
            "iou": rng.uniform(0, 1, 300),
        }
    )


def test_the_lowest_validation_loss_is_marked():
    log = pd.DataFrame({"epoch": [0, 1, 2], "train/total": [5.0, 3.0, 1.0], "val/total": [4.0, 2.0, 3.0]})
    axes = training_figure({"run": log}).axes[0]
    training, validation, best = (line.get_xydata().tolist() for line in axes.lines)
    assert training == [[1, 5], [2, 3], [3, 1]]
    assert validation == [[1, 4], [2, 2], [3, 3]]
    assert best == [[2, 2]]


def test_figures_show_the_bins_and_leave_empty_ones_out(table):
    summary = summarise(table, STUDY)
    for draw, column in ((bias_figure, "bias"), (iou_figure, "iou")):
        axes = draw({"run": summary}).axes[0]
        drawn = axes.lines[0].get_xydata()
        np.testing.assert_allclose(drawn, np.column_stack([[2.5, 7.5], summary.bins[column][:2]]))
        assert axes.get_xlabel() == "height (counts)"


def test_one_line_per_run(table):
    summary = summarise(table, STUDY)
    figures = comparison_figures({"one": table, "two": table}, {"one": summary, "two": summary})
    assert set(figures) == {"bias", "iou", "roc"}
    labels = [text.get_text() for text in figures["roc"].axes[0].get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == ["one", "two"]


def test_predictions_are_drawn_against_truth(table):
    axes = intensity_figure(table, "counts").axes[0]
    points = axes.collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], table["intensity_true"])
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_figures_are_png_files(tmp_path, table):
    path = save_figure(intensity_figure(table, "counts"), tmp_path / "figures" / "x.png")
    assert path.read_bytes().startswith(b"\x89PNG")
