"""Image files of the sky, read one image at a time: FITS, pictures and HDF5 collections, found in folders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from oasis.adapters.galaxy.bricks import leading
from oasis.adapters.galaxy.cutout import FITS, HDF5, PICTURES, SUFFIXES, Cutout, Reading, checked, object_name
from oasis.adapters.galaxy.fits import read_fits
from oasis.adapters.galaxy.pictures import from_picture, read_picture
from oasis.adapters.galaxy.survey import PIXEL_SCALE
from oasis.errors import DataError
from oasis.io.files import reading as guarded
from oasis.io.hdf5 import open_hdf5


@dataclass(frozen=True)
class Entry:
    """An image that can be read: `read()` gives its `Cutout`, or raises `DataError`."""

    name: str
    path: Path
    read: Callable[[], Cutout]


def read_cutouts(
    source: str | Path,
    reading: Reading | None = None,
    pixel_scales: Mapping[str, float] | None = None,
    bands: Sequence[str] = (),
) -> Iterator[Cutout]:
    """Read the images of a file, or of a folder and its subfolders, one after another.

    Args:
        source: FITS (`.fits`, `.fits.gz`, `.fits.fz`), a picture (`.png`, `.jpg`), HDF5, or a folder of these.
            HDF5 contains `images`: flux (n, B, H, W) in pixels of 0.262 arcsec unless `reading` says otherwise, or
            pictures of the viewer (n, H, W, 3) with `pxscale`, as Galaxy10 DECaLS does; and `ra` and `dec`.
        reading: facts that the files do not state.
        pixel_scales: of pictures by name, arcsec; see `oasis.adapters.galaxy.catalogue.pixel_scales`.
        bands: the wanted bands, of which each may be in a FITS file of its own.

    Raises:
        DataError: a file that cannot be used.
    """
    for entry in entries(find_files(source), reading, pixel_scales, bands):
        yield entry.read()


def find_files(source: str | Path) -> list[Path]:
    """Return the files of a folder and its subfolders that may contain images, or the one file.

    Raises:
        DataError: there is no such file or folder, or no image in it.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    found = [path for path in sorted(source.rglob("[!.]*")) if path.name.lower().endswith(SUFFIXES)]
    if not found:
        raise DataError(f"{source}: contains no images; expected {', '.join(SUFFIXES)}")
    return found


def entries(
    paths: Sequence[Path],
    reading: Reading | None = None,
    pixel_scales: Mapping[str, float] | None = None,
    bands: Sequence[str] = (),
) -> Iterator[Entry]:
    """List the images of files without reading them; errors are raised when an image is read."""
    reading, pixel_scales = reading or Reading(), pixel_scales or {}
    bands = bands or reading.bands
    for path in leading(paths, bands):
        name = object_name(path)
        suffix = path.name[len(name) :].lower()
        if suffix in HDF5:
            yield from _hdf5_entries(path, reading)
        elif suffix in FITS:
            yield Entry(name, path, partial(read_fits, path, reading, bands))
        elif suffix in PICTURES:
            scale = pixel_scales.get(name, reading.pixel_scale)
            yield Entry(name, path, partial(read_picture, path, reading, scale))
        else:
            reason = DataError(f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}")
            yield Entry(name, path, partial(_refuse, reason))


def _refuse(reason: DataError) -> Cutout:
    raise reason


def _hdf5_entries(path: Path, reading: Reading) -> Iterator[Entry]:
    try:
        count = _count(path)
    except DataError as reason:
        yield Entry(path.stem, path, partial(_refuse, reason))
        return
    for index in range(count):
        yield Entry(f"{path.stem}/{index}", path, partial(_read_hdf5, path, index, reading))


def _count(path: Path) -> int:
    """Return how many images an HDF5 file contains."""
    with guarded(path), open_hdf5(path) as file:
        images = file.get("images")
        if not isinstance(images, h5py.Dataset) or images.ndim != 4:
            raise DataError(
                f"{path}: expected a data set 'images' of (n, bands, rows, columns) or (n, rows, columns, 3), "
                f"found {', '.join(map(str, file)) or 'nothing'}"
            )
        return len(images)


def _read_hdf5(path: Path, index: int, reading: Reading) -> Cutout:
    """Read image `index`: flux in nmgy (n, B, H, W), or pictures of the viewer (n, H, W, 3) with `pxscale`."""
    where, name, bands = f"{path}: image {index}", f"{path.stem}/{index}", reading.bands
    with guarded(path, f"image {index} is damaged"), open_hdf5(path) as file:
        values = file["images"][index]
        ra, dec = (float(file[key][index]) if key in file else np.nan for key in ("ra", "dec"))
        scale = float(file["pxscale"][index]) if "pxscale" in file else reading.pixel_scale
    if values.dtype == np.uint8 and values.shape[-1] == 3:
        if scale is None:
            raise DataError(f"{path}: pictures without a data set 'pxscale': give reading.pixel_scale")
        return from_picture(where, values, "viewer", scale, name, ra, dec)
    if values.dtype.kind != "f" or len(values) != len(bands):
        raise DataError(
            f"{where} is {values.dtype} of shape {values.shape}, expected flux in the {len(bands)} bands "
            f"{', '.join(bands)}, or a picture of 8 bits in 3 colours"
        )
    cutout = Cutout(values, bands, scale or PIXEL_SCALE, name, ra=ra, dec=dec)
    return checked(where, cutout, reading.native_scale, reading.missing)
