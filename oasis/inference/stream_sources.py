"""Sources of streams: frames of a growing folder or file, or of raw bytes, as they come."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.reading import say_saturated
from oasis.data.images import Images
from oasis.errors import ConfigError, DataError, OasisError
from oasis.inference.reader import Reader
from oasis.inference.sources import bad_pixels, say_doubt, say_masked
from oasis.io.arrays import native
from oasis.io.containers import opened_dataset
from oasis.io.files import one_line
from oasis.io.folders import image_files
from oasis.io.hdf5 import check_self_contained

POLL_SECONDS: Final = 0.02
NUMBERS: Final = "fiub"  # kinds of types
GROWING: Final = (".tif", ".tiff", ".mtiff", ".h5", ".hdf5")


class Frame(NamedTuple):
    """One frame of a stream.

    Attributes:
        path: of its file.
        number: of the frame in it.
        image: the frame, converted to the units of the domain.
        arrived: when it was there, in seconds of `time.monotonic`, before it was converted.
    """

    path: Path
    number: int
    image: Images
    arrived: float


class Watch:
    """Tells a source when to look again and when to end.

    Args:
        stopped: returns whether the stream is to end.
        idle: seconds without a new frame after which it ends; None for never.
    """

    def __init__(self, stopped: Callable[[], bool], idle: float | None = None) -> None:
        self.stopped, self._idle = stopped, idle
        self._last: float | None = None  # since the source was first looked at

    def noted(self) -> None:
        """Note that there was a new frame."""
        self._last = time.monotonic()

    def goes_on(self) -> bool:
        """Wait a moment and return whether to look again."""
        now = time.monotonic()
        self._last = now if self._last is None else self._last
        if self.stopped() or (self._idle is not None and now - self._last > self._idle):
            return False
        time.sleep(POLL_SECONDS)
        return True


def open_frames(
    source: str | Path | BinaryIO,
    adapter: Adapter[Any],
    watch: Watch,
    key: str | None,
    dark: NDArray[Any] | None,
    shape: Sequence[int],
    dtype: str,
) -> Iterator[Frame]:
    """Return the frames of a path, as `frames_of`, or of raw bytes, as `raw_frames`."""
    if isinstance(source, str | Path):
        return frames_of(Path(source), adapter, watch, key, dark)
    return raw_frames(source, adapter, watch, shape, dtype, dark)


def frames_of(
    source: Path, adapter: Adapter[Any], watch: Watch, key: str | None = None, dark: NDArray[Any] | None = None
) -> Iterator[Frame]:
    """Yield the frames of a folder to which files are added, or of a TIFF or HDF5 file that grows.

    A file of a folder is read once its size no longer changes. An HDF5 file has to be written in the mode for a
    single writer and multiple readers (SWMR), or by closing it after each frame.

    Args:
        source: the folder or file.
        adapter: the adapter, which converts frames.
        watch: says when to end.
        key: the array in an HDF5 file.
        dark: a dark frame to subtract.

    Raises:
        DataError: there is no such source, or it is damaged, or ends in half a frame.
    """
    if source.is_dir():
        return _of_folder(source, adapter, watch, key, dark)
    if source.suffix.lower() not in GROWING:
        raise ConfigError(f"{source}: stream: expected a folder, a file {', '.join(GROWING)}, or - for raw frames")
    if not source.is_file():
        raise DataError(f"{source}: no such file or folder")
    counted = _of_hdf5 if source.suffix.lower() in (".h5", ".hdf5") else _of_tiff
    return _converted(source, adapter, watch, counted(source, key, watch), dark)


def raw_frames(
    source: BinaryIO,
    adapter: Adapter[Any],
    watch: Watch,
    shape: Sequence[int],
    dtype: str,
    dark: NDArray[Any] | None,
) -> Iterator[Frame]:
    """Yield frames of raw bytes, such as those of standard input.

    Args:
        source: the bytes.
        adapter: the adapter, which converts frames.
        watch: says when to end.
        shape: of a frame.
        dtype: of its numbers, as numpy names it, such as `<u2`.
        dark: a dark frame to subtract.

    Raises:
        ConfigError: the type or the shape are none.
        DataError: the stream ends in half a frame.
    """
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise ConfigError(f"--dtype: expected a type of numbers such as uint16 or <f4, found {dtype!r}") from None
    if kind.kind not in NUMBERS or not shape or min(shape) < 1:
        raise ConfigError(
            f"--shape, --dtype: expected lengths and a type of numbers, found {tuple(shape)}, {dtype!r}"
        )
    return _converted(Path("-"), adapter, watch, _of_bytes(source, tuple(shape), kind, watch), dark)


def _converted(
    path: Path, adapter: Adapter[Any], watch: Watch, frames: Iterator[NDArray[Any]], dark: NDArray[Any] | None
) -> Iterator[Frame]:
    said = told = False
    for number, raw in enumerate(frames):
        arrived = time.monotonic()
        watch.noted()
        said = said or say_saturated(path, raw)
        images = adapter.masked(Images(adapter.as_images(native(raw), dark)))
        if number == 0:
            say_doubt(adapter, path, images)
        if not told and (count := bad_pixels(images)):
            say_masked(path, count)
            told = True
        yield Frame(path, number, images, arrived)


def _of_bytes(
    source: BinaryIO, shape: tuple[int, ...], kind: np.dtype[Any], watch: Watch
) -> Iterator[NDArray[Any]]:
    size, number = int(np.prod(shape)) * kind.itemsize, 0
    while not watch.stopped():
        data = b""
        while len(data) < size and (more := source.read(size - len(data))):
            data += more
        if len(data) < size:
            if data:
                raise DataError(
                    f"-: the stream ends in half a frame: {len(data)} of {size} bytes after {number} whole frames"
                )
            return
        yield np.frombuffer(data, kind).reshape(shape)
        number += 1


def _of_folder(
    source: Path, adapter: Adapter[Any], watch: Watch, key: str | None, dark: NDArray[Any] | None
) -> Iterator[Frame]:
    reader, seen, sizes = Reader(adapter, key, dark), set[Path](), dict[Path, int]()
    begun: dict[Path, int] = {}
    broken: dict[Path, tuple[int, OasisError]] = {}
    while True:
        files: list[Path] = []
        with suppress(DataError):  # none yet
            files = [path for path in image_files(source, adapter.suffixes) if path not in seen]
        for path in files:
            size = _size(path)
            if sizes.get(path) != size:  # it is still being written
                sizes[path] = size
                continue
            if path in broken and broken[path][0] == size:
                continue
            arrived = time.monotonic()
            try:
                for number in range(begun.get(path, 0), reader.shape(path).images):
                    image = reader.images(path, number, number + 1)
                    watch.noted()
                    begun[path] = number + 1
                    yield Frame(path, number, image, arrived)
            except OasisError as error:  # the writer may have paused: it is read again when it has changed
                broken[path] = size, error
                continue
            broken.pop(path, None)
            seen.add(path)
        if not watch.goes_on():
            if broken:
                raise DataError("; ".join(str(error) for _, error in broken.values()))
            return


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return -1


def _of_tiff(source: Path, key: str | None, watch: Watch) -> Iterator[NDArray[Any]]:
    """Yield the pages of a file that grows; the last page counts once all of it is there."""
    number, known, half = 0, -1, False
    while True:
        size = _size(source)
        if size != known:
            known = size
            try:
                with tifffile.TiffFile(source) as file:
                    for page in file.pages[number:]:
                        found = page.aspage()
                        half = _end(found) > size
                        if half:
                            break
                        yield np.asarray(found.asarray())
                        number += 1
            except (ValueError, IndexError, KeyError, OSError, tifffile.TiffFileError) as error:
                half = True
                problem = one_line(error)
            else:
                problem = "the data of its last page are missing"
        if not watch.goes_on():
            if half:
                raise DataError(f"{source}: ends in half a frame after {number} whole ones ({problem})")
            return


def _end(page: Any) -> int:
    """Return the position behind the last byte of a page."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    return max(ends, default=0)


