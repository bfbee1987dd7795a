"""Server: the viewer at an address of this machine alone, until it is told to stop."""

import logging
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from oasis.errors import DataError, import_extra
from oasis.io.files import one_line
from oasis.io.folders import image_files, say_left_below
from oasis.run import Run
from oasis.view.page import Page
from oasis.view.session import Session

EXTRA = "view"
HOST = "127.0.0.1"  # other machines cannot reach it
LARGEST_DROP = 2**29  # bytes of a message from the browser: a dropped file in base64
CHECK_EVERY = 200  # milliseconds between looks at `stop`


def serve(
    run: Run,
    files: Sequence[Path] = (),
    split: str = "test",
    window: str | None = None,
    port: int = 0,
    browser: bool = True,
    ready: Callable[[str], object] = lambda address: None,
    stop: threading.Event | None = None,
) -> None:
    """Show a run in the browser until `stop` is set.

    Args:
        run: a trained run.
        files: image files, or folders of them.
        split: the split whose events can be chosen.
        window: `whole` shows images of another size than in training also where that changes their maps.
        port: of this machine; 0 for a free one.
        browser: open the page in a browser.
        ready: is told the address when the page can be opened.
        stop: ends it.

    Raises:
        MissingExtraError: Bokeh is not installed.
        ModelError: the run has no separator yet.
        DataError: a path does not exist, or the port is in use.
    """
    server_of = import_extra("bokeh.server.server", EXTRA).Server
    for name in ("bokeh", "tornado"):
        logging.getLogger(name).setLevel(logging.WARNING)
    found = _existing(files, run)
    inspector = run.inspector(window)
    with tempfile.TemporaryDirectory(prefix="oasis-view-") as folder:

        def open_page(document: "object") -> None:
            own = Path(tempfile.mkdtemp(dir=folder))
            document.add_root(Page(Session(inspector, found, split, own)).layout)  # type: ignore[attr-defined]
            document.title = f"oasis view: {run.folder.name}"  # type: ignore[attr-defined]

        try:
            server = server_of({"/": open_page}, address=HOST, port=port, websocket_max_message_size=LARGEST_DROP)
        except OSError as error:
            raise DataError(f"port {port}: cannot be used: {one_line(error)}: choose another --port") from error
        address = f"http://localhost:{server.port}/"
        server.start()
        ready(address)
        if browser:
            server.io_loop.add_callback(webbrowser.open, address)
        _wait(server, stop)


def _existing(sources: Sequence[Path], run: Run) -> list[Path]:
    """Return the image files of files and folders, which all exist."""
    adapter = run.adapter
    for source in sources:
        say_left_below(source, adapter.suffixes)
    found = [path for source in sources for path in adapter.leading(image_files(source, adapter.suffixes))]
    for path in found:
        if not path.exists():
            raise DataError(f"{path}: no such file")
    return found


def _wait(server: object, stop: threading.Event | None) -> None:
    """Serve until told to stop."""
    loop = server.io_loop  # type: ignore[attr-defined]
    if stop is not None:
        callback = import_extra("tornado.ioloop", EXTRA).PeriodicCallback
        callback(lambda: loop.stop() if stop.is_set() else None, CHECK_EVERY).start()
    try:
        loop.start()
    finally:
        server.stop()  # type: ignore[attr-defined]
