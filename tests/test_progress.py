import io
import logging
import sys
import time

import pytest

from oasis.progress import FileProgress, Progress, tell, watched


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stream(monkeypatch):
    """Standard error of a process without logging."""

    def use(kind):
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        monkeypatch.setattr(sys, "stderr", kind())
        return sys.stderr

    return use


def test_without_logging_lines_go_to_standard_error(stream):
    out = stream(io.StringIO)
    tell("epoch 1 of 2")
    assert out.getvalue() == "epoch 1 of 2\n"


@pytest.fixture
def silenced():
    logging.getLogger("oasis").setLevel(logging.WARNING)
    yield
    logging.getLogger("oasis").setLevel(logging.NOTSET)


def test_a_level_silences_lines_and_bars(stream, silenced):
    out = stream(Terminal)
    assert list(watched(range(3), "count", 3)) == [0, 1, 2]
    tell("epoch 1 of 2")
    assert out.getvalue() == ""


def test_outside_of_a_terminal_there_is_a_line_now_and_then(stream):
    out, times = stream(io.StringIO), iter([0, *range(10, 110, 10)])
    with Progress("predict", 10, "images", clock=lambda: next(times)) as progress:
        for _ in range(10):
            progress.advance()
    assert out.getvalue().splitlines() == [
        "predict: 3 of 10 images, 0.1 images/s, 70 s left",
        "predict: 6 of 10 images, 0.1 images/s, 40 s left",
        "predict: 9 of 10 images, 0.1 images/s, 10 s left",
    ]
    assert "\r" not in out.getvalue()


def test_in_a_terminal_there_is_a_bar_that_goes_away(stream):
    out = stream(Terminal)
    with Progress("predict", 4, "images") as progress:
        time.sleep(0.11)  # a bar is drawn ten times a second at most
        progress.advance(4, note=lambda: "loss 0.5")
        bar = out.getvalue()
    assert "predict" in bar
    assert "loss 0.5" in bar
    assert out.getvalue().endswith("\r")


def test_a_loop_that_is_left_takes_its_bar_along(stream):
    out = stream(Terminal)
    loop = watched(range(3), "count", 3)
    next(loop)
    loop.close()
    assert out.getvalue().endswith("\r")


def test_the_images_of_files_to_come_are_estimated_until_the_last_is_open(stream):
    out, times = stream(io.StringIO), iter([0, 30, 60])
    with FileProgress("separate", 2, clock=lambda: next(times)) as progress:
        for images in (3, 5):
            progress.begin_file()
            progress.expect(images)
            progress.advance(images)
    assert out.getvalue().splitlines() == [
        "separate: 3 of about 6 images, 0.1 images/s, 30 s left",
        "separate: 8 of 8 images, 0.133 images/s, 0 s left",
    ]
