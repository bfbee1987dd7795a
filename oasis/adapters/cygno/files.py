"""Files of CYGNO: pictures, pedestals, truth and vignetting in ROOT files, which uproot reads as data.

Axes: in a ROOT histogram the columns of the camera are x, the first axis; images here are (rows, columns).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from oasis.adapters.cygno.pedestals import pedestal_of
from oasis.errors import DataError, import_extra
from oasis.io.arrays import native, read_array
from oasis.io.files import check_file, reading

Array = NDArray[np.float32]

ROOT = ".root"
MIDAS = (".mid", ".mid.gz", ".mid.lz4")
PICTURE = re.compile(r"pic_run(\d+)_ev(\d+)$")
PEDESTAL, TRUTH = "pedmap", "event_info/info_tree"
BROKEN = "truncated, or not a ROOT file"


@dataclass(frozen=True)
class Pedestal:
    """A pedestal run.

    Attributes:
        mean: (H, W) counts.
        rms: (H, W) counts.
        frames: (n, H, W), or None where only the maps are known.
    """

    mean: Array
    rms: Array
    frames: NDArray[Any] | None = None


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a ROOT file.

    Raises:
        DataError: it is missing or damaged.
        MissingExtraError: uproot is not installed.
    """
    uproot = import_extra("uproot", "cygno")
    check_file(path)
    with reading(path, BROKEN):
        file = uproot.open(path)
    with file:
        yield file


def read_pictures(path: Path, key: str | None = None) -> Array:
    """Return the pictures (n, H, W) of a file `histograms_RunXXXXX.root`, in the order of their events.

    Args:
        path: the file.
        key: the name of one of them, such as `pic_run4117_ev3`, or of any histogram with two axes; by default all
            pictures with names of this kind.

    Raises:
        DataError: there are no such pictures, or they differ in size.
    """
    with opened(path) as file:
        names = _names(file)
        found = {name: match for name in names if (match := PICTURE.search(name))}
        chosen = sorted(found, key=lambda name: tuple(map(int, found[name].groups())))
        if key is not None:
            kinds = {name.split(";")[0]: kind for name, kind in file.classnames().items()}
            images = [name for name, kind in kinds.items() if kind.startswith("TH2")]
            chosen = [name for name in images if key in (name, name.split("/")[-1])][:1]
        if not chosen:
            what = "pictures (histograms pic_runR_evN)" if key is None else f"picture {key!r}"
            listed = ", ".join(sorted(names)[:5]) or "nothing"
            raise DataError(f"{path}: contains no {what}; it contains {listed}")
        with reading(path, BROKEN):
            pictures = [_values(file[names[name]]) for name in chosen]
    if len({one.shape for one in pictures}) > 1:
        raise DataError(f"{path}: pictures differ in size: {sorted({one.shape for one in pictures})}")
    return np.stack(pictures)


def read_truth(path: Path) -> Mapping[str, NDArray[Any]]:
    """Return the truth of simulated pictures by column: event number, particle, energy, vertex and so on.

    Raises:
        DataError: the file has no `event_info/info_tree`.
    """
    with opened(path) as file:
        if TRUTH not in _names(file):
            raise DataError(f"{path}: contains no {TRUTH}: only simulated files have one")
        with reading(path, BROKEN):
            columns = file[TRUTH].arrays(library="np")
    return {name: native(np.asarray(values)) for name, values in columns.items() if values.dtype.kind in "iufb"}


def read_pedestal(path: Path) -> Pedestal:
    """Return a pedestal: the frames of a run, or the map `pedmap` with the rms of every pixel as its error.

    Raises:
        DataError: the file has neither, or only one frame; all pixels have an rms of 0, or one is NaN.
    """
    if path.suffix.lower() == ROOT:
        pedestal = _pedestal_map(path) or _of_frames(read_pictures(path), path)
    else:
        pedestal = _of_frames(read_array(path), path)
    wrong = ~np.isfinite(pedestal.mean) | ~np.isfinite(pedestal.rms) | (pedestal.rms < 0)
    if wrong.any() or not pedestal.rms.any():
        bad = int(wrong.sum()) or pedestal.rms.size
        raise DataError(f"{path}: {bad} pixels have an rms that is NaN or 0: expected a run of varying frames")
    return pedestal


def read_vignetting(path: Path) -> Array:
    """Return the relative light yield over the sensor (h, w), 0 where the map does not know it.

    Outside the field the collaboration's maps hold exactly 1, at the border, which would be the brightest place.

    Raises:
        DataError: the file has no map, or it is negative, not finite or zero everywhere.
    """
    if path.suffix.lower() == ROOT:
        with opened(path) as file, reading(path, BROKEN):
            names = [name for name, kind in file.classnames().items() if kind.startswith("TH2")]
            if not names:
                raise DataError(f"{path}: contains no histogram with two axes")
            values = _values(file[names[0]])
    else:
        values = read_array(path).astype(np.float32)
    if values.ndim != 2 or not np.isfinite(values).all() or values.min() < 0 or not values.any():
        raise DataError(f"{path}: a map of shape {values.shape}, expected light yields of at least 0 on two axes")
    outside, _ = label(values == 1)
    border = np.unique([*outside[0], *outside[-1], *outside[:, 0], *outside[:, -1]])
    unknown = np.isin(outside, border[border > 0])
    return np.where(unknown & ~(values == 1).all(), 0, values).astype(np.float32)


def check_not_midas(path: Path) -> None:
    """Check that a file is not a raw file of the data acquisition.

    Raises:
        DataError: it is one.
    """
    if path.name.lower().endswith(MIDAS):
        raise DataError(
            f"{path}: raw MIDAS files are not read: convert it with the collaboration's own tools to pictures in "
            "ROOT (pic_runR_evN) or to an array in HDF5"
        )


def _pedestal_map(path: Path) -> Pedestal | None:
    with opened(path) as file:
        if PEDESTAL not in _names(file):
            return None
        with reading(path, BROKEN):
            histogram = file[PEDESTAL]
            mean, rms = _values(histogram), np.asarray(histogram.errors(), np.float32).T
    return Pedestal(mean, np.ascontiguousarray(rms))


def _of_frames(frames: NDArray[Any], path: Path) -> Pedestal:
    if frames.ndim == 2:
        frames = frames[None]
    if frames.ndim != 3:
        raise DataError(
            f"{path}: an array of shape {frames.shape} is no pedestal run: expected (frames, rows, columns)"
        )
    return Pedestal(*pedestal_of(frames, str(path)), frames)


def _names(file: Any) -> dict[str, str]:
    """Return the full names of the objects of a file, with their cycle, by name without it."""
    return {name.split(";")[0]: name for name in file.keys()}  # noqa: SIM118


def _values(histogram: Any) -> Array:
    """Return the contents of a histogram as (rows, columns)."""
    return np.ascontiguousarray(np.asarray(histogram.values(), np.float32).T)
