"""The gallery: which events are chosen, and that pictures of them show the values that they should."""

import base64
import io
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from oasis.adapters import Study
from oasis.data.pictures import colour_scale
from oasis.data.samples import Sample
from oasis.data.views import view, window
from oasis.evaluation.figures import save_figure
from oasis.evaluation.gallery import chosen_events, class_gallery, gallery_figure, gallery_indices
from oasis.evaluation.pictures import event_pictures
from oasis.run import Run

STUDY = Study("dot", "height", "height (counts)", (0, 5, 10, 20))


def content_of(source):
    kind, _, content = source.partition(";base64,")
    return kind.removeprefix("data:"), base64.b64decode(content)


def pixels_of(source):
    """The colours (h, w, 4) of a PNG, alpha last."""
    kind, content = content_of(source)
    assert kind == "image/png"
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)


def rows(**columns):
    return pd.DataFrame({"id": range(len(columns["delta_percent"])), "class": "dot", **columns})


def test_the_figure_goes_from_low_to_high():
    rng = np.random.default_rng(0)
    table = rows(delta_percent=rng.normal(size=300), height=rng.uniform(0, 10, 300))
    heights = pd.Series(gallery_indices(table, STUDY, count=5))
    assert (table["height"][heights.index] == heights).all()
    assert heights.is_monotonic_increasing
    assert heights.iloc[0] == table["height"].min()
    assert heights.iloc[-1] == table["height"].max()


@given(st.lists(st.one_of(st.none(), st.floats(-100, 300)), min_size=1, max_size=40), st.integers(0, 50))
def test_chosen_events_are_the_worst_typical_and_best_once_each(deltas, count):
    deltas = np.array(deltas, dtype=float)
    chosen = chosen_events(rows(delta_percent=deltas, intensity_predicted=1.0), STUDY, count)
    assert len(chosen) == min(count, len(deltas))
    groups = {name: [i for i, group in chosen.items() if group == name] for name in ("worst", "typical", "best")}
    errors = np.abs(deltas)
    rest = np.setdiff1d(np.flatnonzero(~np.isnan(deltas)), list(chosen))
    lowest, highest = errors[rest].min(initial=np.inf), errors[rest].max(initial=0)
    assert all(errors[index] >= highest for index in groups["worst"])
    assert all(errors[index] <= lowest for index in groups["best"])
    assert len(groups["worst"]) >= len(groups["typical"]) >= len(groups["best"]) >= len(groups["worst"]) - 1
    if groups["typical"] and not len(rest):
        assert errors[groups["worst"]].min() >= errors[groups["typical"]].max()
    assert {group for index, group in chosen.items() if np.isnan(deltas[index])} <= {"without dot"}


def test_typical_events_lie_around_the_median():
    table = rows(delta_percent=np.arange(101.0), intensity_predicted=1.0)
    chosen = chosen_events(table, STUDY, 9)
    assert sorted(chosen) == [0, 1, 2, 49, 50, 51, 98, 99, 100]


def test_of_events_without_the_class_those_with_most_of_it_are_chosen():
    table = rows(delta_percent=[1.0, 2, 3, 4] + [np.nan] * 4, intensity_predicted=[1.0, 1, 1, 1, 5, 9, 7, 3])
    chosen = chosen_events(table, STUDY, 8)
    assert [index for index, group in chosen.items() if group == "without dot"] == [5, 6, 4, 7]
    assert [index for index, group in chosen_events(table, STUDY, 5).items() if group == "without dot"] == [5]


def test_without_a_study_the_worst_class_counts():
    table = pd.DataFrame({"id": [0, 0, 1, 1, 2, 2], "class": ["a", "b"] * 3})
    table = table.assign(intensity_true=[50.0, 50, 50, 50, 0, 0], intensity_predicted=[50.5, 25, 60, 60, 1, 1])
    assert chosen_events(table, None, 3) == {0: "worst", 1: "typical", 2: "empty"}