def _of_hdf5(source: Path, key: str | None, watch: Watch) -> Iterator[NDArray[Any]]:
    """Yield the rows of a data set that grows."""
    name, number = _name(source, key, watch), 0
    if name is None:
        return
    while True:
        with suppress(OSError, BlockingIOError), _growing(source) as file:
            data = file[name]
            if data.ndim < 2:
                raise DataError(f"{source}: {name} has shape {data.shape}, expected a stack of frames")
            while True:
                data.id.refresh()
                for row in range(number, len(data)):
                    yield np.asarray(data[row])
                    number = row + 1
                if not watch.goes_on():
                    return
                if not _is_swmr(file):
                    break
        if not watch.goes_on():
            return


@contextmanager
def _growing(source: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file that may still be written; like others it must not refer to data in other files."""
    with h5py.File(source, "r", libver="latest", swmr=True) as file:
        check_self_contained(file, source)
        yield file


def _is_swmr(file: h5py.File) -> bool:
    """Return whether the writer keeps the file open; else it is opened anew."""
    return bool(file.swmr_mode)


def _name(source: Path, key: str | None, watch: Watch) -> str | None:
    """Return the name of the data set, once the file can be opened."""
    while True:
        try:
            with _growing(source) as file:
                if key is not None and isinstance(file.get(key), h5py.Dataset):
                    return key
                names = [name for name in file if isinstance(file[name], h5py.Dataset)]
                if len(names) == 1 and key is None:
                    return str(names[0])
            with opened_dataset(source, key) as data:
                return str(data.name)
        except OSError as error:
            if not watch.goes_on():
                raise DataError(
                    f"{source}: cannot be read while it is written ({one_line(error)}): write it in SWMR mode"
                ) from None
