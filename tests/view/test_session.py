"""What a page of the viewer can show: events, files, dropped files, and one line for what cannot be used."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from oasis.errors import DataError, MissingExtraError
from oasis.view.session import Session


class Inspector:
    """Answers without a separator."""

    job = SimpleNamespace(adapter=SimpleNamespace(classes=("dot",), unit="ADU", suffixes=(".npy", ".ome.tif")))

    def events(self, split):
        raise DataError("the files\nare gone")

    def images(self, path):
        if not path.exists():
            raise DataError("gone")
        return len(np.load(path))

    def image(self, path, number):
        logging.getLogger("oasis.inference").warning("%s: intensities may be off", path.name)
        if number:
            raise DataError("two\nlines")
        return "shown"


@pytest.fixture
def session(tmp_path):
    (tmp_path / "dropped").mkdir()
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    return Session(Inspector(), [tmp_path / "a.npy", tmp_path / "gone.npy"], "test", tmp_path / "dropped")


def test_events_that_cannot_be_read_are_one_notice(session):
    assert session.events == 0
    assert session.notices == ("no events of test: the files\nare gone",)


def test_warnings_and_errors_of_an_image_are_notices(session):
    name = next(iter(session.files))
    assert session.image(name, 0) == ("shown", ("a.npy: intensities may be off",))
    assert session.image(name, 1) == (None, ("a.npy: intensities may be off", "two lines"))
    assert [session.images(one) for one in session.files] == [3, 0]


@pytest.mark.parametrize("name", ["../../x.npy", "C:\\fakepath\\x.npy", "/etc/x.npy"])
def test_a_dropped_file_stays_in_its_folder(session, name):
    key = session.add(name, b"content")
    assert key == "x.npy (dropped)"
    assert session.files[key] == session.folder / "x.npy"
    assert session.files[key].read_bytes() == b"content"
    assert session.add(name, b"new") == key
    assert len(session.files) == 3


@pytest.mark.parametrize("name", ["x.exe", "", ".npy", "..", "a\0.npy", "x" * 999 + ".npy"])
def test_what_cannot_be_read_is_not_kept(session, name):
    with pytest.raises(DataError):
        session.add(name, b"")
    assert list(Path(session.folder).iterdir()) == []


def test_without_bokeh_the_extra_is_named(toy, monkeypatch):
    from oasis.view.server import serve

    monkeypatch.setitem(__import__("sys").modules, "bokeh.server.server", None)
    with pytest.raises(MissingExtraError, match=r"oasis-seg\[view\]"):
        serve(toy)
