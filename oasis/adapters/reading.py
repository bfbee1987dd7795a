"""Reading: conversion of arrays of measured images to the axes of a domain."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.io.arrays import as_image_array
from oasis.io.axes import SPATIAL
from oasis.stats.robust import finite_sample, median_and_noise

logger = logging.getLogger(__name__)

SATURATED: Final = 1e-3  # share of the largest value of a type above which images are said to be saturated
TOGETHER: Final = 8  # pairs of neighbours with it, unlike single hot pixels, above which they are too
MEASURED: Final = 2**22  # values of which level and noise are measured


def as_images(raw: NDArray[Any], bands: int, spatial_dims: int, dark: NDArray[Any] | None = None) -> Array:
    """Return an array as images (n, B, *S), minus a dark frame.

    Args:
        raw: (n, B, *S); the axes n and B may be missing if they are 1.
        bands: number B of bands.
        spatial_dims: number of spatial axes.
        dark: a dark frame to subtract, of the shape of one image.

    Raises:
        DataError: the array has another shape, such as a colour picture for a domain of one band.

    Example:
        >>> as_images(np.ones((5, 24, 20)), bands=1, spatial_dims=2).shape
        (5, 1, 24, 20)
    """
    shape = images_shape(raw.shape, bands, spatial_dims)
    images = as_image_array(raw).reshape(shape)
    if dark is None:
        return images
    dark = as_image_array(dark, "the dark frame")
    if not np.isfinite(dark).all():
        wrong = int((~np.isfinite(dark)).sum())
        raise DataError(f"the dark frame has {wrong} pixels that are NaN or infinite: replace them")
    if dark.shape not in (images.shape[1:], images.shape[2:]):
        raise DataError(f"the dark frame has shape {dark.shape}, an image {images.shape[1:]}")
    return images - dark


def leading_axes(axes: int, bands: int, spatial_dims: int) -> tuple[bool, bool]:
    """Return whether an array of images has an axis of images, and one of bands; those of length 1 may be missing.

    Args:
        axes: number of axes of the array.
        bands: number of bands.
        spatial_dims: number of spatial axes.

    Example:
        >>> leading_axes(3, bands=1, spatial_dims=2), leading_axes(3, bands=4, spatial_dims=2)
        ((True, False), (False, True))
    """
    lead = axes - spatial_dims
    has_bands = lead > 0 and (bands > 1 or lead == 2)
    return lead - has_bands > 0, has_bands


def images_shape(shape: Sequence[int], bands: int, spatial_dims: int) -> tuple[int, ...]:
    """Return the shape (n, B, *S) that an array has as images.

    Args:
        shape: (n, B, *S), or without the axes n and B where they are 1.
        bands: B.
        spatial_dims: how many spatial axes there are.

    Raises:
        DataError: another shape, such as that of a colour picture for a domain of one band.

    Example:
        >>> images_shape((5, 24, 20), bands=1, spatial_dims=2)
        (5, 1, 24, 20)
    """
    shape = tuple(shape)
    _check_colours(shape, bands, spatial_dims)
    lead, spatial = shape[: len(shape) - spatial_dims], shape[len(shape) - spatial_dims :]
    if bands == 1 and len(lead) <= 1:
        lead = (*lead, 1)
    if len(lead) == 1:
        lead = (1, *lead)
    if len(shape) < spatial_dims or len(lead) != 2 or lead[1] != bands:
        text = (
            f"an array of shape {shape} does not contain images of {bands} bands and {spatial_dims} spatial axes"
        )
        if len(shape) == spatial_dims + 1 and shape[-1] == bands:
            text += f": if its last axis is the bands, say so with data.axes (--axes {SPATIAL[-spatial_dims:]}C)"
        raise DataError(text)
    return (*lead, *spatial)


def say_saturated(path: Path, raw: NDArray[Any]) -> bool:
    """Warn of measured values of which many are the largest of their type, and return whether they are.

    Example:
        >>> [say_saturated(Path("a.npy"), np.full(4, 255, kind)) for kind in ("u2", "f4")]
        [False, False]
    """
    if raw.dtype.kind != "u" or not raw.size:
        return False
    largest = np.iinfo(raw.dtype).max
    full = raw == largest
    share = np.count_nonzero(full) / raw.size
    if share < SATURATED and np.count_nonzero(full[..., 1:] & full[..., :-1]) < TOGETHER:
        return False
    logger.warning(
        "%s: %.3g %% of the values are %d, the largest of %s, so that these pixels are probably saturated",
        path,
        100 * share,
        largest,
        raw.dtype.name,
    )
    return True


def level_and_noise(values: NDArray[Any]) -> tuple[float, float]:
    """Return the median of finite pixels and the standard deviation of their noise, from medians; NaN without any.

    Example:
        >>> level, noise = level_and_noise(np.random.default_rng(0).normal(5, 2, 10_000))
        >>> round(level, 1), round(noise, 1)
        (5.0, 2.0)
    """
    pixels = finite_sample(values, MEASURED)
    if not pixels.size:
        return float("nan"), float("nan")
    level, noise = median_and_noise(pixels)
    return float(level), float(noise)


def _check_colours(shape: tuple[int, ...], bands: int, spatial_dims: int) -> None:
    """Check that a last axis of length 2 to 4 is not one of colours or columns, read as many narrow images.

    Raises:
        DataError: it seems to be one.
    """
    colours = len(shape) == spatial_dims + 1 and shape[-1] in (2, 3, 4) and all(n > 4 for n in shape[:-1])
    if colours and spatial_dims == 1:
        raise DataError(
            f"an array of shape {shape} looks like a table of {shape[-1]} columns, but every row is a signal: "
            "choose a column (--key), call the first one time, or write one signal per row"
        )
    if bands == 1 and colours:
        raise DataError(
            f"an array of shape {shape} looks like one image of {shape[-1]} colours or channels, but images of "
            "this domain have 1 band: choose a channel, or if the last axis is one of images, state the axes "
            f"(--axes {SPATIAL[-spatial_dims:]}I)"
        )
