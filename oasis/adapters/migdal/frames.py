"""Measured camera frames of the MIGDAL TPC: reading, finding tracks, extracting nuclear recoils."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from oasis.adapters.migdal.detector import Array, Detector
from oasis.data.components import Component, Components
from oasis.errors import DataError
from oasis.io.arrays import read_array

SIGMA_ADU = 7.6
"""Camera noise of a smoothed image, ADU per pixel."""

DENSE_ADU, BRIGHT_ADU = 400.0, 40_000.0
"""Minimum brightest pixel and sum of a nuclear recoil, ADU.

The brightest pixel of about 70 electrons in 66 measured frames has 208 ADU. 40,000 ADU is the light of 13 keV at
the centre of the field: an electron of that energy is long and faint.
"""

SLOPE = 0.26
"""Steepest step between rows that optics and smoothing allow, as a fraction of the brightest pixel.

A blur of sigma s = 2.3 pixels turns the sharpest edge of a line into 0.607/s. Rolling-shutter cuts are steeper
(0.29-0.36 in measured frames), whole tracks are not (0.15-0.23).
"""

Vertex = Callable[[NDArray[np.intp], Array], NDArray[np.intp]]


def read_frames(
    path: str | Path, *, dark: str | Path | None = None, key: str | None = None, detector: Detector | None = None
) -> Array:
    """Read frames from `.npz`, `.npy`, HDF5 or TIFF; raw ones are binned and smoothed.

    Args:
        path: the file. Frames are (n, 288, 512) in ADU, or raw from the camera (n, 1152, 2048); the axis n may be
            missing.
        dark: a file with the camera's dark frame, or several to average; only for raw frames.
        key: the array of an `.npz` or HDF5 file; by default `adu`, or the only one.
        detector: defines the shape and the processing of raw frames.

    Returns:
        (n, 288, 512) float32, ADU.

    Raises:
        DataError: the file is missing, damaged, or does not contain frames.
    """
    detector = detector or Detector()
    height, width = detector.shape
    raw_shape = (height * detector.binning, width * detector.binning)
    frames = _load(Path(path), key)
    if frames.shape[1:] == detector.shape:
        if dark is not None:
            raise DataError(f"{path}: the frames are binned already: no dark frame can be subtracted")
        return frames.astype(np.float32, copy=False)
    if frames.shape[1:] != raw_shape:
        raise DataError(
            f"{path}: frames of shape {frames.shape[1:]}, expected {detector.shape}, "
            f"or {raw_shape} as written by the camera"
        )
    return detector.preprocess(frames, None if dark is None else _read_dark(Path(dark), raw_shape))


def find_blobs(
    frames: NDArray[np.floating],
    *,
    sigma: float = SIGMA_ADU,
    nsigma: float = 3.0,
    seed: float = 5.0,
    min_pixels: int = 15,
    grow: int = 2,
) -> NDArray[np.int32]:
    """Return the labels of connected groups of pixels above the noise, frame by frame.

    A blob is 8-connected above `nsigma` sigma, has at least `min_pixels` pixels and one above `seed` sigma; then
    it is grown.

    Args:
        frames: (..., H, W) ADU.
        sigma: camera noise, ADU.
        nsigma: threshold of the pixels of a blob, in sigma.
        seed: threshold of its brightest pixel, in sigma.
        min_pixels: its minimum size before growing.
        grow: pixels added on every side, for the light below the noise.

    Returns:
        (..., H, W) labels: 0 for none, then 1, 2, ... through all frames.

    Example:
        >>> image = np.zeros((40, 40))
        >>> image[10:15, 10:15] = 50
        >>> int((find_blobs(image) == 1).sum())
        81
    """
    structure = np.zeros((3,) * frames.ndim, bool)
    structure[(1,) * (frames.ndim - 2)] = True
    labels, _ = ndimage.label(frames > nsigma * sigma, structure)
    sizes = np.bincount(labels.ravel())
    seeded = np.zeros(len(sizes), bool)
    seeded[labels[frames > seed * sigma]] = True
    keep = seeded & (sizes >= min_pixels)
    keep[0] = False
    labels = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    around = ndimage.maximum_filter(labels, size=(1,) * (frames.ndim - 2) + (2 * grow + 1,) * 2)
    return np.asarray(np.where(labels > 0, labels, around), np.int32)


def nuclear_blob(
    image: NDArray[np.floating],
    *,
    sigma: float = SIGMA_ADU,
    nsigma: float = 3.0,
    seed: float = 5.0,
    min_pixels: int = 15,
    grow: int = 2,
) -> NDArray[np.bool_]:
    """Return the mask of the tracks of an image, (..., H, W) bool: the blobs of `find_blobs`.

    For an image of a single nuclear recoil this is the recoil without pixels of pure noise.

    Example:
        >>> image = np.zeros((40, 40))
        >>> image[10:15, 10:15], image[30, 30] = 50, 50
        >>> mask = nuclear_blob(image, grow=0)
        >>> int(mask.sum()), bool(mask[30, 30])
        (25, False)
    """
    return find_blobs(image, sigma=sigma, nsigma=nsigma, seed=seed, min_pixels=min_pixels, grow=grow) > 0


def find_tracks(frames: Array, labels: NDArray[np.int32] | None = None) -> pd.DataFrame:
    """Return the properties of the blobs of frames, one row each, in the order of their labels.

    Args:
        frames: (n, H, W) ADU.
        labels: (n, H, W), by default those of `find_blobs(frames)`.

    Returns:
        `frame`; `rowmin`, `rowmax`, `colmin`, `colmax` (inclusive); `pixels`; `adu` (sum) and `peak`; `major` and
        `minor`, the rms along the principal axes in pixels; `slope`, the steepest step between rows over the peak;
        `fiducial`, not touching the border of the field; `recoil`, a complete nuclear recoil: fiducial, not cut by
        the rolling shutter, dense and bright.

    Example:
        >>> frames = np.zeros((1, 40, 40), np.float32)
        >>> frames[0, 10:15, 10:20] = 50
        >>> find_tracks(frames)[["rowmin", "rowmax", "pixels", "adu", "peak"]].values.tolist()
        [[8.0, 16.0, 126.0, 2500.0, 50.0]]
    """
    labels = find_blobs(frames) if labels is None else labels
    frame, row, col, starts = _sorted_pixels(labels)
    adu = frames[frame, row, col].astype(np.float64)
    peak = np.maximum.reduceat(adu, starts)
    steps = np.abs(np.diff(frames, axis=1, prepend=frames[:, :1]))[frame, row, col]
    major, minor = _principal_rms(row, col, adu, starts)
    table = pd.DataFrame(
        {
            "frame": frame[starts],
            "rowmin": np.minimum.reduceat(row, starts),
            "rowmax": np.maximum.reduceat(row, starts),
            "colmin": np.minimum.reduceat(col, starts),
            "colmax": np.maximum.reduceat(col, starts),
            "pixels": np.diff(starts, append=len(row)),
            "adu": np.add.reduceat(adu, starts),
            "peak": peak,
            "major": major,
            "minor": minor,
            "slope": np.maximum.reduceat(steps, starts) / peak,
        }
    )
    height, width = frames.shape[1:]
    first, last = table[["rowmin", "colmin"]], table[["rowmax", "colmax"]]
    table["fiducial"] = (first > 1).all(axis=1) & (last < (height - 2, width - 2)).all(axis=1)
    dense = (table["peak"] >= DENSE_ADU) & (table["adu"] >= BRIGHT_ADU)
    table["recoil"] = table["fiducial"] & dense & (table["slope"] <= SLOPE)
    return table


def track_boxes(image: Array) -> list[tuple[slice, ...]]:
    """Return the boxes of the tracks of an image (H, W), as `find_tracks` finds them; boxes that overlap are one.

    Four pixels all round are added, for the light below the noise.

    Example:
        >>> image = np.zeros((80, 80), np.float32)
        >>> image[10:15, 10:15], image[50:53, 20:60] = 50, 50
        >>> track_boxes(image)
        [(slice(6, 19, None), slice(6, 19, None)), (slice(46, 57, None), slice(16, 64, None))]
    """
    boxes: list[tuple[slice, ...]] = []
    for box in ndimage.find_objects(find_blobs(image, grow=4)):
        merged = box
        while touching := [other for other in boxes if _overlap(merged, other)]:
            boxes = [other for other in boxes if other not in touching]
            sides = zip(merged, *touching, strict=True)
            merged = tuple(slice(min(one.start for one in side), max(one.stop for one in side)) for side in sides)
        boxes.append(merged)
    return sorted(boxes, key=lambda box: [side.start for side in box])


def boxes_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether a pixel (H, W) lies in the box of any connected part of a mask.

    Example:
        >>> boxes_of(np.array([[1, 0, 0, 0], [0, 1, 0, 1]], bool)).astype(int)
        array([[1, 1, 0, 0],
               [1, 1, 0, 1]])
    """
    found = np.zeros_like(mask)
    for box in ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0]):
        found[box] = True
    return found


