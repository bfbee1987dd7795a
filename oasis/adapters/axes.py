"""Axes: which axis of a stored array is which of the images (n, B, *S) of a domain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError, shown
from oasis.io.axes import SPATIAL, AxisFacts
from oasis.io.parts import Parts, facts_of

FEWEST = 4  # pixels of a last axis without a name below which it may be one of colours
UNNAMED = "IQ"  # axes of pages, whose meaning the file does not state


@dataclass(frozen=True)
class Arrangement:
    """How an array becomes images.

    Attributes:
        images: places of the axes along which there are different images.
        band: place of the axis of bands, or None for images of one band.
        spatial: places of the spatial axes.
        dropped: places of axes of length 1.
    """

    images: tuple[int, ...]
    band: int | None
    spatial: tuple[int, ...]
    dropped: tuple[int, ...]

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return an array as images (n, B, *S)."""
        order = (*self.dropped, *self.images, *([] if self.band is None else [self.band]), *self.spatial)
        found = values.transpose(order)
        bands = 1 if self.band is None else values.shape[self.band]
        return found.reshape(-1, bands, *self.size(values.shape))

    def size(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the size of an image of an array of this shape."""
        return tuple(shape[place] for place in self.spatial)

    def text(self, facts: AxisFacts, shape: Sequence[int]) -> str:
        """Return what is done, as a text for people."""
        count = prod(shape[place] for place in self.images)
        spatial = " x ".join(map(str, self.size(shape)))
        bands = 1 if self.band is None else shape[self.band]
        along = "".join(facts.names[place] for place in self.images).replace("Q", "I")
        named = f" ({', '.join(facts.channels)})" if bands > 1 and len(facts.channels) == bands else ""
        image, pixels = ("signal", "samples") if len(self.spatial) == 1 else ("image", "pixels")
        images = f"{count} {image}s along {along}" if along else f"1 {image}"
        return f"axes {facts.sizes(shape)}: {images}, {bands} band{'s' * (bands > 1)}{named}, {spatial} {pixels}"

    @property
    def is_plain(self) -> bool:
        """Whether there is one image without an axis of bands whose axes are in order: nothing needs saying."""
        return not self.images and self.band is None and [*self.spatial] == sorted(self.spatial)


def arrangement(facts: AxisFacts, shape: Sequence[int], bands: int, dims: int, where: str) -> Arrangement | None:
    """Return how an array with named axes becomes images, or None where only its shape can tell.

    Args:
        facts: of the array.
        shape: of the array.
        bands: bands of an image.
        dims: number of its spatial axes.
        where: the file, for messages.

    Raises:
        DataError: the axes do not fit: another number of channels, or a spatial axis that is missing.

    Example:
        >>> arrangement(AxisFacts("CZYX"), (3, 1, 64, 48), bands=3, dims=2, where="a.tif")
        Arrangement(images=(), band=0, spatial=(2, 3), dropped=(1,))
    """
    if not facts.names or ("Q" in facts.names and shape[-1] <= FEWEST < min(shape[:-1])):
        return None
    names = _resolved(facts.names, shape, bands, dims)
    wanted, said = SPATIAL[-dims:], f"{where}: axes {facts.sizes(shape)}"
    if any(names.count(name) > 1 for name in (*wanted, "C")):
        raise DataError(f"{said}: an axis is there twice: name them anew with data.axes")
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"{said}: no {missing[0]}, expected {wanted} for images of {dims} spatial axes: if an axis has the "
            f"wrong name, state the right ones with data.axes (--axes {_suggested(names, missing[0], 'TCI')})"
        )
    channels = shape[names.index("C")] if "C" in names else 1
    if channels != bands:
        named = f" ({', '.join(map(shown, facts.channels))})" if facts.channels else ""
        raise DataError(
            f"{said}: {channels} channel{'s' * (channels > 1)}{named}, expected {bands} for images of {bands} "
            f"band{'s' * (bands > 1)}: write the right ones to a file of their own, or if an axis has "
            f"the wrong name, state the right ones with data.axes ({_with_channels(names, wanted)})"
        )
    band = names.index("C") if "C" in names else None
    rest = [place for place, name in enumerate(names) if name not in (*wanted, "C")]
    return Arrangement(
        tuple(place for place in rest if shape[place] > 1),
        band,
        tuple(names.index(name) for name in wanted),
        tuple(place for place in rest if shape[place] == 1),
    )


def _resolved(names: str, shape: Sequence[int], bands: int, dims: int) -> list[str]:
    """Return the names of axes, where unnamed ones of pages are depth, channels or images as the domain needs."""
    found = list(names)
    for place in reversed(range(len(found))):
        if found[place] in UNNAMED:
            if dims == 3 and "Z" not in found:
                found[place] = "Z"
            elif bands > 1 and "C" not in found and shape[place] == bands:
                found[place] = "C"
            else:
                found[place] = "I"
    return found


def _with_channels(names: Sequence[str], wanted: str) -> str:
    """Return the option that calls channels images, or the first other axis channels if there are none."""
    if "C" in names:
        return f"--axes {_suggested(names, 'T' if 'I' in names else 'I', 'C')}"
    others = "".join(name for name in names if name not in wanted)
    return f"--axes {_suggested(names, 'C', others)}" if others else "--axes"


def _suggested(names: Sequence[str], right: str, wrong: str) -> str:
    """Return the letters of axes in which the first of the wrong ones is replaced by the right one."""
    place = next((place for place, name in enumerate(names) if name in wrong), 0)
    return "".join(right if at == place else name for at, name in enumerate(names))


class ArrangedParts:
    """The array of a file as images (n, B, *S), of which only parts are read.

    Args:
        parts: the array.
        arrangement: with at most one axis of images.
    """

    def __init__(self, parts: Parts, arrangement: Arrangement) -> None:
        self._parts, self._how = parts, arrangement
        lead = [parts.shape[place] for place in arrangement.images] or [1]
        bands = 1 if arrangement.band is None else parts.shape[arrangement.band]
        self.shape: tuple[int, ...] = (*lead, bands, *[parts.shape[place] for place in arrangement.spatial])
        self.dtype: np.dtype[Any] = parts.dtype
        self.facts = replace(facts_of(parts), names="")  # whose letters are of the axes of the file

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        how = self._how
        places: list[int | None] = [how.images[0] if how.images else None, how.band, *how.spatial]
        given: dict[int, int | slice] = dict.fromkeys(how.dropped, 0)
        given |= {place: part for place, part in zip(places, index, strict=True) if place is not None}
        kept = [place for place in places if place is not None and not isinstance(given[place], int)]
        found = np.asarray(self._parts[tuple(given[place] for place in range(len(self._parts.shape)))])
        found = found.transpose([sorted(kept).index(place) for place in kept])
        slices = [(place, part) for place, part in zip(places, index, strict=True) if not isinstance(part, int)]
        return found[tuple(None if place is None else slice(None) for place, _ in slices)]