def test_without_a_study_false_light_counts_and_a_sliver_does_not():
    table = pd.DataFrame({"id": [0, 0, 1, 1, 2, 2], "class": ["a", "b"] * 3})
    table = table.assign(intensity_true=[100.0, 0, 100, 0.1, 100, 100])
    table = table.assign(intensity_predicted=[100.0, 90, 100, 8.0, 80, 100])
    assert chosen_events(table, None, 3) == {0: "worst", 2: "typical", 1: "best"}


def test_a_window_holds_the_valid_pixels_and_a_border():
    valid = np.zeros((40, 50), bool)
    valid[20:25, 3:45] = True
    assert window(valid) == (slice(12, 33), slice(0, 53))
    assert window(np.zeros((3, 4), bool)) == (slice(None), slice(None))


@pytest.mark.parametrize("shape", [(2, 7), (3, 6, 9), (1, 5, 4, 6)])
def test_a_view_adds_bands_up_and_projects(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = view(values, (slice(None),) * (len(shape) - 1))
    flat = values.sum(axis=0)
    if flat.ndim < 3:
        np.testing.assert_array_equal(found, flat)
        return
    depth, height, width = flat.shape
    sheet = np.full((height + 1 + depth, width + 1 + depth), np.nan)
    for row, col in np.ndindex(height, width):
        sheet[row, col] = max(flat[:, row, col], key=abs)
    for plane, col in np.ndindex(depth, width):
        sheet[height + 1 + plane, col] = max(flat[plane, :, col], key=abs)
    for plane, row in np.ndindex(depth, height):
        sheet[row, width + 1 + plane] = max(flat[plane, row, :], key=abs)
    np.testing.assert_array_equal(found, sheet.astype(np.float32))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(8, 40))
def test_a_view_has_a_longest_side(lengths, side):
    values = np.ones((1, *lengths), np.float32)
    found = view(values, (slice(None),) * len(lengths), side)
    if len(lengths) < 3:
        assert max(found.shape) <= side
        np.testing.assert_allclose(found, 1)
    else:
        assert max(found.shape) <= side + 3  # two edges are rounded up, and a gap lies between them


def test_a_smaller_view_holds_means_of_blocks():
    values = np.arange(20, dtype=np.float32).reshape(1, 4, 5)
    expected = [[values[0, :3, :3].mean(), values[0, :3, 3:].mean()], [values[0, 3, :3].mean(), 18.5]]
    np.testing.assert_allclose(view(values, (slice(None),) * 2, side=2), expected)


@pytest.fixture
def sample():
    """One class of one band whose truth is 0, 1 and 10 in three columns of a frame without noise."""
    target = np.zeros((1, 1, 4, 3), np.float32)
    target[..., 1:] = 1, 10
    return Sample(target[0], target, np.ones((1, 4, 3), bool), {"id": 0})


def test_maps_share_a_scale_that_ends_at_the_brightest(sample):
    pictures = event_pictures(sample, [2 * sample.target, 0 * sample.target], side=32)
    [drawn] = pictures.classes
    assert (pictures.top, drawn.top) == (10, 20)
    scale = pixels_of(colour_scale())[0]
    for source, value in ((drawn.truth, 10), (drawn.predictions[0], 20), (drawn.predictions[1], 0)):
        np.testing.assert_allclose(pixels_of(source)[0, 2], scale[round(255 * value / 20)], atol=3)
    viridis = matplotlib.colormaps["viridis"](np.arcsinh(10 * 0.5) / np.arcsinh(10))
    np.testing.assert_allclose(pixels_of(drawn.truth)[0, 2], np.multiply(viridis, 255), atol=3)
    red, blue = (pixels_of(source)[0, 2] for source in drawn.residuals)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert (pixels_of(drawn.residuals[0])[:, 0, :3] > 240).all()