def _overlap(one: tuple[slice, ...], other: tuple[slice, ...]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def restore_noise(
    frames: Array, rng: np.random.Generator, *, floor: float = 24.0, detector: Detector | None = None
) -> Array:
    """Return frames whose pixels of 0, suppressed below `floor`, are filled with camera noise; negatives stay 0.

    For frames that were saved only above a threshold. Their other pixels, including noise above the threshold, are
    unchanged, so that the noise of the result is that of an unsuppressed frame.

    Args:
        frames: (n, 288, 512) ADU.
        rng: the generator of the noise.
        floor: the threshold of suppression, ADU; no restored pixel exceeds it.
        detector: defines the noise.

    Example:
        >>> frames = np.zeros((1, 288, 512), np.float32)
        >>> frames[0, 100, 100] = 80
        >>> restored = restore_noise(frames, np.random.default_rng(0))
        >>> float(restored[0, 100, 100]), bool(restored[0, 0].any())
        (80.0, True)
    """
    detector = detector or Detector()
    restored = [
        np.where(frame > 0, frame, np.clip(detector.noise(rng, detector.field), 0, floor)) for frame in frames
    ]
    return np.asarray(restored, np.float32).reshape(frames.shape)


def brightest_pixel(points: NDArray[np.intp], adu: Array) -> NDArray[np.intp]:
    """Return the brightest of the pixels (n, 2), the vertex in the Migdal search.

    Example:
        >>> brightest_pixel(np.array([[5, 5], [5, 6]]), np.array([1, 3], np.float32)).tolist()
        [5, 6]
    """
    return np.asarray(points[np.argmax(adu)])


def brighter_end(points: NDArray[np.intp], adu: Array) -> NDArray[np.intp]:
    """Return the pixel (2,) at the brighter end of a track.

    A nuclear recoil loses more energy at its start: of a 50-700 keV recoil in CF4 the first half contains 58-63 %
    of the charge. The end is where the principal axis passes 5 % of the light, on the side nearer to the mean.

    Example:
        >>> points, adu = np.stack([np.zeros(41, int), np.arange(41)], 1), np.linspace(2, 1, 41, dtype=np.float32)
        >>> brighter_end(points, adu).tolist()
        [0, 1]
    """
    mean = np.average(points, axis=0, weights=adu)
    offset = points - mean
    _, axes = np.linalg.eigh(np.cov(offset.T, aweights=adu))
    along = offset @ axes[:, -1]
    order = np.argsort(along)
    light = np.cumsum(adu[order]) / adu.sum()
    first, last = along[order][np.searchsorted(light, (0.05, 0.95))]
    end = first if -first < last else last
    return np.asarray(np.rint(mean + end * axes[:, -1]), np.intp)


def recoil_components(frames: Array, vertex: Vertex = brightest_pixel) -> Components:
    """Return the complete nuclear recoils of measured frames, to be placed elsewhere and overlaid with electrons.

    Args:
        frames: (n, 288, 512) ADU.
        vertex: finds the vertex of a recoil among its pixels: `brightest_pixel` (as in the Migdal search) or
            `brighter_end`; the true vertex of a measured recoil is unknown.

    Returns:
        One component per recoil: the rows and columns of its pixels relative to the vertex, and their ADU,
        including noise. Its quantities are `adu`, `frame`, and `row` and `col` of the vertex.

    Raises:
        DataError: the frames contain no such recoil.
    """
    labels = find_blobs(frames)
    table = find_tracks(frames, labels)
    frame, row, col, starts = _sorted_pixels(labels)
    stops = np.append(starts[1:], len(row))
    components = []
    for index in np.flatnonzero(table["recoil"].to_numpy(bool)):
        part = slice(starts[index], stops[index])
        points, adu = np.stack([row[part], col[part]], axis=1), frames[frame[part], row[part], col[part]]
        points, adu = points[adu > 0], adu[adu > 0]
        origin = vertex(points, adu)
        meta = {
            "adu": float(adu.sum()),
            "frame": float(frame[part][0]),
            "row": float(origin[0]),
            "col": float(origin[1]),
        }
        components.append(Component((points - origin).astype(np.float32), adu.astype(np.float32), meta))
    if not components:
        raise DataError(
            f"no complete nuclear recoil in {len(frames)} frames with {len(table)} tracks: expected one not "
            f"touching the border, with a pixel of {DENSE_ADU:g} ADU or more and {BRIGHT_ADU:g} ADU in all"
        )
    return Components.pack(components)


def _sorted_pixels(labels: NDArray[np.int32]) -> tuple[NDArray[np.intp], ...]:
    """Return frame, row and column of all labelled pixels, sorted by label, and the start of each label."""
    where = np.flatnonzero(labels)
    value = labels.ravel()[where]
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.diff(value[order], prepend=0))
    return *np.unravel_index(where[order], labels.shape), starts


