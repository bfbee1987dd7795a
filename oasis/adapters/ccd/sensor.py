"""The sensor: diffusion of charge in a fully depleted wafer, noise, and defects."""

from collections.abc import Sequence
from typing import Annotated, Final, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from oasis.adapters.options import Rising
from oasis.data.draws import Random
from oasis.options import Options

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHARPEST: Final = 0.02  # pixels: charge at the gates has no width
FAINTEST: Final = 1e-3  # e-: less is no charge
CHUNK: Final = 2000

Level = Annotated[float, Field(ge=0, le=1e9)]
Charge = Annotated[float, Field(gt=0, le=1e9)]


class Sensor(Options):
    r"""The constants of a sensor; the defaults are those of arXiv 2201.08973 except for the dark current.

    Attributes:
        pixel_um: side of a pixel.
        thickness_um: thickness of the active silicon.
        front_dead_um: dead layer on the side of the gates (SiO2 there is as dense as silicon).
        back_dead_um: dead layer on the other side, as silicon.
        diffusion_um2: A of :math:`\sigma^2(z) = -A \ln(1 - b z)`, with the depth z under the gates.
        diffusion_per_um: b of the same.
        kernel: side of the square around the nearest pixel, over which charge spreads; charge outside is lost.
        pair_ev: mean energy for an electron-hole pair.
        fano: Fano factor of its fluctuation.
        dark_e: mean dark current of a pixel and exposure, e-.
        read_e: readout noise, rms, e-.
        full_well_e: charge at which a pixel saturates; none by default.
        hot_columns: mean number of hot columns in 1000 columns.
        hot_e: bounds of the additional charge in their pixels, e-.
        serial_hits: mean number of hits of the serial register, streaks of one row, in 10^6 pixels.
        serial_pixels: bounds of their length.
        serial_e: bounds of their charge per pixel, e-.

    Example:
        >>> Sensor().sigma_um([10, 100, 675]).round(2)
        array([ 1.44,  4.66, 14.28])
    """

    pixel_um: float = Field(15.0, gt=0.1, le=1000)
    thickness_um: float = Field(675.0, gt=1, le=10_000)
    front_dead_um: float = Field(2.0, ge=0, le=100)
    back_dead_um: float = Field(0.15, ge=0, le=100)
    diffusion_um2: float = Field(254.0, ge=0, le=1e6)
    diffusion_per_um: float = Field(8.18e-4, ge=0, le=1)
    kernel: int = Field(7, ge=3, le=31)
    pair_ev: float = Field(3.6, gt=0.1, le=1000)
    fano: float = Field(0.16, ge=0, le=10)
    dark_e: Level = 0.1
    read_e: Level = 1.6
    full_well_e: Charge | None = None
    hot_columns: float = Field(0.0, ge=0, le=1000)
    hot_e: Annotated[tuple[Charge, Charge], Rising] = (5.0, 100.0)
    serial_hits: float = Field(0.0, ge=0, le=1e5)
    serial_pixels: Annotated[tuple[Charge, Charge], Rising] = (3.0, 40.0)
    serial_e: Annotated[tuple[Charge, Charge], Rising] = (20.0, 1000.0)

    @model_validator(mode="after")
    def _is_depleted(self) -> Self:
        if self.diffusion_per_um * self.thickness_um >= 1:
            raise ValueError(
                f"diffusion_per_um: {self.diffusion_per_um:g} times the thickness of {self.thickness_um:g} um is "
                "1 or more, where the width of charge diverges"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd number of pixels, found {self.kernel}")
        return self

    @property
    def noise_e(self) -> float:
        """The rms of a pixel without charge from particles, e-."""
        return float(np.hypot(self.read_e, np.sqrt(self.dark_e)))

    def sigma_um(self, depth: ArrayLike) -> Floats:
        """Return the standard deviation of charge from a depth (um) under the gates, um."""
        inside = np.clip(np.asarray(depth, float), 0, self.thickness_um)
        return np.asarray(np.sqrt(-self.diffusion_um2 * np.log1p(-self.diffusion_per_um * inside)))

    def pairs(self, energy: Floats, rng: Random) -> Floats:
        """Return numbers of electrons for deposits in keV: normal, with the variance of the Fano factor."""
        mean = energy * 1e3 / self.pair_ev
        return np.asarray(np.maximum(rng.normal(mean, np.sqrt(self.fano * mean)), 0))

    def spread(self, places: Floats, depth: Floats) -> tuple[Integers, Floats, Floats]:
        r"""Return the first pixels (2, m) of squares around points, and shares (k, m) in rows and columns.

        The share of a pixel of the square of k x k pixels is the product of those of its row and column:

        .. math:: K = \frac14 \left[\operatorname{erf} \frac{x + 1/2 - x_c}{\sqrt 2 \sigma}
                  - \operatorname{erf} \frac{x - 1/2 - x_c}{\sqrt 2 \sigma}\right] \times \text{the same in } y

        Args:
            places: (2, m) rows and columns; the centre of the first pixel is at 0.
            depth: (m,) under the gates, um.
        """
        half = self.kernel // 2
        nearest = np.rint(places)
        sigma = np.maximum(self.sigma_um(depth) / self.pixel_um, SHARPEST)
        edges = np.arange(-half, half + 2)[:, None, None] - 0.5
        from_point = ((nearest - places) + edges) * (np.sqrt(0.5) / sigma)
        below = torch.from_numpy(from_point).erf_().numpy()  # scipy's is slower
        shares = (below[1:] - below[:-1]) / 2
        return nearest.astype(np.int64) - half, shares[:, 0], shares[:, 1]

    def observe(
        self, charge: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the image (1, H, W) in e- of the charge of particles, and the pixels that are not saturated."""
        image = charge + rng.normal(0, self.read_e, charge.shape)
        image += rng.poisson(self.dark_e, charge.shape)
        if self.hot_columns or self.serial_hits:
            image[0] += self._defects(charge.shape[1:], rng)
        if self.full_well_e is None:
            return image.astype(np.float32), np.ones(charge.shape, dtype=bool)
        valid = image < self.full_well_e
        return np.minimum(image, self.full_well_e).astype(np.float32), valid

    def _defects(self, shape: Sequence[int], rng: np.random.Generator) -> Floats:
        """Return the charge (H, W) of hot columns and of hits of the serial register."""
        height, width = shape
        extra = np.zeros((height, width))
        if self.hot_columns:
            for column in rng.integers(width, size=rng.poisson(self.hot_columns * width / 1000)):
                extra[:, column] += rng.poisson(_log_uniform(self.hot_e, rng), height)
        if self.serial_hits:
            for _ in range(rng.poisson(self.serial_hits * height * width / 1e6)):
                row, start = rng.integers(height), rng.integers(width)
                end = start + round(_log_uniform(self.serial_pixels, rng))
                extra[row, start:end] += rng.poisson(_log_uniform(self.serial_e, rng), width)[start:end]
        return extra


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
