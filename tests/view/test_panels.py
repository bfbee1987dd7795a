"""What the viewer draws: panels by class, scales, outlines and texts, without a browser."""

import numpy as np
import pandas as pd
import pytest

from oasis.data.instances import Instances
from oasis.io.signal_tables import Abscissa
from oasis.run.inspection import Inspection
from oasis.view.figures import Figures
from oasis.view.panels import intensities, objects, panels

CLASSES = ("dot", "bar")


def inspection(size=(6, 8), **changes):
    maps = np.zeros((2, 1, *size), np.float32)
    maps[0].flat[0], maps[1].flat[1] = 4, 100
    image = maps.sum(axis=0) + 1
    valid = np.ones((1, *size), bool)
    table = pd.DataFrame({"class": CLASSES, "intensity_predicted": [4.0, np.nan], "visible_x_predicted": [0, 0]})
    return Inspection("test 0", image, maps, valid, **{"table": table, **changes})


def titles(shown):
    return [[panel.title for panel in row] for row in panels(shown, CLASSES, "ADU")]


def test_an_image_without_truth_has_input_residual_and_maps():
    shown = inspection()
    assert titles(shown) == [["input (ADU)", "input − sum of maps"], ["dot: map", "bar: map"]]
    (image, residual), (dot, bar) = panels(shown, CLASSES)
    np.testing.assert_array_equal(residual.values, np.ones((6, 8)))
    assert residual.signed
    assert (image.top, dot.top, bar.top) == (101, 4, 100)


def test_truth_and_map_have_one_scale_and_their_difference_its_own():
    shown = inspection()
    shown = inspection(target=shown.maps * 3, presence=np.full_like(shown.maps, 0.25))
    rows = panels(shown, CLASSES)
    assert [row[0].title for row in rows[1:]] == ["dot: map", "dot: truth", "dot: map − truth", "dot: presence"]
    assert rows[1][0].top == rows[2][0].top == 12
    assert rows[3][0].top == 8
    assert (rows[4][1].top, rows[4][1].fixed, rows[4][1].values.max()) == (1, True, 0.25)


def test_a_signal_has_its_truth_in_the_graph_of_its_map():
    shown = inspection((9,))
    shown = inspection((9,), target=shown.maps)
    assert titles(shown)[1:] == [["dot: map", "bar: map"], ["dot: map − truth", "bar: map − truth"]]
    graph = panels(shown, CLASSES)[1][1]
    assert graph.values.shape == graph.behind.shape == (9,)


def test_a_signal_is_drawn_over_its_abscissa():
    times = Abscissa("time (min)", np.linspace(3.0, 4.0, 9))
    rows = panels(inspection((9,), abscissa=times), CLASSES)
    assert all(panel.abscissa is times for row in rows for panel in row)
    assert all(
        panel.abscissa is None for row in panels(inspection((7,), abscissa=times), CLASSES) for panel in row
    )
    pytest.importorskip("bokeh")
    figures = Figures()
    figures.draw(rows, 1.0, False)
    first = figures._figures[0]
    assert (first.x_range.start, first.x_range.end, first.xaxis[0].axis_label) == (3.0, 4.0, "time (min)")
    np.testing.assert_array_equal(first.renderers[0].data_source.data["x"], times.values)


def test_a_volume_is_a_sheet_of_projections():
    assert panels(inspection((3, 4, 5)), CLASSES)[0][0].values.shape == (4 + 1 + 3, 5 + 1 + 3)


def test_instances_are_outlined_in_the_map_of_their_class_and_listed():
    found = Instances.pack((1, 6, 8), [0], [[0]], [[4]])
    shown = inspection(instances=found)
    dot, bar = panels(shown, CLASSES)[1]
    assert (len(dot.outlines), len(bar.outlines)) == (4, 0)
    assert objects(shown, CLASSES)["intensity_predicted"] == ["4"]
    assert objects(inspection(), CLASSES) == {}


def test_values_that_are_not_finite_have_a_scale():
    shown = inspection()
    shown.image[:] = np.nan
    assert all(panel.top > 0 for row in panels(shown, CLASSES) for panel in row)


def test_the_table_has_the_columns_that_matter():
    assert intensities(inspection()) == {"class": ["dot", "bar"], "intensity_predicted": ["4", "–"]}


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000)])
def test_large_images_are_reduced(size):
    assert max(panels(inspection(size), CLASSES)[0][0].values.shape) <= 1024
