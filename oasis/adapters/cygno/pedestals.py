"""Noise of a measured pedestal run: of its frames, or of a map of the rms of its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.cygno.noise import FEWEST_FRAMES, Array, Noise, PixelNoise, Shape
from oasis.errors import DataError


class MeasuredNoise(Noise):
    """The noise of a pedestal run, at random places of the sensor.

    Args:
        frames: (n, H, W) frames from which noise is drawn, counts.
        mean: (H, W) the pedestal, which is subtracted.
        rms: (H, W) its rms.
        whole: draw whole frames, which keep the correlations of pixels; by default each pixel is drawn from its
            own frames independently, which gives more frames than were taken.

    Raises:
        DataError: the sizes differ.
    """

    def __init__(self, frames: NDArray[Any], mean: Array, rms: Array, whole: bool = False) -> None:
        if frames.ndim != 3 or frames.shape[1:] != mean.shape or mean.shape != rms.shape:
            raise DataError(
                f"a pedestal of {mean.shape} pixels with an rms of {rms.shape} does not fit frames of shape "
                f"{frames.shape}: expected (frames, rows, columns) of the same sensor"
            )
        self.frames, self.mean, self.rms, self.whole = frames, mean, rms, whole

    def pixels(self, key: int, shape: Shape) -> "MeasuredPixels":
        """Return a random window of the sensor.

        Raises:
            DataError: the sensor is smaller than the window.
        """
        window = _window(key, shape, self.mean.shape)
        return MeasuredPixels(self.rms[window], self.frames[:, *window], self.mean[window], self.whole)


@dataclass(frozen=True)
class MeasuredPixels(PixelNoise):
    """A window of measured frames (n, H, W), with the mean (H, W) that is subtracted."""

    rms: Array
    frames: NDArray[Any]
    mean: Array
    whole: bool

    def draw(self, rng: np.random.Generator) -> Array:
        """Return one of the frames, or in each pixel the value of a random one."""
        if self.whole:
            chosen = self.frames[rng.integers(len(self.frames))]
        else:
            pick = rng.integers(len(self.frames), size=(1, *self.mean.shape))
            chosen = np.take_along_axis(self.frames, pick, axis=0)[0]
        return np.asarray(np.asarray(chosen, np.float64) - self.mean, np.float32)


class MapNoise(Noise):
    """Gaussian noise of the pixels of a sensor, of which only the rms is known.

    Args:
        rms: (H, W) counts.
    """

    def __init__(self, rms: Array) -> None:
        self.rms = rms

    def pixels(self, key: int, shape: Shape) -> "MapPixels":
        """Return a random window of the sensor.

        Raises:
            DataError: the sensor is smaller than the window.
        """
        return MapPixels(self.rms[_window(key, shape, self.rms.shape)])


@dataclass(frozen=True)
class MapPixels(PixelNoise):
    """Pixels of known rms (H, W)."""

    rms: Array

    def draw(self, rng: np.random.Generator) -> Array:
        """Return the noise of one frame."""
        return np.asarray(rng.standard_normal(self.rms.shape, np.float32) * self.rms, np.float32)


def _window(key: int, shape: Shape, sensor: tuple[int, ...]) -> tuple[slice, slice]:
    """Return a random window of a sensor.

    Raises:
        DataError: the sensor is smaller than the window.
    """
    if any(side > length for side, length in zip(shape, sensor, strict=True)):
        raise DataError(f"data.pedestal: frames of {sensor} pixels are smaller than a window {shape}")
    rng = np.random.default_rng(key)
    row, col = (int(rng.integers(n - side + 1)) for n, side in zip(sensor, shape, strict=True))
    return slice(row, row + shape[0]), slice(col, col + shape[1])


def pedestal_of(frames: Sequence[NDArray[Any]] | NDArray[Any], where: str) -> tuple[Array, Array]:
    """Return mean and rms (H, W) of the frames of a pedestal run.

    Args:
        frames: (n, H, W) or n frames.
        where: the file, for messages.

    Raises:
        DataError: there is only one frame, or a value is not finite.
    """
    if len(frames) < FEWEST_FRAMES:
        raise DataError(f"{where}: a pedestal run of {len(frames)} frame has no rms: name a run of 100 or more")
    total, squares = np.zeros(frames[0].shape), np.zeros(frames[0].shape)
    first = np.asarray(frames[0], np.float64)
    for frame in frames:
        above = frame - first  # so that squares are of small numbers
        total += above
        squares += above**2
    count = len(frames)
    mean = first + total / count
    variance = (squares - total**2 / count) / (count - 1)
    if not np.isfinite(mean).all():
        raise DataError(f"{where}: pixels of the pedestal run are NaN or infinite: leave these frames out")
    return mean.astype(np.float32), np.sqrt(np.maximum(variance, 0)).astype(np.float32)
