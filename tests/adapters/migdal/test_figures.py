"""The figure of detection: areas, mean curve and marked light are those of the table."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from oasis.adapters.migdal.figures import detection_figure
from oasis.evaluation.figures import png


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    energy = np.concatenate([rng.uniform(3, 6, 300), np.full(300, np.nan)])
    kind = np.repeat(["hybrid", "NR"], 300)
    light = np.where(kind == "NR", rng.lognormal(7, 1, 600), 2000 * energy * rng.lognormal(0, 0.5, 600))
    table = pd.DataFrame({"class": "ER", "kind": kind, "ER_energy": energy, "intensity_predicted": light})
    return table.assign(intensity_true=np.where(kind == "NR", 0, 2000 * energy))


def test_areas_and_lines_are_those_of_the_table(table):
    curves, histogram = detection_figure(table, "ADU").axes
    areas = []
    for line, low in zip(curves.lines, (3, 4, 5), strict=False):
        rows = table[(table["kind"] == "NR") | table["ER_energy"].between(low, low + 1, inclusive="left")]
        areas.append(roc_auc_score(rows["kind"] == "hybrid", rows["intensity_predicted"]))
        assert line.get_label() == f"{low}-{low + 1} keV, AUC {areas[-1]:.3f}"
    mean = curves.lines[3]
    assert float(mean.get_label().split()[-1]) == pytest.approx(np.mean(areas), abs=0.005)
    found, of_4_kev = (line.get_xdata()[0] for line in histogram.lines)
    alone = table.loc[table["kind"] == "NR", "intensity_predicted"]
    assert found == pytest.approx(alone.median())
    assert of_4_kev == pytest.approx(8000, rel=0.02)
    assert sum(bar.get_height() for bar in histogram.patches) == len(alone)


@pytest.mark.parametrize("kind", ["hybrid", "NR", "none"])
def test_it_is_drawn_without_some_events(table, kind):
    assert png(detection_figure(table[table["kind"] == kind], "ADU"))
