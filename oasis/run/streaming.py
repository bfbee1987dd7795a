"""Streams: a run separates frames as they come."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from oasis.device import best_device
from oasis.errors import ConfigError
from oasis.inference.choice import Choice
from oasis.inference.job import Job
from oasis.inference.options import WindowOptions
from oasis.inference.predicted import tables_of
from oasis.inference.stream import QUEUE, Streamed, StreamOutput, stream
from oasis.inference.stream_sources import Watch, open_frames
from oasis.inference.zarr_store import held, make_way
from oasis.io.arrays import read_array
from oasis.io.outputs import check_outputs
from oasis.io.zarr_files import ZARR
from oasis.run.evaluation import RunEvaluation
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)


class RunStreaming(RunEvaluation):
    """The streams of a run; see `Run`."""

    def stream(
        self,
        source: str | Path | BinaryIO,
        out: str | Path,
        dark: str | Path | None = None,
        key: str | None = None,
        shape: Sequence[int] = (),
        dtype: str = "",
        window: WindowOptions | None = None,
        queue: int = QUEUE,
        drop: bool = False,
        idle: float | None = None,
        every: float = 10.0,
        report: Callable[[Streamed], None] | None = None,
        stop: threading.Event | None = None,
        force: bool = False,
    ) -> Streamed:
        """Separate frames as they come; what is complete is on disk, whatever happens to the process.

        Args:
            source: a folder to which files are added, a TIFF or HDF5 file that grows, or a stream of raw bytes.
            out: a `.zarr` store to which maps are appended; rows are appended to the `.csv` beside it.
            dark: a dark frame to subtract.
            key: the array in an HDF5 file.
            shape: of a frame of raw bytes.
            dtype: of its numbers, such as `<u2`.
            window: whole frames or regions of interest.
            queue: frames that may wait.
            drop: drop a frame that finds the queue full; else its source waits.
            idle: seconds without a frame after which the stream ends; by default it does not.
            every: seconds between reports.
            report: is told the state, which is returned at the end.
            stop: ends the stream when it is set; the frames that wait are still separated.
            force: replace an earlier output.

        Raises:
            ConfigError: the source or the output cannot be of this kind.
            DataError: the output exists, or cannot be written to.
        """
        out, window, stop = Path(out), window or WindowOptions(), stop or threading.Event()
        path = source if isinstance(source, str | Path) else None
        table = _stream_table(out, window, [one for one in (path, dark, window.file) if one is not None], force)
        frame = None if dark is None else read_array(dark)
        frames = open_frames(source, self.adapter, Watch(stop.is_set, idle), key, frame, shape, dtype)
        separator = self.separator(best_device())
        choice = Choice(separator, partial(self._known_size, separator), window.kind)
        job = Job(separator, self.adapter, self._needs_spread, False, window, choice)
        with held(out), self._stream_output(separator, out, table, force) as output:
            return stream(job, frames, output, stop, queue, drop, every, report)

    @contextmanager
    def _stream_output(self, separator: Separator, out: Path, table: Path, force: bool) -> Iterator[StreamOutput]:
        """Open the output of a stream, and close it whatever happens."""
        options, calibration = separator.options, self.calibration
        make_way(out, force)
        facts = {"classes": list(options.classes), "unit": options.unit, "identity": options.identity}
        if self.adapter.band_names:
            facts["bands"] = list(self.adapter.band_names)
        further = None if calibration is None else (lambda rows: rows.join(calibration.intervals(rows)))
        output = StreamOutput(out, facts, table, further)
        try:
            yield output
        finally:
            output.close()


def _stream_table(out: Path, window: WindowOptions, inputs: Sequence[str | Path], force: bool) -> Path:
    """Check the output of a stream and return the path of its table.

    Raises:
        ConfigError: the output is no zarr store, or frames would be cut into tiles.
        DataError: the output must not be written.
    """
    if out.suffix.lower() != ZARR:
        raise ConfigError(f"{out}: stream: maps are appended to zarr: name an output .zarr")
    if window.kind == "tiles":
        raise ConfigError("stream: frames are separated whole or in regions, not by tiles")
    table, _ = tables_of(out)
    check_outputs({out: _is_never, table: _is_never}, inputs, force=force)
    return table


def _is_never(path: Path) -> bool:
    """Return that a file is not to be replaced without being told to: a stream does not come again."""
    return False
