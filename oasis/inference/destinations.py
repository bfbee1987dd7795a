"""Destinations: where the maps and previews of every input file are written."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from oasis.errors import ConfigError, DataError
from oasis.inference.catalogue.cutouts import is_cutouts
from oasis.inference.predicted import tables_of
from oasis.inference.sinks import CSV, OUTPUTS, check_kind
from oasis.io.catalogues import is_catalogue, is_our_catalogue
from oasis.io.folders import image_files, stem_of
from oasis.io.outputs import Recogniser, is_intensities, is_maps, recognised
from oasis.io.zarr_files import ZARR, is_zarr
from oasis.options import Options

Leading = Callable[[Sequence[Path]], list[Path]]
Each = Literal["ome.tif", "h5", "npz", "csv"]


class OutputOptions(Options):
    """What is written besides one file of maps.

    Attributes:
        each: write one file for every input, of this kind, into the folder `out`; `csv` for signals only.
        previews: write a PNG of the first images of every input and their maps: into that folder, else into
            `NAME_previews` beside `out`.

    Example:
        >>> OutputOptions(each="ome.tif").each
        'ome.tif'
    """

    each: Each | None = None
    previews: bool = False


def check_destination(out: Path, options: OutputOptions, source: str | Path) -> None:
    """Check that the output is a folder exactly where there is one file for every input.

    Raises:
        ConfigError: a folder without `each`, `each` with the name of a file, or previews of a zarr store.
        DataError: the folder is that of the inputs, or is a file.
    """
    if options.each is None:
        if check_kind(out) == ZARR and options.previews:
            raise ConfigError(f"{out}: previews: not of a zarr store, which is written in parts")
        return
    if out.suffix.lower() in (*OUTPUTS, CSV) or is_catalogue(out):
        raise ConfigError(f"{out}: each: one file for every input goes into a folder, which has no {out.suffix}")
    if out.is_file():
        raise DataError(f"{out}: is a file, expected a folder for one file for every input")
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    if out.is_dir() and folder.is_dir() and out.samefile(folder):
        raise DataError(f"{out}: is the folder of the inputs: choose another one")


def names_of(files: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the outputs of every file: its own without suffix, or with it where two would be the same.

    Example:
        >>> list(names_of([Path("x/a.ome.tif"), Path("x/b.tif"), Path("x/b.npy")]).values())
        ['a', 'b.tif', 'b.npy']
    """
    short = {path: stem_of(path) for path in files}
    often = Counter(name.lower() for name in short.values())
    return {path: name if often[name.lower()] == 1 else path.name for path, name in short.items()}


def maps_of(files: Sequence[Path], out: Path, options: OutputOptions) -> dict[Path, Path]:
    """Return the file of maps of every input file."""
    return {path: out / f"{name}.{options.each}" for path, name in names_of(files).items()}


def previews_of(files: Sequence[Path], out: Path, options: OutputOptions) -> dict[Path, Path]:
    """Return the file of the preview of every input file."""
    folder = out if options.each else preview_folder(out)
    return {path: folder / f"{name}.png" for path, name in names_of(files).items()}


def preview_folder(out: Path) -> Path:
    """Return the folder of the previews beside a file of maps."""
    return out.with_name(f"{stem_of(out)}_previews")


def images_of(source: str | Path, out: Path, suffixes: Sequence[str], leading: Leading = list) -> list[Path]:
    """Return the image files of a source, without what this and earlier predictions wrote into the same folder.

    Args:
        source: a file or a folder.
        out: the output.
        suffixes: the suffixes of image files.
        leading: leaves one file of those that are one image; see `Adapter.leading`.

    Raises:
        DataError: there are none.
    """
    return leading(image_files(source, suffixes, without=(out, *tables_of(out), *_results(Path(source)))))


def _results(folder: Path) -> Iterator[Path]:
    """Yield the files that earlier predictions wrote into a folder; tables tell maps from those of others."""
    if not os.path.isdir(folder) or is_zarr(folder):
        return
    for path in folder.iterdir():
        if is_catalogue(path) and (recognised(path, is_our_catalogue) or recognised(path, is_cutouts)):
            yield path
    for table in folder.glob("*.csv"):
        if recognised(table, is_intensities):
            maps = (table.with_suffix(suffix) for suffix in OUTPUTS)
            yield from (table, tables_of(table)[1])
            yield from (path for path in maps if recognised(path, is_maps))


def outputs_of(
    source: str | Path,
    out: Path,
    options: OutputOptions,
    suffixes: Sequence[str],
    grouped: bool,
    leading: Leading = list,
) -> dict[Path, Recogniser]:
    """Return every file that a prediction writes, with the function that recognises an earlier one.

    Args:
        source: a file or a folder.
        out: the file of maps, or the folder of such files.
        options: what is written.
        suffixes: the suffixes of image files.
        grouped: whether there is a table of instances.
        leading: leaves one file of those that are one image.

    Raises:
        DataError: there are no image files, or the output cannot be of this kind.
    """
    table, instances = tables_of(out)
    found: dict[Path, Recogniser] = {table: is_intensities}
    if grouped:
        found[instances] = is_intensities
    if options.each is None:
        found[out] = is_maps
    if options.each is None and not options.previews:
        return found
    check_destination(out, options, source)
    files = images_of(source, out, suffixes, leading)
    if options.each is not None:
        found |= dict.fromkeys(maps_of(files, out, options).values(), is_maps)
    if options.previews:
        found |= dict.fromkeys(previews_of(files, out, options).values(), _is_picture)
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix == ".png" and b"Matplotlib" in path.read_bytes()[:400]
