"""Zarr store of maps: written unit by unit by any number of processes, and continued where it was interrupted.

The maps of a class are an OME-Zarr image, `maps/<class>`, of which every unit fills whole chunks (or shards). The
record of a unit, with its rows of the table, is written after its maps: a unit with a record is complete.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from oasis.errors import BusyError, DataError, import_extra
from oasis.inference.pixels import PixelSize
from oasis.inference.windows import Place
from oasis.io.files import made_for, one_line, reading
from oasis.io.texts import read_json, write_text

FORMAT: Final = "oasis-maps-1"
FACTS: Final = "oasis"  # the attribute with all that a unit needs to know
RECORDS: Final = "records"
RECORD: Final = "record"
KINDS: Final = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
OME_UNITS: Final = {"µm": "micrometer", "s": "second"}  # others have the same name
GROUP: Final = "zarr.json"
METADATA: Final = (GROUP, ".zgroup", ".zarray")


class MapStore:
    """A zarr store of maps.

    Args:
        path: of the store, which exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zarr = import_extra("zarr", "zarr")
        with reading(path, "not a store of maps"):
            self._root = self._zarr.open_group(str(path), mode="r+")
            self.facts: dict[str, Any] = json.loads(self._root.attrs[FACTS])
        self._arrays: dict[str, Any] = {}

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, Any], attributes: Mapping[str, Any]) -> "MapStore":
        """Create a store without arrays.

        Args:
            path: of the store.
            facts: all that a unit needs to know, and that a continuation has to have in common.
            attributes: further ones, for readers.
        """
        zarr = import_extra("zarr", "zarr")
        with writing(path):
            group = zarr.create_group(str(path), attributes={**attributes, FACTS: json.dumps(facts)})
            group.create_group(RECORDS)
        return cls(path)

    def add_maps(
        self,
        name: str,
        shape: Sequence[int],
        chunk: Sequence[int],
        shard: Sequence[int] | None,
        fill: Any = np.nan,
        pixel: PixelSize = PixelSize(),  # noqa: B008
    ) -> None:
        """Add an array of images (n, B, *S) with the metadata of OME-Zarr 0.5, for two or three dimensions.

        Args:
            name: of the image; the array is `<name>/0`.
            shape: of the array.
            chunk: of what is read at once.
            shard: of what is written at once, if it is more.
            fill: the value of what is not written.
            pixel: the length of a pixel.
        """
        axes = ["t", "c", *"zyx"[5 - len(shape) :]]
        scale = [{"type": "scale", "scale": [1.0, 1.0, *(pixel.size or (1.0,) * (len(axes) - 2))]}]
        unit = {"unit": OME_UNITS.get(pixel.unit, pixel.unit)} if pixel.unit else {}
        image = {
            "name": name.rpartition("/")[2],
            "axes": [{"name": axis, "type": KINDS[axis], **(unit if axis in "zyx" else {})} for axis in axes],
            "datasets": [{"path": "0", "coordinateTransformations": scale}],
        }
        facts = {"ome": {"version": "0.5", "multiscales": [image]}} if len(shape) > 3 else {}
        with writing(self.path):
            if "/" in name:
                self._root.require_group(name.rpartition("/")[0])
            group = self._root.create_group(name, attributes=facts)
            group.create_array(
                "0",
                shape=tuple(shape),
                dtype="bool" if isinstance(fill, bool) else "float32",
                chunks=tuple(chunk),
                shards=None if shard is None else tuple(shard),
                fill_value=fill,
                dimension_names=axes,
            )

    def add_column(self, name: str, values: NDArray[Any]) -> None:
        """Add an array of one number for each image."""
        with writing(self.path):
            self._root.create_array(name, data=values)

    def write(self, name: str, rows: slice, values: NDArray[Any], place: Place | None = None) -> None:
        """Write maps (k, B, *part) that fill whole chunks.

        Args:
            name: of the image.
            rows: its images.
            values: the maps.
            place: the part of every image; by default the whole.
        """
        with writing(self.path):
            self._array(name)[(rows, slice(None), *(place or [slice(None)] * (values.ndim - 2)))] = values

    def read(self, name: str, row: int, place: Place) -> NDArray[np.float32]:
        """Return a part of the maps (B, *part) of an image."""
        with reading(self.path):
            return np.asarray(self._array(name)[(row, slice(None), *place)], np.float32)

    def _array(self, name: str) -> Any:
        """Return the array of an image, which is opened once."""
        if name not in self._arrays:
            self._arrays[name] = self._root[f"{name}/0"]
        return self._arrays[name]

    def done(self) -> set[str]:
        """Return the units that are complete."""
        found = set()
        with reading(self.path), os.scandir(self.path / RECORDS) as entries:
            for entry in entries:
                if entry.name[0] != "." and os.path.exists(os.path.join(entry.path, GROUP)):
                    found.add(entry.name)
        return found

    def record(self, unit: str, facts: Mapping[str, Any]) -> None:
        """Record that a unit is complete, as attributes of a group; its maps have to be written before.

        Raises:
            DataError: the disk is full, or cannot be written to.
        """
        folder = self.path / RECORDS / unit
        with writing(self.path):
            folder.mkdir(exist_ok=True)
        group = {"zarr_format": 3, "node_type": "group", "attributes": {RECORD: json.dumps(facts)}}
        write_text(folder / GROUP, json.dumps(group))

    def recorded(self, unit: str) -> dict[str, Any]:
        """Return the record of a unit.

        Raises:
            DataError: there is none, or it is damaged.
        """
        path = self.path / RECORDS / unit
        with reading(path, "a damaged record: remove it and repeat the same command"):
            found: dict[str, Any] = json.loads(read_json(path / GROUP)["attributes"][RECORD])
        return found

    def complete(self) -> None:
        """State that all units are complete."""
        with writing(self.path):
            self._root.attrs["complete"] = True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the system into a message of one line.

    Raises:
        DataError: the disk is full, or cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {one_line(error)}") from error


