"""Warps: rotation by any angle, zoom, shear, shift and elastic deformation of image and maps together.

The warped image has at pixel p the value at u(p). With the centre of the frame c, the affine warp is
u(p) = M⁻¹ (p - c - t) + c, the elastic warp is u(p) = p + d(p) with a smooth random d, and both together are the
elastic warp of the affine one, in a single interpolation. It is linear in the values, so that image - sum of
targets becomes the warped background and noise. Multiplied by `|det ∂u/∂p|`, it conserves the total of an object.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from oasis.data.instances import Instances, offsets_of
from oasis.data.samples import Array, Sample
from oasis.errors import ConfigError, DataError, import_extra
from oasis.options import Options

LARGEST_2D = 2**15 - 2  # pixels along an axis, of OpenCV's resampling
AT_ONCE = 16  # instances whose maps are in memory at a time
Conserve = Literal["intensity", "brightness"]
Grid = NDArray[np.float64]


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] <= bounds[1]:
        raise ValueError("expected two factors [low, high] with 0 < low <= high")
    return bounds


Factors = Annotated[tuple[float, float], AfterValidator(_rising)]


def draw_factors(bounds: Factors, rng: np.random.Generator, size: int | tuple[int, ...] = ()) -> Grid:
    """Draw log-uniformly between two bounds, so that 1/2 is as likely as 2.

    Example:
        >>> draw_factors((1.0, 1.0), np.random.default_rng(0), size=2)
        array([1., 1.])
    """
    low, high = bounds
    factors: Grid = np.exp(rng.uniform(math.log(low), math.log(high), size))
    return factors


class Affine(Options):
    """A random affine warp about the centre of the frame.

    Attributes:
        rotate: the largest rotation in degrees, either way; in 3D about a random axis.
        scale: bounds of the factor by which objects grow, drawn log-uniformly.
        shear: the largest shear in degrees of every axis along every other one, either way.
        shift: the largest shift in pixels along every axis, either way.
        probability: the probability that a sample is warped at all.
    """

    rotate: float = Field(0.0, ge=0, le=180)
    scale: Factors = (1.0, 1.0)
    shear: float = Field(0.0, ge=0, le=25)
    shift: float = Field(0.0, ge=0)
    probability: float = Field(1.0, ge=0, le=1)

    def draw(self, dims: int, rng: np.random.Generator) -> tuple[Grid, Grid]:
        """Return the matrix M (dims, dims) that acts on objects, and the shift t (dims,) in pixels.

        Example:
            >>> matrix, shift = Affine(scale=(2, 2)).draw(2, np.random.default_rng(0))
            >>> matrix.round(6).tolist(), shift.tolist()
            ([[2.0, 0.0], [0.0, 2.0]], [0.0, 0.0])
        """
        matrix = np.tan(np.deg2rad(rng.uniform(-self.shear, self.shear, (dims, dims))))
        np.fill_diagonal(matrix, 1)
        if self.rotate:
            angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate))
            one, two = np.linalg.qr(rng.standard_normal((dims, 2)))[0].T  # they span the plane of rotation
            across = np.outer(two, one) - np.outer(one, two)
            plane = np.outer(one, one) + np.outer(two, two)
            matrix = (np.eye(dims) + math.sin(angle) * across + (math.cos(angle) - 1) * plane) @ matrix
        return draw_factors(self.scale, rng) * matrix, rng.uniform(-self.shift, self.shift, dims)


class Elastic(Options):
    """A random smooth warp.

    The displacement along each axis is a periodic Gaussian random field with covariance size² exp(-r² / 2 length²)
    at distance r.

    Attributes:
        size: standard deviation of the displacement along each axis, in pixels; at most an eighth of `length`.
        length: the correlation length of the displacement, in pixels.
        probability: the probability that a sample is warped at all.
    """

    size: float = Field(gt=0)
    length: float = Field(gt=0)
    probability: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _no_folds(self) -> Self:
        if self.size > self.length / 8:  # then det ∂u/∂p is positive by more than 4 standard deviations in 3D
            raise ValueError("size must be at most length / 8, or the warp folds the image")
        return self

    def draw(self, shape: Sequence[int], rng: np.random.Generator) -> Grid:
        """Return the displacement d (dims, *S) in pixels.

        Example:
            >>> field = Elastic(size=2, length=20).draw((256, 256), np.random.default_rng(0))
            >>> field.shape, field.std().round()
            ((2, 256, 256), np.float64(2.0))
        """
        dims, axes = len(shape), tuple(range(1, len(shape) + 1))
        gains = [np.exp(-((math.pi * self.length * np.fft.fftfreq(n)) ** 2)) for n in shape]
        waves = np.fft.rfftn(rng.standard_normal((dims, *shape)), axes=axes)
        for axis, gain in zip(axes, gains, strict=True):
            unit = gain / math.sqrt(np.mean(gain**2))
            waves *= unit[: waves.shape[axis]].reshape(-1, *[1] * (dims - axis))
        field: Grid = self.size * np.fft.irfftn(waves, s=shape, axes=axes)
        return field


def check_warp(shape: Sequence[int], affine: Affine | None, elastic: Elastic | None) -> None:
    """Check that images of this spatial shape can be warped, and import the packages for it.

    Raises:
        ConfigError: a signal cannot be rotated or sheared.
        DataError: no warp for so many axes, for an axis of one pixel, or for images that are too large.
        MissingExtraError: albumentations (2D) or monai (3D) is not installed.

    Example:
        >>> check_warp((96,), Affine(rotate=5), None)
        Traceback (most recent call last):
            ...
        oasis.errors.ConfigError: augmentation.affine: images with one spatial axis can be scaled and shifted, ...
    """
    if affine is None and elastic is None:
        return
    if len(shape) > 3 or min(shape) < 2:
        raise DataError(
            f"augmentation: images of {' x '.join(map(str, shape))} pixels cannot be warped, expected 1 to 3 axes "
            "of 2 or more pixels: leave out affine and elastic"
        )
    if len(shape) == 1 and affine is not None and (affine.rotate or affine.shear):
        raise ConfigError(
            "augmentation.affine: images with one spatial axis can be scaled and shifted, not rotated or sheared: "
            "leave out rotate and shear"
        )
    if len(shape) == 2 and max(shape) > LARGEST_2D:
        raise DataError(
            f"augmentation: images of {' x '.join(map(str, shape))} pixels are too large to be warped, expected "
            f"at most {LARGEST_2D:,} along an axis: leave out affine and elastic, or train on parts of the images"
        )
    if len(shape) == 2:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no look-up of newer versions
        import_extra("albumentations", "augment")
    elif len(shape) == 3:
        import_extra("monai", "augment")


def warp(
    sample: Sample,
    rng: np.random.Generator,
    affine: Affine | None = None,
    elastic: Elastic | None = None,
    conserve: Conserve = "intensity",
) -> Sample:
    """Return the sample warped at random: image, target, valid and context in one linear interpolation.

    Pixels from outside the frame are 0 and not valid; a pixel is valid if it is interpolated from valid pixels
    only. `meta` is unchanged: quantities that depend on direction, size or position become wrong. Instances are
    warped one by one like the target, so that they still add up to it up to rounding; one that leaves the frame is
    left out.

    Args:
        sample: with 1, 2 (through albumentations) or 3 (through MONAI) spatial axes.
        rng: the generator of all random numbers.
        affine: the affine warp, or None.
        elastic: the elastic warp, or None.
        conserve: `"intensity"` conserves the total of an object, `"brightness"` its values per pixel.

    Raises:
        OasisError: as for `check_warp`.

    Example:
        >>> image = np.zeros((1, 32), np.float32)
        >>> image[0, 15:17] = 3
        >>> sample = Sample(image, image[None], np.ones((1, 32), bool))
        >>> twice = warp(sample, np.random.default_rng(0), Affine(scale=(2, 2)))
        >>> twice.image[0, 12:20].round(3), float(twice.image.sum())
        (array([0.   , 0.375, 1.125, 1.5  , 1.5  , 1.125, 0.375, 0.   ], dtype=float32), 6.0)
    """
    shape = sample.image.shape[1:]
    check_warp(shape, affine, elastic)
    affine = affine if affine is not None and rng.random() < affine.probability else None
    elastic = elastic if elastic is not None and rng.random() < elastic.probability else None
    if affine is None and elastic is None:
        return sample
    sources, density = _sources(shape, rng, affine, elastic)
    parts = [sample.image, sample.target.reshape(-1, *shape), sample.valid]
    if sample.context is not None:
        parts.append(sample.context)
    stack = np.concatenate(parts, dtype=np.float32)
    stack[~(sample.valid | np.isfinite(stack))] = 0  # NaN times a weight of 0 would spread
    resample = (_resample_1d, _resample_2d, _resample_3d)[len(shape) - 1]
    warped = resample(stack, sources)
    gain = density if conserve == "intensity" else np.float32(1)
    warped[: sum(map(len, parts[:2]))] *= gain
    instances = sample.changed_instances(lambda found: _warped(found, lambda maps: resample(maps, sources) * gain))
    return _divided(warped, sample).replace(instances=instances)


def _divided(warped: Array, sample: Sample) -> Sample:
    """Return a sample with its arrays replaced by those of a stack."""
    lengths = [len(sample.image), sample.target.shape[0] * sample.target.shape[1], 1]
    image, target, valid, context = np.split(warped, np.cumsum(lengths))
    return sample.replace(
        image=image,
        target=target.reshape(sample.target.shape),
        valid=valid >= 0.999,
        context=None if sample.context is None else context,
    )


def _warped(instances: Instances, change: Callable[[Array], Array]) -> Instances:
    """Return the instances with changed maps (bands, *S), a few at a time."""
    pixels, values = [], []
    for first in range(0, len(instances), AT_ONCE):
        chosen = range(first, min(first + AT_ONCE, len(instances)))
        maps = change(np.concatenate([instances.dense(index) for index in chosen]))
        for one in maps.reshape(len(chosen), -1):
            pixels.append(np.flatnonzero(one))
            values.append(one[pixels[-1]])
    counts = np.array([len(each) for each in pixels])
    empty = np.empty(0, instances.pixels.dtype)
    changed = replace(
        instances,
        offsets=offsets_of(counts),
        pixels=np.concatenate([empty, *pixels]).astype(instances.pixels.dtype),
        values=np.concatenate([np.empty(0, np.float32), *values]),
    )
    return changed.select(counts > 0)


def _sources(
    shape: Sequence[int], rng: np.random.Generator, affine: Affine | None, elastic: Elastic | None
) -> tuple[Grid, NDArray[np.float32]]:
    """Return the source u (dims, *S) of every pixel, in pixels from the centre of the frame, and |det ∂u/∂p|."""
    dims = len(shape)
    offsets = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"))
    density: Grid = np.ones((1,) * dims)
    if elastic is not None:
        shifts = elastic.draw(shape, rng)
        slopes = np.array([[np.gradient(one, axis=axis) for axis in range(dims)] for one in shifts])
        density = np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(dims))
        offsets += shifts
    if affine is not None:
        matrix, shift = affine.draw(dims, rng)
        offsets = np.tensordot(np.linalg.inv(matrix), offsets - shift.reshape(-1, *[1] * dims), 1)
        density = density / np.linalg.det(matrix)
    return offsets, np.abs(density).astype(np.float32)


def _resample_1d(stack: Array, sources: Grid) -> Array:
    count = stack.shape[1]
    pixels = np.arange(count) - (count - 1) / 2
    return np.stack([np.interp(sources[0], pixels, one, left=0, right=0) for one in stack]).astype(np.float32)


def _resample_2d(stack: Array, sources: Grid) -> Array:
    transform = import_extra("albumentations", "augment").ElasticTransform()  # linear, 0 outside
    height, width = stack.shape[1:]
    rows, columns = sources[0] + (height - 1) / 2, sources[1] + (width - 1) / 2
    warped = transform.apply(np.ascontiguousarray(np.moveaxis(stack, 0, -1)), map_x=columns, map_y=rows)
    return np.ascontiguousarray(np.moveaxis(warped, -1, 0))


def _resample_3d(stack: Array, sources: Grid) -> Array:
    resample = import_extra("monai", "augment").transforms.Resample(mode="bilinear", padding_mode="zeros")
    warped: Array = resample(torch.from_numpy(stack), grid=torch.from_numpy(sources)).numpy()
    return warped
