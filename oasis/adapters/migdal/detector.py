"""The MIGDAL optical TPC: from ionisation to camera image, and from raw camera frames to the same kind of image.

The chain is: ionisation electrons, diffusion in the drift gap, gain of the first GEM (per electron), blur of the
later stages and the optics, vignetting, photoelectrons in the camera, 4x4 binning, smoothing. All images are
(rows, columns) in ADU per binned pixel; the centre of a pixel has integer coordinates.
"""

from functools import lru_cache
from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.ndimage import correlate1d

from oasis.adapters.options import Rising
from oasis.errors import ConfigError, DataError
from oasis.options import Options

Array = NDArray[np.float32]
Side = Annotated[int, Field(ge=1, le=16384)]
Drift = Annotated[float, Field(ge=0, le=1000)]

REACH = 4.0
"""Radius at which a blur is cut, in units of its sigma: 6e-5 of the light is outside."""


class Window(NamedTuple):
    """A rectangle of pixels: its first row and column in the field, its height and its width.

    Example:
        >>> Window(0, 10, 96, 96).grown(4).within(Window(0, 0, 288, 512))
        Window(row=0, col=6, height=100, width=104)
    """

    row: int
    col: int
    height: int
    width: int

    def grown(self, margin: int) -> Self:
        """Return the window with `margin` pixels more on each side."""
        return type(self)(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)

    def shifted(self, rows: int, cols: int) -> Self:
        """Return the window moved by a number of rows and columns."""
        return self._replace(row=self.row + rows, col=self.col + cols)

    def within(self, other: "Window") -> Self:
        """Return the part inside `other`; its height or width is 0 if there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.col + self.width, other.col + other.width)
        return type(self)(row, col, max(bottom - row, 0), max(right - col, 0))

    def union(self, other: "Window") -> Self:
        """Return the smallest window that contains both."""
        row, col = min(self.row, other.row), min(self.col, other.col)
        bottom = max(self.row + self.height, other.row + other.height)
        right = max(self.col + self.width, other.col + other.width)
        return type(self)(row, col, bottom - row, right - col)

    @property
    def empty(self) -> bool:
        """Whether it contains no pixel."""
        return not (self.height and self.width)

    def inside(self, other: "Window") -> tuple[slice, slice]:
        """Return the slices of this window in an image of `other`."""
        row, col = self.row - other.row, self.col - other.col
        return slice(row, row + self.height), slice(col, col + self.width)


class Detector(Options):
    """Gas, amplification, optics and camera of the MIGDAL TPC, 50 Torr CF4.

    Example:
        >>> detector = Detector()
        >>> rng = np.random.default_rng(0)
        >>> origin, energy = np.zeros((1, 3)), np.array([5.9])
        >>> detector.light(origin, energy, (144, 256), rng, window=Window(96, 208, 96, 96)).shape
        (96, 96)
    """

    shape: tuple[Side, Side] = Field(default=(288, 512), description="rows and columns of a binned image")
    pixel_mm: float = Field(default=0.15625, gt=0, le=1000, description="side of a binned pixel, mm")
    binning: int = Field(
        default=4, ge=1, le=1000, description="raw camera pixels per side of a binned pixel, summed"
    )
    w_ev: float = Field(default=34.2, gt=0, le=1e6, description="mean energy per ionisation electron, eV")
    diffusion_um: float = Field(
        default=264.0, ge=0, le=1e6, description="transverse diffusion in the drift gap, um/sqrt(cm)"
    )
    drift_cm: Annotated[tuple[Drift, Drift], Rising] = Field(
        default=(0.5, 2.5), description="range of drift distances, cm"
    )
    gain: float = Field(default=2800.0, gt=0, le=1e9, description="mean light at the centre of the field, ADU/keV")
    gain_smear: float = Field(
        default=0.115, ge=0, le=1, description="relative sigma of the gain from event to event"
    )
    blur_mm: float = Field(
        default=0.30, gt=0, le=1000, description="blur by transfer gap, last GEM, holes and optics, mm"
    )
    halo: float = Field(
        default=0.26, ge=0, le=100, description="light spread in the glass GEMs, fraction of the direct light"
    )
    halo_mm: float = Field(default=0.9, gt=0, le=1000, description="sigma of the spread light, mm")
    vignetting_mm: float = Field(
        default=50.6, gt=0, le=1e9, description="length L of the vignetting 1/(1 + r^2/L^2)^2, mm"
    )
    electrons_per_adu: float = Field(default=0.107, gt=0, le=1e6, description="photoelectrons per ADU")
    noise_adu: float = Field(
        default=36.0, ge=0, le=1e6, description="camera noise per binned pixel before smoothing, ADU"
    )
    smooth_sigma: float = Field(
        default=4 / 3, gt=0, le=1000, description="sigma of the smoothing after binning, pixels"
    )
    smooth_radius: int = Field(default=4, ge=0, le=1000, description="half-width of the smoothing kernel, pixels")
    threshold_adu: float = Field(
        default=1.0, ge=0, le=1e6, description="light up to this value is set to 0 in a truth map, ADU"
    )

    @property
    def field(self) -> Window:
        """The window of the whole image."""
        return Window(0, 0, *self.shape)

    def light(
        self,
        points: ArrayLike,
        energy: ArrayLike,
        centre: tuple[float, float],
        rng: np.random.Generator,
        *,
        window: Window | None = None,
        halo: float = 0.0,
        depth_cm: float | None = None,
        gain: float | None = None,
    ) -> Array:
        """Return the smoothed image of one track without camera noise: a truth map.

        The image in `window` is that part of the image of the whole field, up to the random numbers: light from
        outside spreads into it, and vignetting depends on the position in the field.

        Args:
            points: (n, 3) mm, positions of ionisation along columns, rows and the drift, from the track's origin.
            energy: (n,) keV deposited as ionisation at each point.
            centre: row and column of the origin in the field, in pixels.
            rng: the generator of all random numbers.
            window: the part of the field to return; the whole field by default.
            halo: light spread in the glass GEMs as a fraction of the direct light: with `Detector.halo` the image
                is as wide as that of a measured nuclear recoil, with 0 as that of the paper's simulated electron.
            depth_cm: drift distance of the origin; drawn from `drift_cm` by default. Tracks that share a
                vertex share it.
            gain: ADU per keV at the centre of the field; drawn from `gain` and `gain_smear` by default.

        Returns:
            (height, width) float32, ADU; values up to `threshold_adu` are set to 0.

        Raises:
            ConfigError: the window is not inside the field.
        """
        window = self._checked(window)
        depth_cm = rng.uniform(*self.drift_cm) if depth_cm is None else depth_cm
        gain = max(self.gain * rng.normal(1.0, self.gain_smear), 0.0) if gain is None else gain
        rows, cols, weights = self._electrons(points, energy, centre, depth_cm, rng)
        reach = _radius(max(self.blur_mm, self.halo_mm if halo else 0.0) / self.pixel_mm)
        box = _box(rows, cols)
        lit = window.within(box.grown(reach + self.smooth_radius))
        exposed = lit.grown(self.smooth_radius).within(self.field)
        source = box.within(exposed.grown(reach))
        image = np.zeros(window[2:], np.float32)
        if not (lit.empty or source.empty):
            charge = _histogram(rows, cols, weights * np.float32(gain * self.w_ev * 1e-3), source)
            adu = self.smooth(self._expose(self._spread(charge, source, exposed, halo), exposed, rng))
            image[lit.inside(window)] = np.where(adu > self.threshold_adu, adu, 0)[lit.inside(exposed)]
        return image

    def _spread(self, charge: Array, source: Window, exposed: Window, halo: float) -> Array:
        """Return the light of charge in one window that arrives in another, before the camera."""
        adu = _blur(charge, source, exposed, self.blur_mm / self.pixel_mm)
        if halo:
            adu += np.float32(halo) * _blur(charge, source, exposed, self.halo_mm / self.pixel_mm)
        return adu

    def noise(self, rng: np.random.Generator, window: Window | None = None) -> Array:
        """Return signed camera noise after smoothing, (height, width) float32 ADU, of sigma 7.6 by default.

        Only a window that touches the border of the field has the excess noise of the border.

        Example:
            >>> noise = Detector().noise(np.random.default_rng(0))
            >>> noise.shape, bool(7.4 < noise.std() < 7.8)
            ((288, 512), True)
        """
        window = self._checked(window)
        exposed = window.grown(self.smooth_radius).within(self.field)
        white = rng.standard_normal(exposed[2:], np.float32)
        white *= np.float32(self.noise_adu)
        return self.smooth(white)[window.inside(exposed)]

    def smooth(self, image: NDArray[np.floating]) -> Array:
        """Return the image smoothed by a Gaussian along the last two axes, with torch's `reflect` padding."""
        kernel = _gaussian(self.smooth_sigma, self.smooth_radius)
        columns = correlate1d(np.asarray(image, np.float32), kernel, axis=-2, mode="mirror")
        return np.asarray(correlate1d(columns, kernel, axis=-1, mode="mirror"), np.float32)

    def preprocess(self, raw: NDArray[np.generic], dark: NDArray[np.generic] | None = None) -> Array:
        """Return images of raw camera frames: dark-subtracted, binned 4x4, smoothed, negative values set to 0.

        Args:
            raw: (..., 1152, 2048) by default, as written by the camera.
            dark: (1152, 2048), the mean frame without light.

        Returns:
            (..., 288, 512) float32, ADU.

        Raises:
            DataError: a shape is wrong, or a value is not finite.
        """
        height, width = (side * self.binning for side in self.shape)
        if raw.shape[-2:] != (height, width):
            raise DataError(f"raw frames have shape {raw.shape}, expected (..., {height}, {width})")
        if dark is not None and dark.shape != (height, width):
            raise DataError(f"the dark frame has shape {dark.shape}, expected {(height, width)}")
        dark = None if dark is None else self._bin(dark, "the dark frame")
        images = np.empty((*raw.shape[:-2], *self.shape), np.float32)
        for index in np.ndindex(raw.shape[:-2]):
            binned = self._bin(raw[index], f"raw frame {', '.join(map(str, index))}".strip())
            images[index] = np.maximum(self.smooth(binned if dark is None else binned - dark), 0)
        return images

    def vignetting(self, rows: ArrayLike, cols: ArrayLike) -> Array:
        """Return the relative light yield `V = 1/(1 + r^2/L^2)^2` at positions in the field, in pixels.

        Example:
            >>> Detector().vignetting([143.5, 0], [255.5, 0]).round(2).tolist()
            [1.0, 0.30000001192092896]
        """
        dy, dx = (
            (np.asarray(position, np.float32) - (side - 1) / 2) * np.float32(self.pixel_mm / self.vignetting_mm)
            for position, side in zip((rows, cols), self.shape, strict=True)
        )
        return np.asarray(1 / (1 + dy**2 + dx**2) ** 2, np.float32)

    def _checked(self, window: Window | None) -> Window:
        window = window or self.field
        if window.within(self.field) != window:
            raise ConfigError(f"{window} is not inside the field of {self.shape} pixels")
        return window

    def _electrons(
        self,
        points: ArrayLike,
        energy: ArrayLike,
        centre: tuple[float, float],
        depth_cm: float,
        rng: np.random.Generator,
    ) -> tuple[Array, Array, Array]:
        """Return where each ionisation electron arrives (rows, columns) and its gain in the first GEM."""
        points = np.asarray(points, np.float32)
        number = rng.poisson(np.asarray(energy) * 1e3 / self.w_ev)
        drift = np.maximum(depth_cm + points[:, 2] / 10, 0)
        sigma = np.repeat(self.diffusion_um * 1e-3 / self.pixel_mm * np.sqrt(drift), number)
        scatter = rng.standard_normal((2, len(sigma)), np.float32) * sigma.astype(np.float32)
        rows = np.repeat(centre[0] + points[:, 1] / self.pixel_mm, number) + scatter[0]
        cols = np.repeat(centre[1] + points[:, 0] / self.pixel_mm, number) + scatter[1]
        return rows, cols, rng.standard_exponential(len(sigma), np.float32)

    def _expose(self, adu: Array, window: Window, rng: np.random.Generator) -> Array:
        """Return the image after vignetting and photoelectron statistics in the camera, before any smoothing."""
        rows, cols = (np.arange(first, first + size) for first, size in zip(window[:2], window[2:], strict=True))
        expected = adu * self.vignetting(rows[:, None], cols) * np.float32(self.electrons_per_adu)
        return rng.poisson(expected).astype(np.float32) / np.float32(self.electrons_per_adu)

    def _bin(self, frame: NDArray[np.generic], name: str) -> Array:
        values = frame.astype(np.float32)
        rows, cols = self.shape
        binned: Array = values.reshape(rows, self.binning, -1).sum(1).reshape(rows, cols, self.binning).sum(2)
        if not np.isfinite(binned).all():
            raise DataError(f"{name} contains values that are not finite: expected counts")
        return binned