def facts_of(path: Path) -> dict[str, Any] | None:
    """Return the facts of a store of maps without opening it, or None for anything else."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        attributes = json.loads((path / GROUP).read_text(encoding="utf-8"))["attributes"]
        facts: dict[str, Any] = json.loads(attributes[FACTS])
        return facts if facts.get("format") == FORMAT else None
    return None


def open_store(path: Path, facts: Mapping[str, Any], replace: bool) -> MapStore | None:
    """Open the store of an earlier call with the same facts; None if there is nothing to continue.

    Args:
        path: of the store.
        facts: those of this call: `run`, `files` and `options`.
        replace: remove what is there if it is another store.

    Raises:
        DataError: there is something else, or a store of another run, other files or other options.
    """
    if not os.path.lexists(path):
        return None
    found = facts_of(path)
    if found is not None:
        other = next((what for what in ("run", "files", "options") if found.get(what) != facts[what]), None)
        if other is None:
            return MapStore(path)
        named = {"run": "another run", "files": "other image files", "options": "other options"}[other]
        problem = f"contains maps of {named}"
    else:
        problem = "exists and is not an earlier output of this command"
    make_way(path, replace, problem)
    return None


def is_store(path: Path) -> bool:
    """Return whether a folder is a zarr store or an empty folder, which may be removed."""
    return any((path / name).is_file() for name in METADATA) or not any(path.iterdir())


def make_way(path: Path, replace: bool, problem: str = "exists") -> None:
    """Remove a store, if there is one, that is to be replaced by another one.

    Args:
        path: of the store.
        replace: whether it may be removed.
        problem: why it cannot stay.

    Raises:
        DataError: it is not to be replaced, or is no store.
    """
    if not os.path.lexists(path):
        return
    whole = path.is_dir() and not path.is_symlink() and is_store(path)
    if not replace or not whole:
        mend = "choose another name, or pass --force to replace it" if whole else "choose another name"
        raise DataError(f"{path}: {problem}: {mend}")
    with writing(path):
        shutil.rmtree(path)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other commands from writing to a store during the block.

    Raises:
        BusyError: another process of this machine is writing to it.
        DataError: the folder cannot be written to.
    """
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file, timeout=0)
    with made_for(path):
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"{path}: another process is writing it: wait until that has ended, or choose another name"
            ) from None
        except (OSError, NotImplementedError, ValueError) as error:
            raise DataError(f"{path}: cannot be written: {one_line(error)}") from error
        try:
            _remove_parts(path)
            yield
        finally:
            with suppress(OSError):
                file.unlink()
            lock.release()


def _remove_parts(path: Path) -> None:
    """Remove what processes have left that were killed while they created the store."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}\.part")  # as tempfile names folders
    with os.scandir(path.parent) as entries:
        left = [entry.path for entry in entries if pattern.fullmatch(entry.name)]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
