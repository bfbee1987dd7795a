"""Digitisation: from the energy of a recoil to the light that the camera is expected to see, and to its counts.

The chain is that of the collaboration's public simulation: ionisation electrons, absorption and diffusion in the
drift gap, three GEMs of which the last saturates, light, camera. All images are (rows, columns) in counts of the
camera; the centre of a pixel has integer coordinates.

Source: CYGNUS-RD/digitization on GitHub, version of 2024-01-18, from which constants and order are taken.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.special import ndtr

from oasis.options import Options

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

REACH = 4.5  # sigmas of the diffusion within which a spot is drawn: 8e-5 of its light is outside
NODES = np.arange(0.0, REACH + 0.25, 0.5)  # of the integral over the depth, sigmas; it is symmetric
HEIGHTS = np.exp(-0.5 * NODES**2).tolist()
WEIGHTS = np.where(NODES > 0, 1.0, 0.5)


class Digitisation(Options):
    r"""The optical TPC: He/CF4 (60/40) at atmospheric pressure, three GEMs and an sCMOS camera.

    An electron is multiplied by :math:`G = g_0 e^{g_1 V}` in each GEM, and leaves the first and the second with
    the probability :math:`\epsilon = e_0 e^{-e_1 V}`. The light of a voxel with n electrons is

    .. math:: c = A \frac{G n}{1 + \beta G n} \cdot 0.07 \cdot 2 \cdot \Omega, \qquad
              \Omega = \frac{1}{(4 (d + 1) a)^2}

    with the ratio d of the sides of field and sensor.

    Example:
        >>> tpc = Digitisation()
        >>> round(tpc.gain), round(tpc.extraction, 3), round(tpc.counts_per_electron, 1)
        (342, 0.362, 87.6)
        >>> round(tpc.transverse_pixels(25.0), 2)
        4.37
    """

    w_ev: float = Field(46.2, gt=0, le=1e6, description="mean energy per ionisation electron, eV")
    absorption_mm: float = Field(1000.0, gt=0, le=1e9, description="mean free path of drifting electrons, mm")
    gem_volt: float = Field(440.0, ge=0, le=1000, description="voltage of each GEM")
    gain_factor: float = Field(0.0347, gt=0, le=1e6, description="g0 of the gain of a GEM")
    gain_slope: float = Field(0.0209, ge=0, le=0.1, description="g1 of the gain of a GEM, 1/V")
    extraction_factor: float = Field(0.87320, gt=0, le=10, description="e0 of the extraction from a GEM")
    extraction_slope: float = Field(0.002, ge=0, le=0.1, description="e1 of the extraction from a GEM, 1/V")
    transverse_mm2: float = Field(0.1225, ge=0, le=100, description="variance across the drift in the GEMs, mm2")
    transverse_mm2_cm: float = Field(0.01232, ge=0, le=100, description="variance across, per cm of drift, mm2")
    longitudinal_mm2: float = Field(0.0676, gt=0, le=100, description="variance along the drift in the GEMs, mm2")
    longitudinal_mm2_cm: float = Field(0.00978, ge=0, le=100, description="variance along, per cm of drift, mm2")
    voxel_mm: float = Field(0.1, gt=0, le=10, description="depth of a voxel of the saturating GEM, mm")
    saturation: float = Field(1e-5, ge=0, le=1, description="beta of the last GEM; 0 for no saturation")
    saturated_gain: float = Field(1.0, gt=0, le=100, description="A of the last GEM, a free parameter there")
    photons: float = Field(0.07, gt=0, le=100, description="photons per electron of the last GEM")
    counts: float = Field(2.0, gt=0, le=1e4, description="counts per photon on the sensor")
    image_mm: float = Field(346.0, gt=0, le=1e5, description="side of the field that the sensor sees, mm")
    sensor_mm: float = Field(14.976, gt=0, le=1e3, description="side of the sensor, mm")
    sensor_pixels: int = Field(2304, ge=1, le=16384, description="pixels along the side of the sensor")
    f_number: float = Field(0.95, gt=0, le=100, description="a, the f-number of the lens")
    poisson: Literal["counts", "photons"] = Field(
        "counts",
        description="what is a Poisson number: the counts, as in the public code, or the photons on the sensor",
    )

    @property
    def gain(self) -> float:
        """Mean multiplication in one GEM."""
        return float(self.gain_factor * np.exp(self.gain_slope * self.gem_volt))

    @property
    def extraction(self) -> float:
        """Probability that an electron leaves a GEM."""
        return float(self.extraction_factor * np.exp(-self.extraction_slope * self.gem_volt))

    @property
    def acceptance(self) -> float:
        """Fraction of the photons that reach the sensor."""
        return float((4 * (self.image_mm / self.sensor_mm + 1) * self.f_number) ** -2)

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel in the field."""
        return self.image_mm / self.sensor_pixels

    @property
    def counts_per_electron(self) -> float:
        """Mean counts of an electron that reaches the GEMs, without saturation."""
        charge = (self.gain * self.extraction) ** 2
        return charge * self.saturated_gain * self._counts_per_charge

    @property
    def _counts_per_charge(self) -> float:
        """Counts per electron that enters the last GEM, at A = 1 and without saturation."""
        return self.gain * self.photons * self.counts * self.acceptance

    def transverse_pixels(self, drift_cm: float) -> float:
        """Return the standard deviation of a spot across the drift, pixels."""
        return float(np.sqrt(self.transverse_mm2 + self.transverse_mm2_cm * drift_cm)) / self.pixel_mm

    def longitudinal(self, drift_cm: ArrayLike) -> Floats:
        """Return the standard deviation of a point along the drift, mm."""
        return np.sqrt(self.longitudinal_mm2 + self.longitudinal_mm2_cm * np.asarray(drift_cm, float))

    def survivors(self, energy_kev: ArrayLike, drift_cm: ArrayLike, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return how many ionisation electrons of deposits reach the GEMs."""
        lost = np.exp(-10 * np.asarray(drift_cm, float) / self.absorption_mm)
        return np.asarray(rng.poisson(np.asarray(energy_kev, float) * 1e3 / self.w_ev * lost), np.int64)

    def multiplied(self, electrons: ArrayLike, rng: np.random.Generator) -> Floats:
        """Return the electrons that enter the last GEM: each one's gain is exponential in the first GEM."""
        mean = (self.gain * self.extraction) ** 2
        return np.asarray(rng.gamma(np.maximum(np.asarray(electrons, float), 1e-300), mean), float)

    def saturated(self, columns: NDArray[np.floating], depth_mm: ArrayLike) -> Floats:
        """Return the light of columns of voxels, in counts.

        Args:
            columns: electrons that enter the last GEM in the columns over pixels.
            depth_mm: the standard deviation of their depth, which is Gaussian; it has to fit `columns`.
        """
        depth = np.asarray(depth_mm, float)
        peak = columns * (self.voxel_mm / np.sqrt(2 * np.pi)) / depth  # electrons of the fullest voxel
        total, saturation = np.zeros(np.broadcast_shapes(columns.shape, depth.shape)), self.saturation * self.gain
        for height, weight in zip(HEIGHTS, WEIGHTS.tolist(), strict=True):
            electrons = peak * height
            fraction = saturation * electrons
            fraction += 1
            electrons *= weight
            electrons /= fraction
            total += electrons
        step = 2 * (NODES[1] - NODES[0]) * depth / self.voxel_mm  # voxels per node, on both sides
        return np.asarray(total * step * self.saturated_gain * self._counts_per_charge)

    def spot(self, charge: float, row: float, col: float, drift_cm: float) -> tuple[Array, tuple[int, int]]:
        """Return the expected light of electrons from one point, and the pixel of its first value.

        The range of a recoil of 1 keV is small compared with the diffusion: such a recoil is a point.

        Args:
            charge: the electrons that enter the last GEM.
            row: position in pixels.
            col: position in pixels.
            drift_cm: the drift distance.
        """
        sigma = self.transverse_pixels(drift_cm)
        reach = int(np.ceil(REACH * sigma))
        first = round(row) - reach, round(col) - reach
        edges = np.arange(2 * reach + 2) - 0.5
        down, across = (
            np.diff(ndtr((edges + start - centre) / sigma))
            for start, centre in zip(first, (row, col), strict=True)
        )
        light = self.saturated(charge * np.outer(down, across), self.longitudinal(drift_cm))
        return light.astype(np.float32), first

    def expose(self, light: NDArray[np.floating], rng: np.random.Generator) -> Array:
        """Return counts for expected light; in the public code counts, not photons, are Poisson numbers."""
        photon = 1.0 if self.poisson == "counts" else self.counts
        lit, counts = light > 0, np.zeros(light.shape, np.float32)
        counts[lit] = photon * rng.poisson(light[lit] / photon)
        return counts


def brightest(light: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """Return the fewest pixels that hold a share of the light; none where there is no light.

    Example:
        >>> brightest(np.array([1.0, 6.0, 3.0]), 0.9)
        array([False,  True,  True])
    """
    ordered = np.sort(light, axis=None)[::-1].astype(float)
    sums = np.cumsum(ordered)
    if not sums.size or sums[-1] <= 0:
        return np.zeros(light.shape, bool)
    last = int(np.searchsorted(sums, share * sums[-1] * (1 - 1e-12)))
    return np.asarray(light >= ordered[min(last, len(ordered) - 1)])
