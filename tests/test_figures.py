"""The figures of the documentation: near the top of every page that shows how, with how they are made."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FIGURE = re.compile(r"!\[([^\]]+)\]\((?:\.\./|docs/)?figures/([\w-]+\.png)\)")
SHOWING = [*sorted((DOCS / "howto").glob("*.md")), DOCS / "tutorial.md"]
DOMAINS = [DOCS / f"{name}.md" for name in ("ccd", "cells", "cygno", "galaxy", "neutrino", "waveform")]
PAGES = [path for path in DOCS.rglob("*.md") if not {"_build", "api"} & {*path.parts}]
MOST = 1_000_000  # bytes
ADDED = 200_000  # bytes of a figure that docs/draw.py writes


@pytest.fixture(scope="module")
def draw():
    """The module that draws figures."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("draw")
    sys.path.remove(str(DOCS))
    del sys.modules["draw"]


@pytest.mark.parametrize("page", [pytest.param(path, id=path.stem) for path in (*SHOWING, *DOMAINS)])
def test_a_figure_stands_before_the_first_section_with_how_it_was_made(page):
    beginning = page.read_text().partition("\n## ")[0]
    figure = FIGURE.search(beginning)
    assert figure, f"{page}: no figure before the first section"
    caption = beginning[figure.end() :]
    assert re.search(r"`(python |oasis |examples/)|\]\([^)]+\)", caption), page


def test_every_figure_is_on_a_page_and_small():
    used = {name for page in (*PAGES, ROOT / "README.md") for _, name in FIGURE.findall(page.read_text())}
    stored = {path.name: path for path in (DOCS / "figures").iterdir()}
    assert {*stored} == used
    assert [name for name, path in stored.items() if path.stat().st_size > MOST] == []


def test_figures_that_are_drawn_here_are_stored_with_their_command(draw):
    text = "".join(page.read_text() for page in PAGES)
    for name in draw.FIGURES:
        path = DOCS / f"figures/{name}.png"
        assert path.stat().st_size < ADDED
        assert f"`python docs/draw.py {name}`" in text


@pytest.mark.parametrize("name", ["rates", "sharing", "calibration", "detection"])
def test_figures_are_drawn_from_what_the_pages_contain(name, draw, tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    monkeypatch.setattr(draw, "FIGURE_FOLDER", tmp_path / "figures")
    with Image.open(draw.write(name)) as made, Image.open(DOCS / f"figures/{name}.png") as stored:
        assert made.size == stored.size
