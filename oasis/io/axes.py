"""Axes: what the axes of a stored array mean, how long its pixels are, and what its channels are called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from oasis.errors import DataError

SPATIAL = "ZYX"
KNOWN = "TCZYX"  # times, channels and the three spatial axes; I counts images, Q is not known
METRES = {
    "pm": 1e-12,
    "Å": 1e-10,
    "nm": 1e-9,
    "µm": 1e-6,
    "um": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "nanometre": 1e-9,
    "micrometre": 1e-6,
    "millimetre": 1e-3,
    "centimeter": 1e-2,
    "meter": 1.0,
}
"""Units of length, as OME and OME-Zarr spell them."""
DIMENSIONS = {name.lower(): name for name in KNOWN} | {"time": "T", "channel": "C", "band": "C"}
"""Letters of axes by the names that zarr, xarray and HDF5 files give their dimensions, in lower case."""
MEANINGS = "T (time), C (channels), Z, Y, X and I (images)"


@dataclass(frozen=True)
class AxisFacts:
    """What a file states about the axes of its array.

    Attributes:
        names: one capital letter for every axis: T, C, Z, Y, X; I for images, Q for an axis that the file does not
            name; empty where it says nothing.
        pixel_size: length of a pixel, by the letter of its spatial axis.
        pixel_unit: the unit of `pixel_size`.
        channels: names of the channels.

    Example:
        >>> AxisFacts("CYX").sizes((3, 64, 48))
        'C=3, Y=64, X=48'
    """

    names: str = ""
    pixel_size: Mapping[str, float] = field(default_factory=dict)
    pixel_unit: str = ""
    channels: tuple[str, ...] = ()

    def sizes(self, shape: Sequence[int]) -> str:
        """Return the axes with their lengths, as a text for people, who can state I but not Q.

        Example:
            >>> AxisFacts("QYX").sizes((12, 64, 48))
            'I=12, Y=64, X=48'
        """
        names = self.names.replace("Q", "I")
        return ", ".join(f"{name}={length}" for name, length in zip(names, shape, strict=True))

    def lengths(self, spatial_dims: int) -> tuple[float, ...]:
        """Return the length of a pixel along every spatial axis; nothing if one is unknown.

        Example:
            >>> AxisFacts("YX", {"Y": 0.2, "X": 0.1}).lengths(2), AxisFacts("YX", {"X": 0.1}).lengths(2)
            ((0.2, 0.1), ())
        """
        found = tuple(self.pixel_size.get(name, 0.0) for name in SPATIAL[-spatial_dims:])
        return found if all(found) else ()

    def renamed(self, names: str, axes: int, where: str) -> "AxisFacts":
        """Return the facts with other names of axes, which a user states.

        Args:
            names: the letters.
            axes: number of axes of the array.
            where: the file, for the message.

        Raises:
            DataError: there are not as many letters as axes.
        """
        if len(names) != len(set(names)) or not {*names} <= {*KNOWN, "I"} or len(names) != axes:
            raise DataError(
                f"{where}: axes: {names!r} for an array of {axes} axes: expected one letter for each, "
                f"of {MEANINGS}"
            )
        return replace(self, names=names)


def letters_of(names: Iterable[object], axes: int) -> str:
    """Return the letters of named dimensions; an empty text unless every axis has a known name of its own.

    Args:
        names: the names.
        axes: number of axes of the array.

    Example:
        >>> letters_of(["time", "y", "x"], 3), letters_of(["a", "y", "x"], 3), letters_of(["y", "x"], 3)
        ('TYX', '', '')
    """
    letters = "".join(DIMENSIONS.get(str(name).strip().lower(), "?") for name in names)
    return letters if "?" not in letters and len(set(letters)) == len(letters) == axes else ""


def in_one_unit(lengths: Mapping[str, tuple[float, str]]) -> tuple[dict[str, float], str]:
    """Return lengths of pixels by axis in one unit, that of the last axis, and this unit.

    Axes whose unit is not known, or cannot be converted, are left out.

    Args:
        lengths: length and unit by the letter of the axis.

    Example:
        >>> in_one_unit({"Y": (200.0, "nm"), "X": (0.5, "µm")})
        ({'Y': 0.2, 'X': 0.5}, 'µm')
    """
    known = {axis: one for axis, one in lengths.items() if one[1]}
    if not known:
        return {}, ""
    unit = known[max(known, key=SPATIAL.index)][1]
    found = {}
    for axis, (length, own) in known.items():
        if own == unit:
            found[axis] = length
        elif {own, unit} <= {*METRES}:
            found[axis] = float(f"{length * METRES[own] / METRES[unit]:.12g}")
    return found, unit


def names_of_maps(classes: Sequence[str], bands: int, named: Sequence[str] = ()) -> list[str]:
    """Return a name for every band of every map: that of the class and of the band, which has a number if unknown.

    Example:
        >>> names_of_maps(["actin"], 1), names_of_maps(["actin"], 2), names_of_maps(["actin"], 2, ["DAPI", "GFP"])
        (['actin'], ['actin 0', 'actin 1'], ['actin DAPI', 'actin GFP'])
    """
    if len(named) != bands:
        named = [str(band) for band in range(bands)]
    return [f"{name} {band}" if bands > 1 else name for name in classes for band in named]