@lru_cache(maxsize=32)
def _gaussian(sigma: float, radius: int) -> NDArray[np.float64]:
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def _radius(sigma: float) -> int:
    return int(np.ceil(REACH * sigma))


def _blur(charge: Array, source: Window, target: Window, sigma: float) -> Array:
    """Return the image in `target` of light from `source`, blurred by a Gaussian; it is dark outside `source`."""
    down = _shares(source.row - target.row, source.height, target.height, sigma)
    across = _shares(source.col - target.col, source.width, target.width, sigma)
    return np.asarray((down @ charge).astype(np.float32) @ across.T, np.float32)


def _shares(first: int, sources: int, targets: int, sigma: float) -> NDArray[np.float64]:
    """Return the share (targets, sources) of the light of pixels, the first at `first`, in each from 0 on."""
    longest = max(first + sources, targets - first)  # distance of two pixels
    diagonals = _padded(sigma, 1 << longest.bit_length())
    shares: NDArray[np.float64] = np.ndarray(
        (targets, sources), diagonals.dtype, diagonals, 8 * (len(diagonals) // 2 + first), (-8, 8)
    )
    return shares.copy()  # a view would not reach BLAS


@lru_cache(maxsize=32)
def _padded(sigma: float, length: int) -> NDArray[np.float64]:
    """Return a Gaussian as far as it is drawn, and 0 up to a distance from its centre."""
    radius = _radius(sigma)
    return np.pad(_gaussian(sigma, radius), max(length - radius, 0))


def _box(rows: Array, cols: Array) -> Window:
    """Return the smallest window that contains the positions."""
    if not len(rows):
        return Window(0, 0, 0, 0)
    top, left, bottom, right = (int(np.rint(end)) for end in (rows.min(), cols.min(), rows.max(), cols.max()))
    return Window(top, left, bottom - top + 1, right - left + 1)


def _histogram(rows: Array, cols: Array, charge: Array, window: Window) -> Array:
    """Return the charge in each pixel of the window; charge outside is lost."""
    row, col = np.rint(rows).astype(np.intp) - window.row, np.rint(cols).astype(np.intp) - window.col
    seen = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
    pixel = row[seen] * window.width + col[seen]
    image = np.bincount(pixel, charge[seen], minlength=window.height * window.width)
    return image.reshape(window[2:]).astype(np.float32)
