"""Stamps: a library of isolated galaxies on one pixel grid, each centred, sky-subtracted and 0 elsewhere.

Layout of a file: attributes `format`, `bands`, `pixel_scale` and `psf_fwhm`; data sets `flux` and `noise`; group
`table` (a column per quantity).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from oasis.data.components import read_columns
from oasis.data.samples import Array
from oasis.errors import DataError, import_extra, shown
from oasis.io.files import one_line, replace_alone
from oasis.io.hdf5 import create_hdf5, open_hdf5

FORMAT = "oasis-galaxies-1"
SMALLEST_PIXEL, LARGEST_PIXEL = 1e-4, 1e4  # arcsec


@dataclass(frozen=True)
class Stamps:
    """A library of isolated galaxies of the same bands and pixel scale, one square stamp each.

    Attributes:
        flux: (n, B, s, s) float32 nmgy per pixel, sky-subtracted; the galaxy's centroid is at the pixel
            (s // 2, s // 2) to within a pixel, and pixels outside the galaxy are 0.
        noise: (n, B) float32, the noise that the stamp itself still carries, nmgy per pixel (1 sigma); 0 for
            simulated galaxies.
        table: truth quantities, one (n,) column each: `name`, `approximate` (whether the flux was recovered from
            a stretched picture), `r50` (half-light radius in the reference band, arcsec), `flux_<band>` (nmgy) and
            any further metadata.
        bands: the B band names.
        pixel_scale: arcsec.
        psf_fwhm: (B,) of the point-spread function, arcsec; NaN where unknown.
    """

    flux: Array
    noise: Array
    table: Mapping[str, NDArray[Any]]
    bands: tuple[str, ...]
    pixel_scale: float
    psf_fwhm: Array

    def __post_init__(self) -> None:
        if self.flux.ndim != 4 or self.flux.shape[2] != self.flux.shape[3]:
            raise DataError(f"stamps have shape {self.flux.shape}, expected (galaxies, bands, s, s)")
        count, bands = self.flux.shape[:2]
        if len(set(self.bands)) != bands or len(self.bands) != bands:
            raise DataError(f"stamps of {bands} bands, but the bands are named {list(self.bands)}")
        if self.noise.shape != (count, bands) or self.psf_fwhm.shape != (bands,):
            raise DataError(
                f"noise has shape {self.noise.shape} and psf_fwhm {self.psf_fwhm.shape}, expected "
                f"{(count, bands)} and {(bands,)}"
            )
        if not SMALLEST_PIXEL <= self.pixel_scale <= LARGEST_PIXEL:
            raise DataError(
                f"the pixel scale is {self.pixel_scale}, expected {SMALLEST_PIXEL:g} to {LARGEST_PIXEL:g} arcsec"
            )
        if not (np.isfinite(self.flux).all() and np.isfinite(self.noise).all() and (self.noise >= 0).all()):
            raise DataError("flux and noise must be finite, and noise non-negative")
        wanted = ("name", "approximate", "r50", *(f"flux_{band}" for band in self.bands))
        missing = [name for name in wanted if name not in self.table]
        if missing:
            raise DataError(f"the table of stamps has no column {', '.join(missing)}")
        for name, column in self.table.items():
            kinds = "biuf" if name in wanted[1:] else "biufUS"
            if column.ndim != 1 or column.dtype.kind not in kinds:
                found = f"{column.dtype} of shape {column.shape}"
                raise DataError(f"column {name!r} is {found}, expected a number for each galaxy")
            if len(column) != count:
                raise DataError(f"column {name!r} has {len(column)} rows for {count} galaxies")

    @classmethod
    def measure(
        cls,
        flux: Array,
        bands: Sequence[str],
        pixel_scale: float,
        table: Mapping[str, ArrayLike],
        noise: Array | None = None,
        psf_fwhm: Sequence[float] | None = None,
    ) -> Self:
        """Make a library of stamps, and measure `r50` and `flux_<band>` on them.

        Args:
            flux: (n, B, s, s) nmgy per pixel.
            bands: the B band names.
            pixel_scale: arcsec.
            table: further columns; by default `name` is a running number and `approximate` is False.
            noise: (n, B) of the stamps themselves, nmgy per pixel; by default none.
            psf_fwhm: (B,) arcsec, by default unknown.

        Example:
            >>> library = Stamps.measure(np.ones((1, 1, 9, 9), np.float32), ["r"], 0.262, {})
            >>> len(library), float(library.table["flux_r"][0])
            (1, 81.0)
        """
        flux = np.asarray(flux, np.float32)
        columns: dict[str, NDArray[Any]] = {
            "name": np.array([str(number) for number in range(len(flux))]),
            "approximate": np.zeros(len(flux), bool),
            "r50": half_light_radius(flux[:, reference_band(bands)], pixel_scale),
        }
        columns |= {f"flux_{band}": flux[:, index].sum((1, 2), np.float64) for index, band in enumerate(bands)}
        columns |= {name: np.asarray(column) for name, column in table.items()}
        return cls(
            flux,
            np.zeros(flux.shape[:2], np.float32) if noise is None else np.asarray(noise, np.float32),
            columns,
            tuple(bands),
            float(pixel_scale),
            np.asarray([np.nan] * len(bands) if psf_fwhm is None else psf_fwhm, np.float32),
        )

    def __len__(self) -> int:
        return len(self.flux)

    def select(self, indices: ArrayLike) -> Self:
        """Return the library of the galaxies `indices`, or of those where a mask (n,) is true."""
        rows = np.asarray(indices)
        if not rows.size:
            rows = rows.astype(np.intp)
        table = {name: column[rows] for name, column in self.table.items()}
        return replace(self, flux=self.flux[rows], noise=self.noise[rows], table=table)

    @classmethod
    def concatenate(cls, libraries: Sequence[Self]) -> Self:
        """Return one library of all galaxies, with the columns that all libraries have.

        A point-spread function that differs between them becomes NaN.

        Raises:
            DataError: no library, or libraries of other bands, another pixel scale or size.
        """
        if not libraries:
            raise DataError("no libraries of stamps to join")
        first = libraries[0]
        for library in libraries:
            if _grid(library) != _grid(first):
                raise DataError(f"stamps of {_grid(library)} cannot join stamps of {_grid(first)}")
        equal = np.all([library.psf_fwhm == first.psf_fwhm for library in libraries], axis=0)
        names = [name for name in first.table if all(name in library.table for library in libraries)]
        return cls(
            np.concatenate([library.flux for library in libraries]),
            np.concatenate([library.noise for library in libraries]),
            {name: np.concatenate([library.table[name] for library in libraries]) for name in names},
            first.bands,
            first.pixel_scale,
            np.where(equal, first.psf_fwhm, np.float32(np.nan)),
        )

    def save(self, path: str | Path) -> None:
        """Write the library to an HDF5 file, which appears once it is complete.

        Raises:
            DataError: a path that cannot be written to.
        """
        with replace_alone(Path(path)) as temporary, create_hdf5(temporary) as file:
            file.attrs.update(format=FORMAT, bands=json.dumps(self.bands), pixel_scale=self.pixel_scale)
            file.attrs["psf_fwhm"] = self.psf_fwhm
            chunks = (1, *self.flux.shape[1:]) if len(self) else None
            file.create_dataset("flux", data=self.flux, chunks=chunks, compression="gzip", shuffle=True)
            file.create_dataset("noise", data=self.noise)
            for name, column in self.table.items():
                text = column.dtype.kind == "U"
                file.create_dataset(f"table/{name}", data=np.char.encode(column, "utf-8") if text else column)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a library that `save` wrote.

        Raises:
            DataError: the file is missing, truncated or of another kind.
        """
        with open_hdf5(Path(path)) as file:
            found = file.attrs.get("format")
            if not isinstance(found, str) or found != FORMAT:
                raise DataError(f"{path}: not a library of galaxies (format {shown(found)})")
            try:
                return cls(
                    file["flux"][:].astype(np.float32, copy=False),
                    file["noise"][:].astype(np.float32, copy=False),
                    {name: _decoded(column) for name, column in read_columns(file.get("table")).items()},
                    tuple(json.loads(file.attrs["bands"])),
                    float(file.attrs["pixel_scale"]),
                    np.asarray(file.attrs["psf_fwhm"], np.float32),
                )
            except Exception as error:  # a damaged file can raise anything
                raise DataError(f"{path}: not a library of galaxies: {one_line(error)}") from error


def reference_band(bands: Sequence[str]) -> int:
    """Return which band sizes are measured in: r, or the middle one where there is no r.

    Example:
        >>> reference_band(["g", "r", "z"]), reference_band(["F814W"])
        (1, 0)
    """
    return list(bands).index("r") if "r" in bands else len(bands) // 2


def half_light_radius(images: NDArray[np.floating], pixel_scale: float) -> NDArray[np.float64]:
    """Return the radius around the centroid that contains half of the light (n,), arcsec; NaN without light.

    Args:
        images: (n, H, W) of one galaxy each, without sky.
        pixel_scale: arcsec.

    Raises:
        MissingExtraError: sep is not installed.

    Example:
        >>> y, x = np.mgrid[:41, :41] - 20
        >>> disc = (np.hypot(x, y) < 15).astype(np.float32)[None]
        >>> half_light_radius(disc, 1.0).round(1)
        array([10.5])
    """
    sep = import_extra("sep", "galaxy")
    rows, cols = np.indices(images.shape[1:])
    reach = 2 * float(np.hypot(*images.shape[1:]))
    radii = np.full(len(images), np.nan)
    for index, image in enumerate(np.ascontiguousarray(images, np.float64)):
        if not image.sum() > 0:
            continue
        light = np.maximum(image, 0)
        y, x = (rows * light).sum() / light.sum(), (cols * light).sum() / light.sum()

        def excess(radius: float, image: Array = image, x: float = x, y: float = y) -> float:
            return float(sep.sum_circle(image, [x], [y], [radius], subpix=0)[0][0] - image.sum() / 2)

        radii[index] = pixel_scale * brentq(excess, 1e-3, reach)
    return radii


def _grid(library: Stamps) -> str:
    size = library.flux.shape[-1]
    return f"{size}x{size} pixels of {library.pixel_scale:g} arcsec in {', '.join(library.bands)}"


def _decoded(column: NDArray[Any]) -> NDArray[Any]:
    return np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column
