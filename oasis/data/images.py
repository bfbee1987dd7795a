"""Images: the measured images that an adapter reads from a file, in physical units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from oasis.data.samples import Array
from oasis.errors import DataError


@dataclass(frozen=True)
class Images:
    """Measured images of one size, with their metadata.

    Attributes:
        image: (n, B, *S) float32, in physical units.
        context: (n, C, *S) further inputs, or None.
        mask: (n, 1, *S) True for good pixels, or None if all are good; the values of bad pixels have no influence.
        axes: names of the spatial axes, such as `("y", "x")`; empty if unknown.
        pixel_size: length of a pixel along each spatial axis; empty if unknown.
        pixel_unit: the unit of `pixel_size`.
        position: the position of each image, columns (n,) by name, for example `ra` and `dec` of the centre.
        flags: (n, 1, *S) pixels that are bad for a reason, by reason, such as `saturated`; the mask contains them.
        deviation: (n, B, *S) standard deviation of the noise of each pixel, 0 where unknown, or None.
        background: (n, 2, B) level and noise of the empty parts of the whole images, of which these may be blocks;
            None where they are to be measured in the images themselves.
        source: the file.
        fill: what stands for bad pixels; None for the nearest good one.

    Raises:
        DataError: the shapes are inconsistent.

    Example:
        >>> pixels = np.array([[[[1.0, 2.0, np.nan]]]], np.float32)
        >>> images = Images(pixels, mask=np.isfinite(pixels))
        >>> len(images), images.filled()[0, 0]
        (1, array([[1., 2., 2.]], dtype=float32))
    """

    image: Array
    context: Array | None = None
    mask: NDArray[np.bool_] | None = None
    axes: tuple[str, ...] = ()
    pixel_size: tuple[float, ...] = ()
    pixel_unit: str = ""
    position: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    deviation: Array | None = None
    background: NDArray[np.float64] | None = None
    source: str = ""
    fill: float | None = None

    def __post_init__(self) -> None:
        count, spatial = len(self.image), self.image.shape[2:]
        if self.context is not None and (len(self.context), *self.context.shape[2:]) != (count, *spatial):
            raise DataError(
                f"a context of shape {self.context.shape} does not fit images of shape {self.image.shape}: "
                "expected (n, channels, *spatial)"
            )
        if self.mask is not None and (self.mask.shape != (count, 1, *spatial) or self.mask.dtype != bool):
            raise DataError(
                f"a mask of good pixels has shape {self.mask.shape} and type {self.mask.dtype}, expected "
                f"{(count, 1, *spatial)} and bool"
            )
        for name, plane in self.flags.items():
            if plane.shape != (count, 1, *spatial) or plane.dtype != bool:
                raise DataError(
                    f"flags {name!r} have shape {plane.shape} and type {plane.dtype}, expected "
                    f"{(count, 1, *spatial)} and bool"
                )
        if self.deviation is not None and self.deviation.shape != self.image.shape:
            raise DataError(f"deviation has shape {self.deviation.shape}, expected {self.image.shape}")
        expected = count, 2, self.image.shape[1]
        if self.background is not None and self.background.shape != expected:
            raise DataError(f"background has shape {self.background.shape}, expected {expected}")
        for name, lengths in (("axes", self.axes), ("pixel_size", self.pixel_size)):
            if lengths and len(lengths) != len(spatial):
                raise DataError(f"{name}: found {lengths}, expected one for each of {len(spatial)} spatial axes")
        for name, column in self.position.items():
            if np.shape(column) != (count,):
                raise DataError(f"position {name!r} has shape {np.shape(column)}, expected {(count,)}")

    def __len__(self) -> int:
        return len(self.image)

    def replace(self, **changes: Any) -> "Images":
        """Return a copy with the named fields changed."""
        return replace(self, **changes)

    def part(self, rows: slice | NDArray[np.intp]) -> "Images":
        """Return some of the images."""
        return replace(
            self,
            image=self.image[rows],
            context=None if self.context is None else self.context[rows],
            mask=None if self.mask is None else self.mask[rows],
            position={name: column[rows] for name, column in self.position.items()},
            flags={name: plane[rows] for name, plane in self.flags.items()},
            deviation=None if self.deviation is None else self.deviation[rows],
            background=None if self.background is None else self.background[rows],
        )

    def cut(self, place: Sequence[slice]) -> "Images":
        """Return a part of every image; `pixel_size` and what is known of the whole are kept."""
        return replace(
            self,
            image=self.image[:, :, *place],
            context=None if self.context is None else self.context[:, :, *place],
            mask=None if self.mask is None else self.mask[:, :, *place],
            flags={name: plane[:, :, *place] for name, plane in self.flags.items()},
            deviation=None if self.deviation is None else self.deviation[:, :, *place],
        )

    def filled(self) -> Array:
        """Return the images with each bad pixel replaced by `fill`, or the nearest good one, or 0 without any."""
        if self.mask is None or self.mask.all():
            return self.image
        if self.fill is not None:
            return np.where(self.mask, self.image, np.float32(self.fill))
        image = self.image.copy()
        for place in np.flatnonzero(~self.mask.all(axis=tuple(range(1, self.mask.ndim)))):
            good = self.mask[place, 0]
            if good.any():
                nearest = distance_transform_edt(~good, return_distances=False, return_indices=True)
                image[place] = image[place][:, *nearest]
            else:
                image[place] = 0
        return image
