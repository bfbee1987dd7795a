"""TIFF files: their pages as one stack, with the axes that OME, ImageJ or the file itself states."""

import logging
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from oasis.errors import MissingExtraError
from oasis.io.axes import AxisFacts, in_one_unit
from oasis.io.files import one_line

logger = logging.getLogger(__name__)

CHANNELS: Final = "CS"  # axes of channels: those of OME and ImageJ, and the samples of a colour picture
MICRON: Final = "µm"
OME: Final = (".ome.tif", ".ome.tiff")


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
    stack, facts = read_tiff_axes(path)
    if "C" not in facts.names:
        return stack
    return stack.reshape(-1, *stack.shape[facts.names.index("C") :])


def read_tiff_axes(path: Path) -> tuple[NDArray[Any], AxisFacts]:
    """Read all pages of a TIFF file, and what it states about them.

    Returns:
        The array with all axes of the file; the samples of a colour picture are its axis C, before rows and
        columns. Several images in one file are along an axis I.

    Raises:
        MissingExtraError: tifffile needs imagecodecs for the compression.
        ValueError: the chain of pages is cut short, or other damage; tifffile raises further errors.
    """
    with tifffile.TiffFile(path) as file:
        check_chain(file)
        check_complete(file)
        stacks = [_stack(series, path) for series in file.series]
        facts = tiff_facts(file, path)
    if len(stacks) == 1:
        return stacks[0][0], replace(facts, names=stacks[0][1])
    axes = 3 if any("C" in names for _, names in stacks) else 2
    joined = np.concatenate([stack.reshape(-1, *stack.shape[-axes:]) for stack, _ in stacks])
    return joined, replace(facts, names=f"I{'CYX'[3 - axes :]}")


def resolutions(path: Path) -> int:
    """Return the number of resolutions of the first image of a file (the full one is read), 0 if unknown."""
    with suppress(Exception), tifffile.TiffFile(path) as file:  # the reader of a damaged file says why
        return len(file.series[0].levels)
    return 0


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


def check_complete(file: tifffile.TiffFile) -> None:
    """Check that no plane of an OME-TIFF is missing, as in a file of its own: tifffile gives zeros for it.

    Raises:
        ValueError: some are.
    """
    for series in file.series if file.is_ome else ():
        missing = sum(page is None for page in series.pages)
        if missing:
            raise ValueError(
                f"{missing} of its {len(series.pages)} planes are missing, or in files that are not beside it"
            )


def first_of_sets(paths: Sequence[Path]) -> list[Path]:
    """Return files without those OME-TIFF files that an earlier one names as further parts of the same image.

    Every file of such a set gives the whole image.
    """
    found: list[Path] = []
    parts: set[Path] = set()
    several = sum(path.name.lower().endswith(OME) for path in paths) > 1
    for path in paths:
        if path in parts:
            logger.info("%s: a part of an image that is read already", path)
            continue
        found.append(path)
        if several and path.name.lower().endswith(OME):
            with suppress(Exception), tifffile.TiffFile(path) as file:  # what is damaged is said when it is read
                names = set(re.findall(r'FileName="([^"]+)"', file.ome_metadata or ""))
                if path.name in names:  # else it was renamed, and the others are of another image
                    parts.update(path.with_name(name) for name in names)
    return found


def tiff_facts(file: tifffile.TiffFile, path: Path) -> AxisFacts:
    """Return what an open file states about its first series: axes, pixel sizes, names of channels.

    Resolutions in inches, which programs write without a meaning, are not sizes of pixels.
    """
    names = file.series[0].axes
    for what in _other_meanings(file):
        _say_stored(path, what)  # of tifffile it would be absolute
    with suppress(ValueError, SyntaxError, TypeError, ArithmeticError):  # sizes that are damaged are not known
        if file.is_ome and file.ome_metadata:
            return _of_ome(names, file.ome_metadata)
        if file.is_imagej and file.imagej_metadata:
            return _of_imagej(names, file)
    return AxisFacts(names)


def _other_meanings(file: tifffile.TiffFile) -> Iterator[str]:
    """Yield what makes intensities of other numbers than those that a file stores."""
    first, metadata = file.pages.first, (file.is_imagej and file.imagej_metadata) or {}
    if first.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        yield "its zero is white (MinIsWhite)"
    colours = first.colormap
    if first.photometric == tifffile.PHOTOMETRIC.PALETTE and colours is not None:
        steps = np.diff(np.asarray(colours, float).sum(axis=0))
        if (steps < 0).any():  # unlike those of a lookup table, which show brightness
            yield "its numbers are those of the colours of a palette"
    ends = tuple(metadata.get(key, neutral) for key, neutral in (("c0", 0), ("c1", 1)))
    if "cf" in metadata and ends != (0, 1) and first.dtype is not None and first.dtype.kind == "u":
        yield f"ImageJ shows them as {ends[0]} + {ends[1]} x number (its calibration)"


@lru_cache
def _say_stored(path: Path, what: str) -> None:
    """Warn once of a file whose numbers may not be intensities."""
    logger.warning(
        "%s: %s, but its numbers are taken as intensities as they are stored: convert them if they are not",
        path,
        what,
    )


def _of_ome(names: str, text: str) -> AxisFacts:
    pixels = ElementTree.fromstring(text).find(".//{*}Pixels")
    if pixels is None:
        return AxisFacts(names)
    given = {axis: pixels.get(f"PhysicalSize{axis}") for axis in "XYZ"}
    stated = {
        axis: (float(value), pixels.get(f"PhysicalSize{axis}Unit", MICRON))
        for axis, value in given.items()
        if value is not None
    }
    sizes, unit = in_one_unit(stated)
    channels = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    return AxisFacts(names, sizes, unit, tuple(name for name in channels if name))


def _of_imagej(names: str, file: tifffile.TiffFile) -> AxisFacts:
    metadata = file.imagej_metadata or {}
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ")
    if unit.lower() in ("", "pixel", "pixels", "inch", "null"):
        return AxisFacts(names)
    sizes: dict[str, float] = {}
    for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
        given = file.pages.first.tags.get(tag)
        if given is not None and given.value[0]:
            sizes[axis] = given.value[1] / given.value[0]
    if metadata.get("spacing"):
        sizes["Z"] = float(metadata["spacing"])
    return AxisFacts(names, sizes, MICRON if unit.lower() in ("micron", "microns", "um", MICRON) else unit)


def _stack(series: tifffile.TiffPageSeries, path: Path) -> tuple[NDArray[Any], str]:
    """Return a series and its axes, the samples of a colour picture as an axis C before rows and columns."""
    try:
        stack = np.asarray(series.asarray())
    except (ValueError, ImportError) as error:
        if "imagecodecs" in str(error) or isinstance(error, ImportError):
            raise MissingExtraError(
                f"{path}: its compression needs imagecodecs ({one_line(error)}): "
                "run  pip install 'oasis-seg[tiff]'"
            ) from error
        raise
    names = series.axes
    if sum(axis in CHANNELS for axis in names) > 1:
        raise ValueError(f"its axes {names} state two kinds of channels: split the colours into channels")
    if "S" in names:
        place = names.index("S")
        rest = names.replace("S", "")
        return np.moveaxis(stack, place, -3), f"{rest[:-2]}C{rest[-2:]}"
    return stack, names
