"""TIFF files: their pages as one stack, with channels on the axis of the bands of an image."""

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from oasis.errors import MissingExtraError
from oasis.io.files import one_line

CHANNELS: Final = "CS"  # axes of channels: those of OME and ImageJ, and the samples of a colour picture


def read_tiff(path: Path, key: str | None = None) -> NDArray[Any]:
    """Read all pages of a TIFF file.

    Args:
        path: the path of the file.
        key: not used; arrays in a TIFF file have no names.

    Returns:
        (pages, rows, columns), without the first axis if there is one page, with more axes if the file states
        them. With channels, (pages, channels, rows, columns), so that a colour picture is not taken for several
        images.

    Raises:
        MissingExtraError: tifffile needs imagecodecs for the compression.
        ValueError: the chain of pages is cut short, or other damage; tifffile raises further errors.
    """
    with tifffile.TiffFile(path) as file:
        check_chain(file)
        stacks = [_stack(series, path) for series in file.series]
        channels = any(axis in CHANNELS for series in file.series for axis in series.axes)
    if len(stacks) == 1:
        return stacks[0]
    axes = 3 if channels else 2
    return np.concatenate([stack.reshape(-1, *stack.shape[-axes:]) for stack in stacks])


def check_chain(file: tifffile.TiffFile) -> None:
    """Check that the chain of pages is complete; tifffile silently reads one that is cut short.

    Raises:
        ValueError: it is not.
    """
    layout, handle, end = file.tiff, file.filehandle, file.pages[-1].offset
    handle.seek(end)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(end + layout.tagnosize + tags * layout.tagsize)
    if any(handle.read(layout.offsetsize)):
        raise ValueError(f"the file ends after {len(file.pages)} pages, but refers to a further one")


def _stack(series: tifffile.TiffPageSeries, path: Path) -> NDArray[Any]:
    """Return a series as (pages, channels, rows, columns), or as it is if it has no channels."""
    try:
        stack = np.asarray(series.asarray())
    except (ValueError, ImportError) as error:
        if "imagecodecs" in str(error) or isinstance(error, ImportError):
            raise MissingExtraError(
                f"{path}: its compression needs imagecodecs ({one_line(error)}): "
                "run  pip install 'oasis-seg[tiff]'"
            ) from error
        raise
    found = [place for place, axis in enumerate(series.axes) if axis in CHANNELS]
    if not found:
        return stack
    if len(found) > 1:
        raise ValueError(f"its axes {series.axes} state two kinds of channels: split the colours into channels")
    (place,) = found
    if series.axes[place] == "S":
        stack, place = np.moveaxis(stack, place, -3), stack.ndim - 3
    return stack.reshape(-1, *stack.shape[place:])
