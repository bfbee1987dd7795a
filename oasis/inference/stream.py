"""Streams: frames are separated as they come, and what is complete is on disk.

A thread reads and converts frames into a queue of limited length; the frames that wait are separated together,
written and flushed. Latency is the time from the arrival of a frame until its maps and rows are written.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.data.images import Images
from oasis.errors import DataError, OasisError, import_extra
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.inference.job import Job
from oasis.inference.output import BATCH, MASK, Output
from oasis.inference.regional import Regional
from oasis.inference.rows import Rows
from oasis.inference.stream_sources import Frame
from oasis.inference.whole import separate_whole
from oasis.inference.zarr_store import writing
from oasis.io.tables import quoted

QUEUE: Final = 64  # frames
GROWN: Final = 64  # rows by which arrays grow
REMEMBERED: Final = 100_000  # latencies
WAIT_SECONDS: Final = 0.1
PERCENTILES: Final = (50, 95, 99)

Further = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass
class Streamed:
    """What became of the frames of a stream.

    Attributes:
        frames: those that were separated and written.
        dropped: those that found the queue full.
        left_out: why frames could not be used, by the name of their file and their number.
        seconds: from the first frame to the last one.
        latencies: of the last frames, in seconds.
        error: what ended the stream, if it was not its end.
    """

    frames: int = 0
    dropped: int = 0
    left_out: dict[tuple[str, int], str] = field(default_factory=dict)
    seconds: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    error: OasisError | None = None

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds > 0 else float("nan")

    def text(self) -> str:
        """Return one line.

        Example:
            >>> Streamed(frames=30, seconds=2.0, latencies=deque([0.01] * 30)).text()
            '30 frames, 15.0 per second; latency 10, 10, 10 ms (50, 95, 99 %); 0 dropped, 0 left out'
        """
        latency = "unknown"
        if self.latencies:
            values = np.percentile(self.latencies, PERCENTILES) * 1000
            latency = f"{', '.join(f'{value:.3g}' for value in values)} ms (50, 95, 99 %)"
        return (
            f"{self.frames} frames, {self.rate:.1f} per second; latency {latency}; "
            f"{self.dropped} dropped, {len(self.left_out)} left out"
        )


def stream(
    job: Job,
    frames: Iterator[Frame],
    output: "StreamOutput",
    stop: threading.Event,
    length: int = QUEUE,
    drop: bool = False,
    every: float = 10.0,
    report: Callable[[Streamed], None] | None = None,
) -> Streamed:
    """Separate frames as they come, until their source ends or the event is set; then those in the queue.

    Args:
        job: the processing of every frame.
        frames: the source.
        output: what is written to.
        stop: ends the stream.
        length: of the queue, in frames.
        drop: drop a frame that finds the queue full; else its source waits.
        every: seconds between reports.
        report: is told the state.
    """
    found = Streamed()
    waiting: queue.Queue[Frame | None] = queue.Queue(length)
    reader = threading.Thread(target=_read, args=(frames, waiting, found, stop, drop), daemon=True)
    reader.start()
    regional = Regional(job) if job.window.kind == "regions" else None
    first = reported = time.monotonic()
    for batch in _batches(waiting, stop):
        if not found.frames and not found.left_out:
            first = min(frame.arrived for frame in batch)
        _separate(job, regional, batch, output, found)
        now = time.monotonic()
        found.seconds = now - first
        found.latencies.extend(now - frame.arrived for frame in batch)
        if report is not None and now - reported >= every:
            reported = now
            report(found)
    stop.set()
    reader.join(timeout=1.0)
    return found


def _read(
    frames: Iterator[Frame],
    waiting: "queue.Queue[Frame | None]",
    found: Streamed,
    stop: threading.Event,
    drop: bool,
) -> None:
    """Put frames into the queue, and at the end None."""
    try:
        for frame in frames:
            if drop:
                try:
                    waiting.put_nowait(frame)
                except queue.Full:
                    found.dropped += 1
            else:
                _put(waiting, frame, stop)
            if stop.is_set():
                break
    except OasisError as error:
        found.error = error
    except Exception as error:  # of a foreign reader
        found.error = DataError(f"stream: {type(error).__name__}: {error}")
    finally:
        _put(waiting, None, stop)


def _put(waiting: "queue.Queue[Frame | None]", item: Frame | None, stop: threading.Event) -> None:
    while True:
        with suppress(queue.Full):
            waiting.put(item, timeout=WAIT_SECONDS)
            return
        if stop.is_set():
            return


def _batches(waiting: "queue.Queue[Frame | None]", stop: threading.Event) -> Iterator[list[Frame]]:
    """Yield the frames that wait, at most `BATCH` of one file at a time."""
    while True:
        try:
            item = waiting.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            if stop.is_set():
                return
            continue
        if item is None:
            return
        batch = [item]
        while len(batch) < BATCH:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                yield batch
                return
            batch.append(item)
        yield batch


def _separate(
    job: Job, regional: Regional | None, batch: Sequence[Frame], output: "StreamOutput", found: Streamed
) -> None:
    """Separate and write frames; those that follow one another in a file together."""
    start = 0
    for stop in range(1, len(batch) + 1):
        one, last = batch[start], batch[stop - 1]
        if stop < len(batch) and _follows(batch[stop], last):
            continue
        images = _joined([frame.image for frame in batch[start:stop]])
        numbers = range(one.number, one.number + stop - start)
        try:
            output.check_size(images.image.shape[2:])
            if regional is not None:
                problems = regional.separate(one.path, images, output, one.number)
            else:
                problems = separate_whole(job, one.path, images, output, one.number)
        except DataError as error:
            problems = dict.fromkeys(numbers, str(error))
        found.left_out |= {(str(one.path), number): why for number, why in problems.items()}
        found.frames += len(numbers) - len(problems)
        start = stop
    output.flush()


def _follows(frame: Frame, last: Frame) -> bool:
    same = frame.image.image.shape == last.image.image.shape
    return same and frame.path == last.path and frame.number == last.number + 1


def _joined(images: Sequence[Images]) -> Images:
    """Return single images as one record."""
    first = images[0]
    return first.replace(
        image=np.concatenate([one.image for one in images]),
        context=None if first.context is None else np.concatenate([_known(one.context) for one in images]),
        mask=_masks(images),
        fill=next((one.fill for one in images if one.fill is not None), None),
        position={name: np.concatenate([one.position[name] for one in images]) for name in first.position},
    )


def _masks(images: Sequence[Images]) -> NDArray[np.bool_] | None:
    if all(one.mask is None for one in images):
        return None
    shape = 1, 1, *images[0].image.shape[2:]
    return np.concatenate([np.ones(shape, bool) if one.mask is None else one.mask for one in images])


def _known(values: NDArray[Any] | None) -> NDArray[Any]:
    assert values is not None
    return values


class StreamOutput(Output):
    """Maps in a zarr store, each frame a chunk, and rows in a CSV file; both are complete after every flush.

    Args:
        path: of the store.
        facts: attributes of the store.
        table: the CSV file.
        further: adds columns to rows.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], table: Path, further: Further | None = None) -> None:
        super().__init__(self)
        zarr = import_extra("zarr", "zarr")
        self.path, self._further = path, further
        self._identity = facts["identity"].get(CONFIGURATION), facts["unit"]
        with writing(path):
            self._root = zarr.create_group(str(path), attributes=dict(facts))
            self._root.create_group("maps")
            self._file = table.open("w", encoding="utf-8", newline="")
        self._columns: list[str] = []
        self._arrays: dict[str, Any] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Write rows of an array behind those of earlier frames; names of files and masks are not stored."""
        if name in ("source", MASK):
            return
        with writing(self.path):
            if name not in self._arrays:
                fill: Any = np.nan if rows.dtype.kind == "f" else 0
                chunks = (1, *rows.shape[1:]) if rows.ndim > 1 else (GROWN,)
                self._arrays[name] = self._root.create_array(
                    name, shape=(0, *rows.shape[1:]), dtype=rows.dtype, chunks=chunks, fill_value=fill
                )
            array, stop = self._arrays[name], self.count + len(rows)
            if array.shape[0] < stop:
                array.resize((-(-stop // GROWN) * GROWN, *rows.shape[1:]))
            array[self.count : stop] = rows

    def flush(self) -> None:
        """Write the rows of the frames since the last flush."""
        if self.rows:
            self._write()

    def _write(self) -> None:
        """Write the rows, below the names of the columns if these are the first."""
        table, self.rows = identified(self.table(), *self._identity), Rows()
        if self._further is not None:
            table = self._further(table)
        for name in table.columns:
            if table[name].dtype == object:
                table[name] = [quoted(cell) if isinstance(cell, str) else cell for cell in table[name]]
        with writing(self.path):
            first, self._columns = not self._columns, self._columns or [str(name) for name in table.columns]
            shown = table.reindex(columns=self._columns).rename(columns=quoted)
            shown.to_csv(self._file, index=False, header=first)
            self._file.flush()

    def close(self) -> None:
        """Cut the arrays to the frames that were written, and close the table, which has a header in any case."""
        self.flush()
        if not self._columns:
            self._write()
        with writing(self.path):
            self._file.close()
            for array in self._arrays.values():
                array.resize((self.count, *array.shape[1:]))
            self._root.attrs["complete"] = True
