"""Images of astropy: NDData, CCDData, Cutout2D and Quantity as arrays in the unit of a separator."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.data.images import Images
from oasis.errors import DataError, import_extra


def unwrapped(values: Any, unit: str, where: str = "image") -> Any:
    """Return the array of an image of astropy, in a unit, with masked pixels filled by the nearest good ones.

    Anything else is returned as it is.

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
    data = getattr(values, "data", None)
    if not isinstance(data, np.ndarray) or not hasattr(values, "wcs"):
        return values
    found = _converted(data, getattr(values, "unit", None), unit, where)
    mask = getattr(values, "mask", None)
    return found if mask is None else _filled(found, np.asarray(mask), where)


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