def _principal_rms(
    row: NDArray[np.intp], col: NDArray[np.intp], adu: NDArray[np.float64], starts: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the light-weighted rms along the long and the short axis of each group of pixels."""

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(adu * values, starts) / np.add.reduceat(adu, starts))

    rr, cc = mean(row**2) - mean(row) ** 2, mean(col**2) - mean(col) ** 2
    middle, half = (rr + cc) / 2, np.hypot((rr - cc) / 2, mean(row * col) - mean(row) * mean(col))
    return np.sqrt(middle + half), np.sqrt(np.maximum(middle - half, 0))


def _load(path: Path, key: str | None) -> NDArray[Any]:
    """Read (n, rows, columns) finite numbers from any supported file."""
    frames = read_array(path, key)
    frames = frames[None] if frames.ndim == 2 else frames
    if frames.ndim != 3:
        raise DataError(f"{path}: contains an array of shape {frames.shape}, expected (frames, rows, columns)")
    finite = np.isfinite(frames).all(axis=(1, 2)) if frames.dtype.kind == "f" else np.ones(len(frames), bool)
    if not finite.all():
        raise DataError(f"{path}: frame {np.argmin(finite)} contains values that are not finite, expected ADU")
    return frames


def _read_dark(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    dark = _load(path, None)
    if dark.shape[1:] != shape:
        raise DataError(
            f"{path}: a dark frame of shape {dark.shape[1:]}, expected {shape} as that of the raw frames"
        )
    return np.asarray(dark.mean(0))
