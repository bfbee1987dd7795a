"""The viewer as it is used: the command serves a page, over the protocol of Bokeh and in a browser if there is
one.

The browser is Chromium: that of OASIS_CHROMIUM, of the system, or of playwright; the test is skipped without.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from oasis.zoo.folders import copy_model

pytest.importorskip("bokeh")

WAIT = 60  # seconds
NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
ARGUMENTS = ("--no-sandbox", "--single-process", "--no-zygote", "--use-gl=angle", "--use-angle=swiftshader")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of the viewer of a small model of the package, which ends with Ctrl-C."""
    folder = tmp_path_factory.mktemp("view")
    copy_model("migdal", folder / "run")
    np.save(folder / "frames.npy", np.random.default_rng(0).exponential(9, (2, 96, 96)).astype(np.float32))
    words = [sys.executable, "-m", "oasis", "view", "run", "frames.npy", "--no-browser"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        assert "shown at http://localhost:" in line
        yield line.partition("shown at ")[2].split()[0]
        server.send_signal(signal.SIGINT)
        assert server.wait(WAIT) == 0
        assert "the viewer was closed" in server.stdout.read()


class Seen:
    """The document of a session as the server has it now: a client is not told what its changes led to."""

    def __init__(self, address, session):
        from bokeh.client import pull_session
        from bokeh.models import Div

        session.force_roundtrip()
        with pull_session(url=address, session_id=session.id) as other:
            self.document = other.document
        self.text = " ".join(div.text for div in self.document.select({"type": Div}))

    def picture(self, title):
        """Return the picture in the panel of a title."""
        from bokeh.plotting import figure

        (panel,) = (one for one in self.document.select({"type": figure}) if one.title.text == title)
        return panel.renderers[0]


def until(found, address, session):
    """Wait until the server shows what is looked for, and return all that it shows."""
    end = time.monotonic() + WAIT
    while not found(seen := Seen(address, session)):
        assert time.monotonic() < end, seen.text
    return seen


def test_events_and_files_are_chosen_over_the_protocol(address):
    from bokeh.client import pull_session
    from bokeh.models import RadioButtonGroup, Slider, Spinner

    with pull_session(url=address) as session:
        one = session.document.select_one
        event, number = sorted(session.document.select({"type": Spinner}), key=lambda spinner: spinner.title)
        until(lambda seen: "frames.npy, image 0" in seen.text, address, session)
        number.value = 1
        until(lambda seen: "frames.npy, image 1" in seen.text, address, session)
        one({"type": RadioButtonGroup}).active = 0
        until(lambda seen: "test 0" in seen.text and "intensity_true" in seen.text, address, session)
        event.value = 2
        seen = until(lambda seen: "test 2" in seen.text, address, session)
        shown = seen.picture("input (ADU)")
        pixels = shown.data_source.data["image"][0]
        assert np.ndim(pixels) == 2
        assert np.ptp(pixels) > 0
        one({"type": Slider}).value = 25
        top = shown.glyph.color_mapper.high
        lowered = lambda seen: seen.picture("input (ADU)").glyph.color_mapper.high == pytest.approx(top / 4)  # noqa: E731
        until(lowered, address, session)


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("OASIS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=program, args=ARGUMENTS if program else ())
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


def colours(page):
    """Return how many colours there are in what the first panel shows."""
    picture = page.locator(".bk-Figure").first.screenshot()
    return len(Image.open(io.BytesIO(picture)).convert("RGB").getcolors(10**6))


def test_a_browser_shows_events_and_dropped_files(address, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    problems, asked = [], []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("request", lambda one: asked.append(one.url))
    page.goto(address)
    page.get_by_text("frames.npy, image 0").wait_for(timeout=WAIT * 1000)
    page.get_by_text("test event").click()
    page.get_by_text("test 0", exact=True).wait_for(timeout=WAIT * 1000)
    page.get_by_text("intensity_true").wait_for()
    page.wait_for_timeout(500)  # canvases are drawn after their data arrive
    assert page.locator(".bk-Figure").count() >= 8  # and those of presence, if the model predicts it
    assert colours(page) > 50
    np.save(tmp_path / "mine.npy", np.random.default_rng(1).exponential(9, (96, 96)).astype(np.float32))
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.npy")
    page.get_by_text("mine.npy, image 0").wait_for(timeout=WAIT * 1000)
    (tmp_path / "wrong.npy").write_bytes(b"nothing")
    page.locator("input[type=file]").set_input_files(tmp_path / "wrong.npy")
    page.get_by_text("wrong.npy").last.wait_for(timeout=WAIT * 1000)
    page.screenshot(path=os.environ.get("OASIS_SCREENSHOT"))
    assert not [line for line in problems if "favicon" not in line]
    assert all(url.startswith((address, address.replace("http", "ws"), "data:", "blob:")) for url in asked)