def test_what_is_not_there_is_transparent(sample):
    image = sample.image.copy()
    image[0, 0, 0] = np.nan
    pixels = pixels_of(event_pictures(sample.replace(image=image), [], side=32).image)
    assert pixels[0, 0, 3] == 0
    assert (pixels[1:, :, 3] == 255).all()


def test_noise_does_not_shine_where_there_is_no_object(sample):
    faint = np.full_like(sample.target, 1e-4)
    pictures = event_pictures(sample.replace(target=0 * sample.target), [faint], side=32)
    assert pictures.classes[0].top == pytest.approx(0.1)
    empty = event_pictures(sample.replace(image=0 * sample.image, target=0 * sample.target), [0 * faint], side=32)
    assert empty.top == 1


def test_pictures_of_noise_are_no_larger_than_their_pixels():
    noise = np.random.default_rng(0).exponential(1, (1, 1, 300, 300)).astype(np.float32)
    pictures = event_pictures(Sample(noise[0], noise, np.ones((1, 300, 300), bool), {}), [noise], side=100)
    _, content = content_of(pictures.image)
    assert Image.open(io.BytesIO(content)).size == (100, 100)
    assert len(content) < 100**2 + 1200


def test_one_dimension_is_drawn_as_lines():
    target = np.zeros((1, 2, 50), np.float32)
    target[0, :, 20:30] = 4
    pictures = event_pictures(Sample(target[0] - 1, target, np.ones((1, 50), bool), {}), [target / 2], side=100)
    kind, content = content_of(pictures.classes[0].predictions[0])
    assert kind == "image/svg+xml"
    area, _, line = (
        np.array([point.split(",") for point in points.split()], float)
        for points in re.findall(r'points="([^"]*)"', content.decode())
    )
    np.testing.assert_allclose(area[1:-1, 1], np.where(target[0].sum(0) > 0, 0, 60))
    np.testing.assert_allclose(line[:, 1], np.where(target[0].sum(0) > 0, 30, 60))
    np.testing.assert_allclose(line[:, 0], np.linspace(0, 120, 50), atol=0.05)
    negative = content_of(pictures.image)[1].decode()
    assert 'points="0.0,45.0 120.0,45.0"' in negative  # the axis from -2 to 6 has its zero a quarter up


def test_panels_are_input_truth_prediction_and_residual(toy, toy_separator):
    dataset = toy.dataset("test")
    figure = gallery_figure(toy_separator, dataset, {0: 3.0, 2: 4.0}, toy.adapter, "dot")
    sample = dataset[0]
    predicted = toy_separator.separate(sample.image)["dot"][0]
    panels = [axes.images[0].get_array() for axes in figure.axes[:4]]
    for shown, expected in zip(
        panels, (sample.image[0], sample.target[0, 0], predicted, predicted - sample.target[0, 0]), strict=True
    ):
        np.testing.assert_allclose(shown, expected, rtol=1e-6)


def test_an_event_states_its_error_or_what_is_found_of_an_absent_class(toy, toy_separator, monkeypatch):
    dataset = toy.dataset("test")
    monkeypatch.setattr(type(toy.adapter), "caption", lambda *_: "seen")
    there, absent = (
        next(i for i in range(len(dataset)) if bool(dataset[i].target[0].any()) is present)
        for present in (True, False)
    )
    figure = gallery_figure(toy_separator, dataset, {there: 3.0, absent: np.nan}, toy.adapter, "dot")
    rows = np.array(figure.axes[:8]).reshape(2, 4)
    true = dataset[there].target[0][:, dataset[there].valid[0]].sum()
    found = [
        toy_separator.separate(dataset[i].image)["dot"][:, dataset[i].valid[0]].sum() for i in (there, absent)
    ]
    what, unit = toy.adapter.study.label.removesuffix(")").split(" (")
    error = f"ΔI {100 * (found[0] / true - 1):+.0f} %"
    assert rows[0, 0].get_title(loc="left") == f"dot, {what} 3 {unit}: {error}, seen"
    assert rows[1, 0].get_title(loc="left") == f"no dot: {found[1]:,.0f} {toy.adapter.unit}, seen"


