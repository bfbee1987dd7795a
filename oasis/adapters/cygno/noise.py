"""Noise of the camera: simulated pixels with tails.

Gaussian noise alone makes a threshold look perfect. What it has to survive are pixels that are noisier than others
(hot), pixels that jump between two levels (random telegraph signals), some of which were quiet while the pedestal
was taken, and noise that all pixels of a row share.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.options import Rising
from oasis.options import Options

Array = NDArray[np.float32]
Shape = tuple[int, int]

STOCK = 2**21  # pixels of the sensor of training images, some 130 windows of 128 x 128
SMALL = 16  # windows that a sensor has room for, at least
FEWEST_FRAMES = 2  # of a pedestal run: one frame has no rms

Factor = Annotated[float, Field(ge=1, le=1e3)]
Jump = Annotated[float, Field(ge=0, le=1e4)]
Duty = Annotated[float, Field(gt=0, le=1)]


class PixelNoise(ABC):
    """The noise of the pixels of a window, after the pedestal was subtracted.

    Attributes:
        rms: (H, W) counts, as the pedestal run measured it.
    """

    rms: Array

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Array:
        """Return the noise of one frame (H, W), counts."""


class Noise(ABC):
    """The noise of a camera."""

    @abstractmethod
    def pixels(self, key: int, shape: Shape) -> PixelNoise:
        """Return the pixels of a window; the key says which."""


class NoiseOptions(Options):
    """The options of simulated noise.

    Attributes:
        rms: mean rms of a pixel, counts.
        spread: relative standard deviation of the rms from pixel to pixel.
        hot: fraction of hot pixels.
        hot_factor: range of their rms, in units of that of others.
        telegraph: fraction of pixels that jump between two levels.
        telegraph_counts: range of the height of their jump, counts; half of them jump down.
        telegraph_duty: range of the share of frames in which one is on its other level, uniform in the logarithm.
        row: rms of the noise that the pixels of a row share, counts.
        frames: frames of the pedestal run from which mean and rms of each pixel are known.

    Example:
        >>> noise = SyntheticNoise(NoiseOptions()).pixels(7, (64, 64))
        >>> noise.draw(np.random.default_rng(0)).shape, bool(2.1 < np.median(noise.rms) < 2.5)
        ((64, 64), True)
    """

    rms: float = Field(2.3, gt=0, le=1e4)
    spread: float = Field(0.13, gt=0, le=1)
    hot: float = Field(0.003, ge=0, le=1)
    hot_factor: Annotated[tuple[Factor, Factor], Rising] = (2.0, 8.0)
    telegraph: float = Field(0.001, ge=0, le=1)
    telegraph_counts: Annotated[tuple[Jump, Jump], Rising] = (10.0, 50.0)
    telegraph_duty: Annotated[tuple[Duty, Duty], Rising] = (0.005, 0.5)
    row: float = Field(0.15, ge=0, le=1e4)
    frames: int = Field(100, ge=FEWEST_FRAMES, le=100_000)


class SyntheticNoise(Noise):
    """Simulated noise, with new pixels for every key, or pixels of a sensor that is simulated once.

    Args:
        options: what the pixels are like.
        stock: the number of pixels of the sensor, in which a window begins anywhere; windows that are not small
            compared with it, or all if it is 0, have new pixels.
    """

    def __init__(self, options: NoiseOptions, stock: int = 0) -> None:
        self.options, self.stock = options, stock

    def pixels(self, key: int, shape: Shape) -> "SyntheticPixels":
        """Return the pixels of a window, and what a pedestal run measured of them."""
        shape = (int(shape[0]), int(shape[1]))
        rest = self.stock - shape[0] * shape[1] + 1
        if shape[0] * shape[1] * SMALL > self.stock:
            return _synthetic(self.options, key, shape)
        return _sensor(self.options, self.stock).window(key % rest, shape)


@dataclass(frozen=True)
class SyntheticPixels(PixelNoise):
    """Simulated pixels.

    Attributes:
        rms: (H, W) as measured.
        sigma: (H, W) the true rms of the Gaussian part.
        level: (H, W) the true mean, between -0.5 and 0.5 counts: it decides how values are rounded.
        mean: (H, W) the measured mean, which is subtracted.
        places: (k,) flat index of the pixels that jump.
        jump: (k,) counts.
        duty: (k,) the probability that they have jumped.
        row: rms of the noise of rows, counts.
    """

    rms: Array
    sigma: NDArray[np.floating]
    level: NDArray[np.floating]
    mean: NDArray[np.floating]
    places: NDArray[np.intp]
    jump: NDArray[np.float64]
    duty: NDArray[np.float64]
    row: float

    def draw(self, rng: np.random.Generator) -> Array:
        """Return the noise of one frame; raw counts are integers."""
        values = rng.standard_normal(self.sigma.shape, np.float32) * self.sigma + self.level
        values += self.row * rng.standard_normal((len(values), 1))
        values.flat[self.places] += np.where(rng.random(len(self.places)) < self.duty, self.jump, 0)
        return np.asarray(np.rint(values) - self.mean, np.float32)

    def window(self, first: int, shape: Shape) -> "SyntheticPixels":
        """Return as many pixels as a window has, from one of these on."""
        end = first + shape[0] * shape[1]
        some = slice(*np.searchsorted(self.places, (first, end)))
        rms, sigma, level, mean = (
            one.ravel()[first:end].reshape(shape) for one in (self.rms, self.sigma, self.level, self.mean)
        )
        return SyntheticPixels(
            rms, sigma, level, mean, self.places[some] - first, self.jump[some], self.duty[some], self.row
        )


@lru_cache(maxsize=2)
def _sensor(options: NoiseOptions, pixels: int) -> SyntheticPixels:
    """Return a row of pixels in single precision, which takes half of the memory."""
    made = _synthetic.__wrapped__(options, 0, (1, pixels))
    sigma, level, mean = (one.astype(np.float32) for one in (made.sigma, made.level, made.mean))
    return replace(made, sigma=sigma, level=level, mean=mean)


@lru_cache(maxsize=1)  # the image and the context of a sample ask for the same window
def _synthetic(options: NoiseOptions, key: int, shape: Shape) -> SyntheticPixels:
    """Return simulated pixels, and what a pedestal run measured of them."""
    rng = np.random.default_rng(key)
    rms = rng.gamma(options.spread**-2, options.rms * options.spread**2, shape)
    hot = rng.random(shape) < options.hot
    rms[hot] *= rng.uniform(*options.hot_factor, int(hot.sum()))
    places = np.flatnonzero(rng.random(shape) < options.telegraph)
    jump = rng.uniform(*options.telegraph_counts, len(places)) * rng.choice([-1.0, 1.0], len(places))
    low, high = np.log(options.telegraph_duty)
    duty = np.exp(rng.uniform(low, high, len(places)))
    seen = rng.binomial(options.frames, duty) / options.frames  # in the pedestal run
    level = rng.uniform(-0.5, 0.5, shape)
    mean = level + rng.standard_normal(shape) * rms / np.sqrt(options.frames)
    variance = (rms**2 + options.row**2 + 1 / 12) * rng.chisquare(options.frames - 1, shape)
    variance /= options.frames - 1
    mean.flat[places] += jump * seen
    variance.flat[places] += jump**2 * seen * (1 - seen)
    measured = np.sqrt(variance).astype(np.float32)
    return SyntheticPixels(measured, rms, level, mean, places, jump, duty, options.row)
