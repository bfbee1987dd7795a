"""NPZ archives whose arrays grow row by row on disk instead of in memory."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


class _Rows:
    """The rows of one array, in an unnamed temporary file."""

    def __init__(self, file: IO[bytes], first: NDArray[Any]) -> None:
        self.file, self.dtype, self.shape, self.count = file, first.dtype, first.shape[1:], 0

    def append(self, rows: NDArray[Any]) -> None:
        if rows.shape[1:] != self.shape or rows.dtype != self.dtype:
            found = f"{rows.dtype} {rows.shape[1:]}"
            raise ValueError(f"rows of {found} appended to rows of {self.dtype} {self.shape}")
        self.file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def copy_to(self, member: IO[bytes]) -> None:
        shape = (self.count, *self.shape)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        self.file.seek(0)
        shutil.copyfileobj(self.file, member, 2**20)


class NpzWriter:
    """Appends rows to the arrays of an `.npz` file; see `create_npz`."""

    def __init__(self, spool: ExitStack, folder: Path) -> None:
        self._spool, self._folder = spool, folder
        self._numbers: dict[str, _Rows] = {}
        self._texts: dict[str, list[NDArray[Any]]] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, ...) to an array, created by the first call; texts stay in memory until the end."""
        if rows.dtype.kind == "U":
            self._texts.setdefault(name, []).append(rows)
            return
        if name not in self._numbers:
            file = self._spool.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115
            self._numbers[name] = _Rows(file, rows)
        self._numbers[name].append(rows)

    def write(self, path: Path, facts: Mapping[str, str]) -> None:
        """Write all arrays, and the facts as scalar texts, to the archive."""
        whole = {name: np.concatenate(rows) for name, rows in self._texts.items()}
        whole |= {name: np.array(text) for name, text in facts.items()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, rows in self._numbers.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    rows.copy_to(member)
            for name, array in whole.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


@contextmanager
def create_npz(path: Path, facts: Mapping[str, str]) -> Iterator[NpzWriter]:
    """Create an `.npz` file from rows that are appended to its arrays.

    Until the length of every array is known, the rows are kept in unnamed files next to `path`, which disappear
    however the process ends.

    Args:
        path: the path of the file.
        facts: texts to be stored in the file, by name.

    Example:
        >>> path = Path(tempfile.mkdtemp(), "maps.npz")
        >>> with create_npz(path, {"unit": "ADU"}) as file:
        ...     for row in range(3):
        ...         file.append("square", np.array([row**2]))
        >>> with np.load(path) as file:
        ...     file["square"], str(file["unit"])
        (array([0, 1, 4]), 'ADU')
    """
    with ExitStack() as spool:
        writer = NpzWriter(spool, path.parent)
        yield writer
        writer.write(path, facts)
