"""Files that are broken, hostile or merely odd, made where a test needs them."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

WAVES = np.random.default_rng(1).normal(5, 1, (3, 64)).astype(np.float32)


def npy(array: Any) -> bytes:
    """The bytes of an `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(**members: bytes) -> bytes:
    """The bytes of an archive whose members are given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def hdf5(write: Callable[[h5py.File], object], **options: Any) -> bytes:
    """The bytes of an HDF5 file that a function fills."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        write(file)
    return buffer.getvalue()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path | str) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def damages(content: bytes, seed: int = 0) -> dict[str, bytes]:
    """Return what may become of the content of a file."""
    rng = np.random.default_rng(seed)
    flipped = bytearray(content or b"x")
    for place in rng.integers(len(flipped), size=20):
        flipped[place] ^= 1 << int(rng.integers(8))
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "cut at the end": content[:-3],
        "noise": rng.bytes(500),
        "zeros": bytes(len(content)),
        "text": "größer\n".encode() * 40,
        "utf-16": "text".encode("utf-16"),
        "flipped": bytes(flipped),
        "twice": content * 2,
        "pickle": pickle.dumps(Trap("trapped")),
    }


def _forged(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)


def _external(file: h5py.File) -> None:
    file.create_dataset("image", (4, 64), "u1", external=[("/etc/passwd", 0, 256)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 64), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "image", (4, 64))
    file.create_virtual_dataset("image", layout)


def _link(file: h5py.File) -> None:
    file["image"] = h5py.ExternalLink("test.h5", "/image/values")


def _circle(file: h5py.File) -> None:
    group = file.create_group("a")
    group["again"] = file["/"]
    file["image"] = h5py.SoftLink("/image")


def _sparse(file: h5py.File) -> None:
    file.create_dataset("image", (2**40, 64), "f4", chunks=(1, 64))


def _put(name: str, values: Any) -> Callable[[h5py.File], object]:
    return lambda file: file.create_dataset(name, data=values)


IMAGES: dict[str, bytes] = {
    "pickled.npy": npy(np.array([Trap("trapped")], object)),
    "pickled.npz": npz(image=npy(np.array([Trap("trapped")], object))),
    "complex.npy": npy(WAVES * 1j),
    "texts.npy": npy(np.full((3, 64), "x")),
    "dates.npy": npy(np.zeros((3, 64), "M8[s]")),
    "records.npy": npy(np.zeros((3, 64), [("x", float)])),
    "nothing.npy": npy(np.zeros((0, 64))),
    "scalar.npy": npy(np.float32(3)),
    "axes.npy": npy(np.zeros((1,) * 9)),
    "short.npy": npy(np.ones((3, 2))),
    "nan.npy": npy(WAVES * np.nan),
    "infinite.npy": npy(np.where(WAVES > 5, np.inf, WAVES)),
    "beyond.npy": npy(WAVES.astype(float) * 1e300),
    "longdouble.npy": npy(np.full((3, 64), np.longdouble("1e400"))),
    "forged1.npy": _forged("(1099511627776, 64)"),
    "forged2.npy": _forged("(-1, 64)"),
    "forged3.npy": _forged("(3, 64), 'descr': 'O'"),
    "forged4.npy": _forged("(" * 300 + ")" * 300),
    "forged5.npy": _forged("__import__('os').mkdir('trapped')"),
    "forged.npz": npz(image=_forged("(1099511627776, 64)")),
    "several.npz": npz(first=npy(WAVES), second=npy(WAVES)),
    "none.npz": npz(),
    "inner.npz": npz(image=b"not an array"),
    "external.h5": hdf5(_external),
    "virtual.h5": hdf5(_virtual),
    "link.h5": hdf5(_link),
    "circle.h5": hdf5(_circle),
    "sparse.h5": hdf5(_sparse),
    "empty.h5": hdf5(_put("image", h5py.Empty("f4"))),
    "texts.h5": hdf5(_put("image", "hello")),
    "references.h5": hdf5(lambda file: file.create_dataset("image", (3,), h5py.ref_dtype)),
    "records.h5": hdf5(_put("image", np.zeros(3, [("x", float)]))),
    "ragged.h5": hdf5(lambda file: file.create_dataset("image", (3,), h5py.vlen_dtype("f4"))),
    "several.h5": hdf5(lambda file: file.update(first=WAVES, second=WAVES)),
    "none.h5": hdf5(lambda file: file.create_group("image")),
    "ragged.csv": b"1,2,3\n1,2\n" * 30,
    "texts.csv": b"a,b\nx,y\n" * 30,
    "nul.csv": b"1,2\0,3\n" * 30,
    "latin.csv": "größer,3\n".encode("latin-1") * 30,
    "beyond.csv": b",".join([b"1e400"] * 64),
    "formula.csv": b"=1+1,2,3\n" * 30,
}
"""Files that no image can be made of, by name."""


def place_oddities(folder: Path) -> set[str]:
    """Put links, pipes and folders with names of images into a folder, and return these names."""
    (folder / "loop.npy").symlink_to("loop.npy")
    (folder / "round.npy").symlink_to("about.npy")
    (folder / "about.npy").symlink_to("round.npy")
    (folder / "dangling.npy").symlink_to("nowhere")
    (folder / "folder.npy").mkdir()
    os.mkfifo(folder / "pipe.npy")
    return {"loop.npy", "round.npy", "about.npy", "dangling.npy", "folder.npy", "pipe.npy"}


ODD_NAMES = (
    *(
        "a b.npy",
        "ä.npy",
        "-rf.npy",
        "=1+1.npy",
        "two\nlines.npy",
        "tab\t.npy",
        "return\r.npy",
        "n" * 250 + ".npy",
    ),
    *(
        "$(touch trapped).npy",
        "%s%n.npy",
        "{0}.npy",
        "[red]x.npy",
        "\x1b[31m.npy",
        os.fsdecode(b"caf\xe9.npy"),
    ),
)
"""Names of files that a file system allows."""