@pytest.mark.parametrize("caption", ["", "a caption that is longer than a panel is wide, as others are"])
def test_columns_have_equal_widths_and_rows_equal_heights(toy, toy_separator, monkeypatch, caption):
    monkeypatch.setattr(type(toy.adapter), "caption", lambda *_: caption)
    dataset = toy.dataset("test")
    narrow = dataset[0].valid.copy()
    narrow[:, : narrow.shape[1] // 2] = False
    samples = [dataset[0], dataset[1].replace(valid=narrow)]
    figure = gallery_figure(toy_separator, samples, {0: 3.0, 1: 4.0}, toy.adapter, "dot")
    figure.draw_without_rendering()
    boxes = np.array([one.get_window_extent().bounds for one in figure.axes]).reshape(2, 4, 4)
    np.testing.assert_allclose(boxes[0, :, [0, 2, 3]], boxes[1, :, [0, 2, 3]], atol=0.01)
    np.testing.assert_allclose(boxes[..., 2:], boxes[0, 0, 2], atol=0.01)
    np.testing.assert_allclose(np.diff(boxes[..., 0]), boxes[0, 1, 0] - boxes[0, 0, 0], atol=0.01)
    for one in figure.axes:
        box = one.get_tightbbox()
        assert min(box.min) >= 0
        assert (box.max <= figure.bbox.max)[1 if caption else 0 :].all()


def test_a_volume_is_drawn_with_the_gaps_between_its_views(tmp_path):
    setup = Run.from_values({"adapter": "neutrino", "run": str(tmp_path), "data": {"events": {"test": 2}}})
    dataset, name = setup.dataset("test"), setup.adapter.classes[0]
    figure = gallery_figure(setup.new_separator(), dataset, {0: 1.0, 1: 2.0}, setup.adapter, name)
    save_figure(figure, tmp_path / "gallery.png")
    for axes in figure.axes[:4]:
        low, high = axes.images[0].get_clim()
        assert np.isfinite([low, high]).all()
        assert low < high


@pytest.mark.parametrize("with_study", [True, False])
def test_lines_are_drawn_in_one_dimension(pulses_run, with_study):
    run = Run(pulses_run)
    events = {0: "worst", 1: "best"}
    figure = class_gallery(
        run.separator(), run.dataset("test"), events, run.adapter, "energy" if with_study else ""
    )
    grid = np.array(figure.axes).reshape(2, 1 + len(run.adapter.classes))
    assert [axes.get_title().strip() for axes in grid[0]] == ["input", *run.adapter.classes]
    stated = [axes.get_title(loc="right") for axes in grid[1, 1:]]
    assert all(f"{name}: " in text for name, text in zip(run.adapter.classes, stated, strict=True))
    sample = run.dataset("test")[1]
    for axes, true in zip(grid[1, 1:], sample.target, strict=True):
        drawn, predicted = (line.get_ydata() for line in axes.lines)
        np.testing.assert_array_equal(drawn, true[0][: len(drawn)])
        assert predicted.shape == drawn.shape
    assert run.adapter.unit in figure.get_supylabel()
    assert {axes.get_xlabel() for axes in grid.flat} == {"time (ns)"}
    places = grid[1, 1].lines[0].get_xdata()
    np.testing.assert_allclose(np.diff(places), run.adapter.options.sampling_ns)


def test_classes_are_drawn_side_by_side_without_a_study(toy, toy_separator):
    figure = class_gallery(toy_separator, toy.dataset("test"), {0: "worst", 3: "best"}, toy.adapter)
    titles = [axes.get_title().strip() for axes in figure.axes[:5]]
    assert titles == ["input", "dot: truth", "dot: prediction", "bar: truth", "bar: prediction"]
    assert len(figure.axes) == 10
    sizes = {tuple(np.round(one.get_window_extent().size, 2)) for one in figure.axes}
    assert len(sizes) == 1
