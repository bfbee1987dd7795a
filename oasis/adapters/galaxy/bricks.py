"""Images of one band per file: which files belong together, as their names say.

The coadded images of the Legacy Surveys are `legacysurvey-<brick>-image-<band>.fits.fz` with `-invvar-<band>`,
`-psfsize-<band>` and `-maskbits` beside them (https://www.legacysurvey.org/dr10/files/). Others end in the name of
their band, as `NAME-r.fits` or `NAME_r.fits` do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oasis.adapters.galaxy.cutout import FITS, object_name
from oasis.errors import DataError

PLANES: Final = ("invvar", "psfsize", "maskbits")
"""Kinds of files that are read together with images."""

OTHERS: Final = (
    "model",
    "blobmodel",
    "chi2",
    "depth",
    "galdepth",
    "nexp",
    "blobmap",
    "blobmask",
    "coaddpsf",
    "copsf",
)
"""Kinds of files that are no images of the sky."""

_NAMED = re.compile(rf"(?P<stem>.+)-(?P<kind>image|{'|'.join((*PLANES, *OTHERS))})(-(?P<band>[A-Za-z0-9]+))?")


@dataclass(frozen=True)
class Part:
    """What the name of a file says.

    Attributes:
        stem: what the files of one image have in common, with the character before the name of the band.
        kind: `image` or one of `PLANES` and `OTHERS`.
        band: of which band, empty for all.
    """

    stem: str
    kind: str
    band: str


def part_of(path: Path, bands: Sequence[str]) -> Part | None:
    """Return what the name of a FITS file says, or None if it names no band.

    Args:
        path: the path of the file.
        bands: the names of bands, for files that are not named as those of the Legacy Surveys.

    Example:
        >>> part_of(Path("legacysurvey-0489m442-image-r.fits.fz"), ["g", "r"])
        Part(stem='legacysurvey-0489m442', kind='image', band='r')
        >>> part_of(Path("field_F814W.fits"), ["F814W"]), part_of(Path("field.fits"), ["F814W"])
        (Part(stem='field_', kind='image', band='F814W'), None)
    """
    if not path.name.lower().endswith(FITS):
        return None
    name = object_name(path)
    named = _NAMED.fullmatch(name)
    if named:
        return Part(named["stem"], named["kind"], named["band"] or "")
    for band in sorted(bands, key=len, reverse=True):
        if len(name) > len(band) + 1 and name.endswith((f"-{band}", f"_{band}")):
            return Part(name[: -len(band)], "image", band)
    return None


def leading(paths: Sequence[Path], bands: Sequence[str]) -> list[Path]:
    """Return one file for every image: those of other bands, and of planes, are read with it (`together`).

    Example:
        >>> names = ["a-image-g.fits", "a-image-r.fits", "a-invvar-r.fits", "a-maskbits.fits", "b.fits"]
        >>> [path.name for path in leading([Path(name) for name in names], ["r", "g"])]
        ['a-image-r.fits', 'b.fits']
    """
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    parts = {path: part_of(path, bands) for path in paths}
    for path, part in parts.items():
        if part is not None and part.kind == "image":
            groups.setdefault((path.parent, part.stem), {}).setdefault(part.band, path)
    firsts = {
        key: next((group[band] for band in bands if band in group), min(group.values()))
        for key, group in groups.items()
    }
    kept = []
    for path, part in parts.items():
        first = None if part is None else firsts.get((path.parent, part.stem))
        if first == path or (first is None and (part is None or part.kind not in OTHERS)):
            kept.append(path)
    return kept


def together(path: Path, bands: Sequence[str]) -> list[tuple[Path, Part | None]]:
    """Return the files that make up one image, and what their names say: the bands in order, then their planes.

    Args:
        path: the path of one of them.
        bands: the wanted bands; others are not read.

    Raises:
        DataError: two files are the same band or plane of the image.
    """
    own = part_of(path, bands)
    if own is None or own.kind != "image":
        return [(path, own)]
    found = [(one, part_of(one, bands)) for one in sorted(path.parent.iterdir())]
    every: dict[tuple[str, str], list[Path]] = {}
    for one, part in found:
        if part is not None and part.stem == own.stem:
            every.setdefault((part.kind, part.band), []).append(one)
    same = {key: paths[0] for key, paths in every.items()}
    chosen = [band for band in bands if ("image", band) in same] or [own.band]
    listed = [("image", band) for band in chosen]
    listed += [(kind, band) for kind in PLANES for band in (*chosen, "") if (kind, band) in same]
    for first, *others in (every[key] for key in listed if key in every):
        if others:
            raise DataError(f"{first}: {others[0].name} is the same band or plane of this image: keep one of them")
    return [(path if key == (own.kind, own.band) else same[key], Part(own.stem, *key)) for key in listed]
