"""The page of the viewer and its server, without a browser; skipped where Bokeh is not installed."""

import base64
import io
import threading
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest

from oasis.errors import DataError
from oasis.run import Run
from oasis.view.page import Page
from oasis.view.server import serve
from oasis.view.session import Session

pytest.importorskip("bokeh")


@pytest.fixture
def run(toy_values):
    run = Run.from_values({**toy_values, "head": {"presence": True}, "grouping": {"bar": {}}})
    run.save()
    run.new_separator(trained_size=(24, 20)).save(run.folder)
    return run


@pytest.fixture
def page(run, tmp_path):
    return Page(Session(run.inspector(), [], "test", tmp_path))


def titles(page):
    return [figure.title.text for figure in page.figures._figures]


def drop(page, name, content):
    page.drop = SimpleNamespace(filename=name, value=base64.b64encode(content).decode())
    page.dropped()


def test_a_page_shows_an_event_with_its_truth_and_presence(page):
    assert titles(page)[:4] == ["input (counts)", "input − sum of maps", "dot: map", "bar: map"]
    assert titles(page)[-1] == "bar: presence"
    assert "<td>dot</td>" in page.intensities.text
    assert "intensity_true" in page.intensities.text
    assert "<td>bar</td>" in page.objects.text
    assert "test 0" in page.title.text
    before = page.figures._grid
    page.event.value = 3
    assert "test 3" in page.title.text
    assert page.figures._grid is before  # so that the zoom stays


def test_the_slider_changes_the_scale_of_maps_but_not_of_probabilities(page):
    tops = [mapper.high for mapper in page.figures._mappers]
    page.fraction.value = 50
    assert [mapper.high for mapper in page.figures._mappers] == [*(top / 2 for top in tops[:-2]), 1, 1]
    page.stretch.value = "logarithmic"
    page.event.value = 1
    for figure in page.figures._figures:
        bar = figure.right[0]
        assert bar.color_mapper is figure.renderers[0].glyph.color_mapper
        assert bar.color_mapper.low is not None
    kinds = [type(mapper).__name__ for mapper in page.figures._mappers]
    assert kinds[:2] == ["LogColorMapper", "LinearColorMapper"]
    assert page.figures._mappers[0].low > 0


def test_a_dropped_file_is_shown_or_refused_in_a_line(page):
    content = io.BytesIO()
    np.save(content, np.ones((2, 24, 20), np.float32))
    drop(page, "<b>.npy", content.getvalue())
    assert page.title.text == "<b>&lt;b&gt;.npy, image 0</b>"
    assert "intensity_true" not in page.intensities.text
    assert titles(page) == [*titles(page)[:4], "dot: presence", "bar: presence"]
    page.number.value = 1
    assert "image 1" in page.title.text
    drop(page, "<i>.npy", b"not an array")
    (said,) = page.pictures.children
    assert said.text == "no image can be shown: choose another one"
    assert (page.intensities.text, page.objects.text) == ("", "")
    assert "&lt;i&gt;.npy" in page.notice.text
    drop(page, "a.exe", b"more")
    assert "a.exe: cannot be read" in page.notice.text
    page.kind.active = 0
    assert page.notice.text == ""


def test_the_server_answers_on_this_machine_until_it_is_stopped(run, tmp_path):
    np.save(tmp_path / "one.npy", np.ones((24, 20), np.float32))
    stop, found = threading.Event(), []

    def look(address):
        def get():
            with urllib.request.urlopen(address, timeout=60) as answer:
                found.append(answer.read().decode())
            stop.set()

        threading.Thread(target=get).start()
        found.append(address)

    serve(run, [tmp_path], browser=False, ready=look, stop=stop)
    assert found[0].startswith("http://localhost:")
    assert "oasis view: run" in found[1]
    with pytest.raises(DataError, match="no such file"):
        serve(run, [tmp_path / "gone.npy"], browser=False)


def test_a_page_without_an_image_is_no_empty_layout_of_which_bokeh_warns(page):
    from bokeh.core.validation import check_integrity

    page.kind.active = 1
    assert not check_integrity([page.pictures]).warning
    assert "no image can be shown" in page.pictures.children[0].text
