"""Cutouts: the map of every object as an image of its own in a FITS file, with its place on the sky."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from oasis.adapters.base import Sky
from oasis.adapters.sources import Sources
from oasis.errors import import_extra
from oasis.io.catalogues import as_ascii

CUTOUTS: Final = "cutouts"  # of the card OASIS in the first header


class Cutouts:
    """A FITS file with a unit for each object, named by its number: `SOURCE_<id>`, (B, rows, columns).

    Args:
        path: the path of the file, which does not exist.
        unit: of the maps.
    """

    def __init__(self, path: Path, unit: str) -> None:
        self.fits = import_extra("astropy.io.fits", "fits")
        self.path, self.unit = path, unit
        self.fits.PrimaryHDU(header=self.fits.Header({"OASIS": CUTOUTS})).writeto(path, overwrite=True)

    def add(self, sources: Sources, numbers: Sequence[int], sky: Sky | None) -> None:
        """Append the maps of objects."""
        with self.fits.open(self.path, mode="append", memmap=False) as file:
            for number, maps, start in zip(numbers, sources.maps, sources.starts.tolist(), strict=True):
                header = self.fits.Header(
                    {"BUNIT": self.unit, "ID": number, "SOURCE": as_ascii(sources.path.name)}
                )
                header.update(
                    {"ROW0": start[0], "COLUMN0": start[-1]} if len(start) > 1 else {"COLUMN0": start[0]}
                )
                if sky is not None:
                    header.update(sky.cards(start))
                file.append(self.fits.ImageHDU(np.asarray(maps, np.float32), header, name=f"SOURCE_{number}"))


def is_cutouts(path: Path) -> bool:
    """Return whether a file is one that `Cutouts` wrote."""
    with path.open("rb") as file:
        start = file.read(2880)
    return start.startswith(b"SIMPLE") and f"OASIS   = '{CUTOUTS}".encode() in start
