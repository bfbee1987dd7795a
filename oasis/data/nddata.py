"""Images of astropy and of Rubin's pipelines as arrays in the unit of a separator: NDData, Quantity, exposures."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.data.images import Images
from oasis.errors import DataError, import_extra

NJY_PER_NMGY: Final = 3631.0
BAD_PLANES: Final = ("BAD", "SAT", "NO_DATA", "UNMASKEDNAN")
"""Planes of the mask of an exposure that make a pixel bad."""


def unwrapped(values: Any, unit: str, where: str = "image") -> Any:
    """Return the array of an image of astropy or Rubin in a unit, masked pixels filled by the nearest good ones.

    Those of Rubin's pipelines are `Exposure`, `MultibandExposure` and what has the same attributes. Anything else
    is returned as it is.

    Args:
        values: (*S), (B, *S) or (b, B, *S); the mask of NDData, True for bad pixels, has that shape or (*S).
        unit: into which values that have a unit are converted; AB magnitudes define maggies.
        where: what they are, for messages.

    Raises:
        DataError: values in a unit that cannot be converted, or a mask of another shape.

    Example:
        >>> unwrapped(np.ones(2), "nmgy")
        array([1., 1.])
    """
    if isinstance(values, np.ndarray):  # of which Quantity is one
        return (
            values
            if not hasattr(values, "unit")
            else _converted(values.view(np.ndarray), values.unit, unit, where)
        )
    pixels = getattr(getattr(values, "image", None), "array", None)
    if isinstance(pixels, np.ndarray):
        return _of_exposure(values, pixels, unit, where)
    data = getattr(values, "data", None)
    if not isinstance(data, np.ndarray) or not hasattr(values, "wcs"):
        return values
    found = _converted(data, getattr(values, "unit", None), unit, where)
    mask = getattr(values, "mask", None)
    return found if mask is None else _filled(found, np.asarray(mask), where)


def _of_exposure(exposure: Any, pixels: NDArray[Any], unit: str, where: str) -> NDArray[Any]:
    """Return the pixels (*S) or (B, *S) of an exposure, calibrated if the unit is that of a flux."""
    if unit:
        singles = list(getattr(exposure, "singles", ())) or [exposure]
        factors = np.array([_nanojansky(one, where) for one in singles], np.float64) / NJY_PER_NMGY
        if unit != "nmgy":
            raise DataError(f"{where}: an exposure has fluxes, expected {unit}: convert its array")
        pixels = pixels * (factors[0] if pixels.ndim == 2 else factors[:, None, None])
    mask: Any = getattr(exposure, "mask", None)
    bits = getattr(mask, "array", None)
    if not isinstance(bits, np.ndarray):
        return pixels
    names = dict(mask.getMaskPlaneDict()) if hasattr(mask, "getMaskPlaneDict") else {}
    if bits.any() and not names:
        raise DataError(f"{where}: the mask of an exposure without names of its planes: pass an array")
    bad = sum(1 << int(names[name]) for name in BAD_PLANES if name in names)
    return _filled(pixels, bits & bad > 0, where)


def _nanojansky(single: Any, where: str) -> float:
    """Return the flux of a value of 1 in an exposure of one band, nJy."""
    calibration = single.getPhotoCalib() if hasattr(single, "getPhotoCalib") else None
    if calibration is None:
        raise DataError(f"{where}: an exposure without a photometric calibration: pass an array in nmgy")
    return float(calibration.instFluxToNanojansky(1.0))


def _converted(values: NDArray[Any], given: Any, unit: str, where: str) -> NDArray[Any]:
    if given is None or not unit or str(given) == unit:
        return values
    units = import_extra("astropy.units", "fits")
    photometric = import_extra("astropy.units.photometric", "fits")
    try:
        with units.add_enabled_units(photometric):
            zero = units.zero_point_flux(3631 * units.Jy)
            return np.asarray(values * units.Unit(given).to(units.Unit(unit), equivalencies=zero))
    except (units.UnitConversionError, ValueError, TypeError):
        raise DataError(f"{where}: values in {given}, expected {unit}: convert them") from None


def _filled(values: NDArray[Any], mask: NDArray[Any], where: str) -> NDArray[Any]:
    """Return values with masked pixels filled, for a mask (True for bad) of all bands or of each."""
    if mask.shape != values.shape and mask.shape != values.shape[values.ndim - mask.ndim :]:
        raise DataError(f"{where}: a mask of shape {mask.shape} for values of shape {values.shape}")
    if not mask.any():
        return values
    planes = values.reshape(-1, 1, *mask.shape) if mask.shape != values.shape else _planes(values)
    bad = np.broadcast_to(mask.astype(bool).reshape(-1, 1, *planes.shape[2:]), planes.shape)
    filled = Images(np.asarray(planes, np.float32), mask=np.ascontiguousarray(~bad)).filled()
    return filled.reshape(values.shape)


def _planes(values: NDArray[Any]) -> NDArray[Any]:
    """Return every image of two axes in an array as one of (n, 1, rows, columns)."""
    return values.reshape(-1, 1, *values.shape[max(values.ndim - 2, 0) :])
