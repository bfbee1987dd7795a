"""Outputs: a check that no command overwrites its inputs, a run, or a file that it did not write."""

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from oasis.errors import ConfigError, DataError
from oasis.io.ome_tiff import TIFF, is_ome_maps
from oasis.io.run_files import run_of
from oasis.io.signal_tables import is_signals
from oasis.io.texts import read_json, read_text
from oasis.io.yaml_text import read_yaml

Recogniser = Callable[[Path], bool]  # whether a file is an earlier output
LONGEST_PATH = 4096  # characters of a setting that may be a path


def check_outputs(
    outputs: Mapping[Path, Recogniser],
    inputs: Iterable[str | Path] = (),
    own: Iterable[Path] = (),
    force: bool | None = None,
    mend: str = "choose another name",
) -> None:
    """Check that a command may write its outputs, before anything is computed.

    Paths are compared by the files that they lead to, through symbolic links, hard links and differences in case.

    Args:
        outputs: each file that would be written, with the function that recognises the command's earlier outputs.
        inputs: files and folders that are read; they are never replaced, and in a folder only earlier outputs are.
        own: files of runs that the command is meant to write.
        force: also replace files that are not recognised; None for a command without this option.
        mend: how the user chooses another name.

    Raises:
        DataError: an output is an input or a file of a run, or exists and is not an earlier output.
    """
    sources, mine = [Path(path) for path in inputs], {os.path.realpath(path) for path in own}
    for out, is_ours in outputs.items():
        if os.path.realpath(out) not in mine:
            _check_not_of_a_run(out)
        if not os.path.lexists(out):
            continue
        source = next((path for path in sources if _same(out, path)), None)
        if source is not None:
            raise DataError(f"{out}: would overwrite the input {source}: {mend}")
        ours = recognised(out, is_ours)
        folder = next((path for path in sources if path.is_dir() and _is_within(out, path)), None)
        if folder is not None and not ours:
            raise DataError(f"{out}: would overwrite a file in the input folder: {mend}")
        if not ours and not force:
            mend = mend if force is None else f"{mend}, or pass --force to replace it"
            raise DataError(f"{out}: exists and is not an earlier output of this command: {mend}")


def check_named(out: Path, example: str) -> None:
    """Check that an output has a name, beside which others can be written.

    Raises:
        ConfigError: it has none, as `.` and `/`.
    """
    if out.name in ("", ".."):
        raise ConfigError(f"{out}: expected an output with a name of its own, such as {out / example}")


def paths_in(values: Any) -> Iterator[Path]:
    """Yield the existing files and folders that settings name."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            yield from paths_in(value)
    elif isinstance(values, str) and values and len(values) < LONGEST_PATH and os.path.exists(values):
        yield Path(values)


def is_maps(path: Path) -> bool:
    """Return whether a file, or a zarr store, contains maps that `oasis predict` wrote."""
    if path.is_dir():
        facts = read_json(path / "zarr.json")
        return {"classes", "unit", "identity", "oasis"} <= {*facts["attributes"]}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {"classes.npy", "unit.npy", "identity.npy", "source.npy", "frame.npy"} <= {*archive.namelist()}
    if path.suffix.lower() in TIFF:
        return is_ome_maps(path)
    if path.suffix.lower() == ".csv":
        return is_signals(path)
    with h5py.File(path, "r") as file:
        return {"classes", "unit", "identity"} <= {*file.attrs} and isinstance(file.get("maps"), h5py.Group)


def is_intensities(path: Path) -> bool:
    """Return whether a file is the table of intensities that `oasis predict` wrote."""
    with path.open("rb") as file:
        return (
            file.readline(1000).removeprefix(b"\xef\xbb\xbf").startswith(b"source,frame,class,intensity_predicted")
        )


def is_simulated(path: Path) -> bool:
    """Return whether a file contains samples that `oasis simulate` wrote."""
    with h5py.File(path, "r") as file:
        facts = json.loads(str(file.attrs.get("attributes", "{}")))
        return _is_ours(file) and {"adapter", "split", "configuration"} <= {*facts}


def is_converted(path: Path) -> bool:
    """Return whether a file is an output of `oasis convert`."""
    with h5py.File(path, "r") as file:
        ours = _is_ours(file)
    return ours and not is_simulated(path)


def is_left_out(path: Path) -> bool:
    """Return whether a file is the table of objects that `oasis convert` left out."""
    with path.open("rb") as file:
        return file.readline(1000).strip() == b"name,path,reason,detail"


def is_run_config(path: Path) -> bool:
    """Return whether a file is the complete configuration that `oasis train` wrote."""
    return {"adapter", "run", "seed", "data_seed", "data", "model", "loss", "training"} <= {*read_yaml(path)}


def is_separator_options(path: Path) -> bool:
    """Return whether a file is the readable description of a separator that `oasis train` wrote."""
    return {"classes", "spatial_dims", "model", "scaling"} <= {*read_json(path)}


def is_report(path: Path) -> bool:
    """Return whether a file is a page that `oasis report` wrote."""
    start = read_text(path)[:4000]
    return 'name="generator" content="oasis report"' in start or "<title>Report of " in start


def _is_ours(file: h5py.File) -> bool:
    return str(file.attrs.get("format", "")).startswith("oasis-")


def recognised(path: Path, is_ours: Recogniser) -> bool:
    """Return whether a file is an earlier output; an unreadable file is not."""
    if not path.is_file() and not (path / "zarr.json").is_file():
        return False
    with suppress(Exception):  # whatever the reader of a foreign file raises
        return is_ours(path)
    return False


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file."""
    with suppress(OSError, ValueError):
        return os.path.samefile(one, other)
    return False


def _is_within(path: Path, folder: Path) -> bool:
    """Return whether a folder contains a file, or a link to it."""
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        return True
    with suppress(OSError), os.scandir(folder) as entries:
        return any(_same(path, Path(entry.path)) for entry in entries if not entry.is_dir(follow_symlinks=False))
    return False


def _check_not_of_a_run(out: Path) -> None:
    for place in {out, out.absolute(), Path(os.path.realpath(out))}:
        folder = run_of(place)
        if folder is not None:
            raise DataError(f"{out}: is a file of the run {folder}: choose another name")
