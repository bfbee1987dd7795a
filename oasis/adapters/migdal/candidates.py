"""Candidates: the energies of the tracks of a region, and whether they pass the cuts of the search."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import map_coordinates

from oasis.adapters.migdal.detector import Array, Detector
from oasis.errors import DataError
from oasis.io.arrays import read_array
from oasis.options import Options

NORMAL_95 = 1.96
CENTRAL = 1.3  # ratio of the relative light yield in the middle of the field to 1, or its inverse, that is refused
BRIGHTER = 2.0  # ratio of the largest to that in the middle, that is refused


class EnergyScale(Options):
    """The section `data.energy_scale`: from light to energy, and the cuts on candidates.

    Attributes:
        adu_per_kev: direct light at the centre of the field; that of the detector by default.
        uncertainty: the relative standard deviation of that, from a calibration with 55Fe.
        vignetting: a CSV file of the relative light yield over the whole field, without a header; the model of the
            detector by default.
        electron_kev: a candidate's electron has at least this energy: the paper's region of interest begins there.
        recoil_kevee: its recoil has at least this ionisation energy.
        distance_mm: the largest distance between the centroids of its tracks.

    Example:
        >>> EnergyScale(uncertainty=0.05).recoil_kevee
        60.0
    """

    adu_per_kev: float | None = Field(None, gt=0, le=1e9)
    uncertainty: float = Field(0.0, ge=0, le=1)
    vignetting: str | None = None
    electron_kev: float = Field(4.0, ge=0, le=1e6)
    recoil_kevee: float = Field(60.0, ge=0, le=1e6)
    distance_mm: float = Field(6.0, gt=0, le=1e6)


def light_yield(scale: EnergyScale, detector: Detector) -> Array:
    """Return the relative light yield of every pixel of the field, interpolated linearly between those of a file.

    Raises:
        DataError: the file is not a table of light yields.
    """
    rows, cols = (np.arange(side) for side in detector.shape)
    if scale.vignetting is None:
        return detector.vignetting(rows[:, None], cols)
    table = _table(Path(scale.vignetting))
    places = [
        np.clip((np.arange(side) + 0.5) / side * count - 0.5, 0, count - 1)
        for side, count in zip(detector.shape, table.shape, strict=True)
    ]
    return np.asarray(map_coordinates(table, np.meshgrid(*places, indexing="ij"), order=1), np.float32)


def _table(path: Path) -> NDArray[np.float64]:
    try:
        table = np.asarray(read_array(path), np.float64)
    except DataError as error:
        raise DataError(f"{path}: no table of relative light yields: {error}") from None
    if table.ndim != 2 or not (np.isfinite(table).all() and (table > 0).all()):
        raise DataError(f"{path}: expected relative light yields above 0")
    middle = float(np.median(table[tuple(slice(side // 3, side - side // 3) for side in table.shape)]))
    if not 1 / CENTRAL < middle < CENTRAL:
        raise DataError(
            f"{path}: the light yield in the middle of the field is {middle:.3g}, expected about 1: divide the "
            "table by that, since adu_per_kev is that of the centre"
        )
    if table.max() > BRIGHTER * middle:
        raise DataError(
            f"{path}: the light yield reaches {table.max():.3g} outside of the middle of the field, where it is "
            f"{middle:.3g}: expected yields, not the factors that correct them"
        )
    return table


def candidate_columns(
    maps: NDArray[np.floating],
    corner: tuple[int, int],
    yields: Array,
    adu_per_kev: tuple[float, float],
    scale: EnergyScale,
    pixel_mm: float,
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a region, one value for the electron and one for the nuclear recoil.

    Args:
        maps: (2, 1, H, W) light of electron and recoil in the region, ADU.
        corner: row and column of its first pixel in the field.
        yields: the relative light yield of the field.
        adu_per_kev: light per energy of electron and recoil at the centre of the field.
        scale: uncertainty and cuts.
        pixel_mm: the side of a pixel.

    Returns:
        `energy_kev`, and `energy_kev_low` and `energy_kev_high` with the uncertainty of the scale alone, 95 %;
        `axis_deg`, the direction of the long axis of the light: 0 along a row, 90 or -90 along a column, NaN
        without light; `distance_mm` between the centroids, NaN without one of them; `candidate`: 1 if the cuts are
        passed.
    """
    row, col = corner
    light = maps[:, 0] / yields[row : row + maps.shape[2], col : col + maps.shape[3]]
    energy = light.sum(axis=(1, 2), dtype=np.float64) / np.array(adu_per_kev)
    spread = NORMAL_95 * scale.uncertainty
    weights = light / np.maximum(light.sum(axis=(1, 2), keepdims=True), 1e-12)
    centre = np.stack([(weights * at).sum(axis=(1, 2)) for at in np.indices(light.shape[1:])], axis=1)
    there = bool((energy > 0).all())
    distance = pixel_mm * float(np.hypot(*(centre[0] - centre[1]))) if there else np.nan
    least = (scale.electron_kev, scale.recoil_kevee)
    passes = there and bool((energy >= least).all()) and distance <= scale.distance_mm
    return {
        "energy_kev": energy,
        "energy_kev_low": energy * max(1 - spread, 0),
        "energy_kev_high": energy * (1 + spread),
        "axis_deg": np.array([_axis(each) for each in weights]),
        "distance_mm": np.full(2, distance),
        "candidate": np.full(2, float(passes)),
    }


def _axis(weights: NDArray[np.floating]) -> float:
    """Return the angle of the principal axis of an image (H, W) whose sum is 1, degrees; NaN if it is 0."""
    if not weights.any():
        return np.nan
    row, col = (at - (weights * at).sum(dtype=np.float64) for at in np.indices(weights.shape, dtype=np.float64))
    across = float((weights * row * col).sum())
    return float(np.degrees(np.arctan2(2 * across, (weights * (col**2 - row**2)).sum()) / 2))
