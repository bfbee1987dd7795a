"""Pickles of data frames and of plain values, read as data: nothing that a file names is imported or called.

A pickle is a program: it names functions and calls them. Here its calls are only recorded, and only where they
name one of the few constructors of a plain frame or array; their results are then rebuilt from the numbers and
texts in those records. That also makes the reader independent of the versions of pandas and numpy that wrote the
file.
"""

import bz2
import gzip
import lzma
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.files import check_file, reading

# Every name that a file may use, and the modules where the versions of pandas, numpy and pyarrow keep it.
MODULES: Final = {
    "DataFrame": ("pandas", "pandas.core.frame"),
    "BlockManager": ("pandas.core.internals.managers",),
    "_unpickle_block": ("pandas._libs.internals",),
    "new_block": ("pandas.core.internals.blocks",),  # pandas 1.3
    "partial": ("functools",),  # pandas 1.3: partial(new_block, ndim=2)
    "_new_Index": ("pandas.core.indexes.base",),
    "Index": ("pandas", "pandas.core.indexes.base"),
    "RangeIndex": ("pandas", "pandas.core.indexes.range"),
    "Int64Index": ("pandas.core.indexes.numeric",),
    "UInt64Index": ("pandas.core.indexes.numeric",),
    "Float64Index": ("pandas.core.indexes.numeric",),
    "__pyx_unpickle_NDArrayBacked": ("pandas._libs.arrays",),
    "DatetimeArray": ("pandas.arrays", "pandas.core.arrays.datetimes"),
    "TimedeltaArray": ("pandas.arrays", "pandas.core.arrays.timedeltas"),
    "StringArray": ("pandas.arrays", "pandas.core.arrays.string_"),
    "StringDtype": ("pandas", "pandas.core.arrays.string_"),
    "ArrowStringArray": ("pandas.arrays", "pandas.core.arrays.string_arrow"),
    "_restore_array": ("pyarrow.lib",),
    "type_for_alias": ("pyarrow.lib",),
    "py_buffer": ("pyarrow.lib",),
    "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
    "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "ndarray": ("numpy",),
    "dtype": ("numpy",),
    "slice": ("builtins", "__builtin__"),
    "bytes": ("builtins", "__builtin__"),
    "bytearray": ("builtins", "__builtin__"),
    "list": ("builtins", "__builtin__"),  # default factory of a defaultdict
    "defaultdict": ("collections",),
    "OrderedDict": ("collections",),
    "encode": ("_codecs",),  # protocol 2 writes bytes as encoded text
}
# Instructions that lay out data, or name a global, which `find_class` then judges.
INSTRUCTIONS: Final = """
    PROTO FRAME STOP MARK POP POP_MARK MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_DICT DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL INST
"""
OPENERS: Final[dict[str, Callable[[Path], Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PROBLEM: Final = "is damaged or not the pickle of a plain"
MOST_SHARED: Final = 64  # mean number of visits to each part of a file when all references are followed
BEGUN, ENDLESS = 0, 2**62  # sizes of a container that is being visited, and of one that is too large to visit
PLAIN_DTYPE: Final = re.compile(r"[biufcSUOmM]\d*")
TEXT_OFFSETS: Final = {"string": "<i4", "large_string": "<i8"}


def read_dataframe(path: Path | str) -> pd.DataFrame:
    """Read a data frame pickled by pandas 1, 2 or 3, without running anything that the file names.

    Columns of numbers, booleans, texts, naive times and Python objects (arrays, lists, scalars) are supported;
    anything else is refused. The file may be compressed (`.gz`, `.bz2`, `.xz`). Arrays inside cells share the
    memory that was read and cannot be written to.

    Raises:
        DataError: the file cannot be read, is not the pickle of a data frame, or names anything beyond the
            makers of a plain frame (`MODULES`).

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "events.pkl")
        >>> pd.DataFrame({"energy": [5.9, 8.0], "col": [np.arange(2), np.arange(3)]}).to_pickle(path)
        >>> read_dataframe(path)["col"][1]
        array([0, 1, 2])
    """
    path = Path(path)
    check_file(path)
    with reading(path, f"{PROBLEM} data frame", mend="write it again with DataFrame.to_pickle"):
        content = _load(path)
        if not (isinstance(content, _Call) and content.function == _Name("DataFrame")):
            raise DataError(f"{path}: contains a {_kind(content)}, expected a pickled pandas DataFrame")
        return _frame(content)


def read_values(path: Path | str) -> Any:
    """Read a pickle of numbers, texts, arrays, lists, tuples and dicts, without running anything that it names.

    A `defaultdict` or an `OrderedDict` is read as a dict. The file may be compressed (`.gz`, `.bz2`, `.xz`).

    Raises:
        DataError: the file cannot be read, or contains anything else.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "values.pkl")
        >>> path.write_bytes(pickle.dumps((np.arange(3), {"p": [7, 9]}))) > 0
        True
        >>> read_values(path)
        (array([0, 1, 2]), {'p': [7, 9]})
    """
    path = Path(path)
    check_file(path)
    with reading(path, f"{PROBLEM} collection of numbers, texts and arrays"):
        return _value(_load(path))


def _load(path: Path) -> object:
    with OPENERS.get(path.suffix, partial(open, mode="rb"))(path) as file:
        content = _Recorder(file, path).load()
    _check_sharing(content)
    return content


def _check_sharing(content: object) -> None:
    """Check that walking through everything that a file refers to ends, and takes a time linear in the file.

    A list that contains another one twice, which contains another one twice, and so on, is small in the file but
    endless to walk through. Each container is visited once here; its size includes all that it refers to.

    Raises:
        ValueError: containers contain each other in a circle, or refer to each other too often.
    """
    sizes: dict[int, int] = {}
    references = 0
    waiting = [(content, False)]
    while waiting:
        item, walked = waiting.pop()
        parts = _parts(item)
        if walked:
            sizes[id(item)] = min(1 + sum(sizes.get(id(part), 1) for part in parts), ENDLESS)
        elif id(item) not in sizes:
            sizes[id(item)] = BEGUN
            references += 1 + len(parts)
            waiting.append((item, True))
            inner = [part for part in parts if isinstance(part, CONTAINERS)]
            if any(sizes.get(id(part)) == BEGUN for part in inner):
                raise ValueError("a container contains itself")
            waiting += [(part, False) for part in inner]
    if sizes[id(content)] > MOST_SHARED * references:
        raise ValueError("its containers refer to each other too often")


def _parts(item: object) -> list[object]:
    """Return the objects that a container refers to."""
    match item:
        case _Call():
            return [item.function, item.arguments, item.state, item.items]
        case list() | tuple():
            return list(item)
        case dict():
            return [*item, *item.values()]
    return []


@dataclass(frozen=True, slots=True)
class _Name:
    """A global that the file may name; only the name is kept, it is never imported."""

    name: str


class _Call:
    """A call in the file, recorded instead of executed, with the items that the file adds to its result."""

    __slots__ = ("arguments", "function", "items", "made", "state")

    def __init__(self, function: object, arguments: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.state: Any = None
        self.items: dict[Any, Any] | None = None
        self.made: Any = None

    def __setitem__(self, key: object, value: object) -> None:
        self.items = self.items or {}
        self.items[key] = value


CONTAINERS: Final = (_Call, list, tuple, dict)


class _Instructions(dict[int, Callable[[Any], None]]):
    """The supported instructions by code; any other is refused by name."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        names = [op.name for op in pickletools.opcodes if ord(op.code) == code]
        raise pickle.UnpicklingError(f"refused the instruction {names[0] if names else hex(code)}")


class _Recorder(pickle._Unpickler):
    """An unpickler that records calls, based on the pure Python one, whose instructions can be selected."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch = _Instructions(
        {
            ord(op.code): pickle._Unpickler.dispatch[ord(op.code)]
            for op in pickletools.opcodes
            if op.name in INSTRUCTIONS.split()
        }
    )

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> _Name:
        if module not in MODULES.get(name, ()):
            raise DataError(
                f"{self.path}: refused the global {f'{module}.{name}'!r}: the file tries to run code or contains "
                "unsupported objects; only plain values and data frames are read, and nothing was run"
            )
        return _Name(name)

    def _record_call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name | _Call) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"a {_kind(function)} is called")
        self.stack.append(_Call(function, arguments))

    def _record_state(self) -> None:
        state, call = self.stack.pop(), self.stack[-1]
        if not isinstance(call, _Call):
            raise pickle.UnpicklingError(f"a {_kind(call)} is given a state")
        call.state = state

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_hashable(key)] = value

    def _set_items(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_hashable(key)] = value

    def _make_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({_hashable(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.DICT[0]] = _make_dict
    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = _record_call
    dispatch[pickle.BUILD[0]] = _record_state
    # Not as a bytearray, which fills the memory when a damaged file gives it a huge length.
    dispatch[pickle.BYTEARRAY8[0]] = dispatch[pickle.BINBYTES8[0]]


def _hashable(key: Any) -> Any:
    """Return a key that is quick to hash: hashing tuples of tuples may take forever."""
    if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
        raise pickle.UnpicklingError("a key is a tuple of tuples")
    return key


def _kind(content: object) -> str:
    while isinstance(content, _Call):
        content = content.function
    return content.name if isinstance(content, _Name) else type(content).__name__


def _frame(call: _Call) -> pd.DataFrame:
    manager = call.state.get("_mgr", call.state.get("_data"))  # `_data` before pandas 1.1
    if _kind(manager) != "BlockManager":
        raise ValueError(f"the frame is held by a {_kind(manager)}")
    if manager.arguments:
        blocks, axes = manager.arguments
        parts = [_block(block) for block in blocks]
    else:  # before pandas 1.3
        layout = manager.state[3]["0.14.1"]
        axes = layout["axes"]
        parts = [(block["values"], block["mgr_locs"]) for block in layout["blocks"]]
    labels, index = (_index(axis) for axis in axes)
    columns: dict[int, NDArray[Any]] = {}
    for values, places in parts:
        rows = np.asarray(_value(values))
        rows = rows if rows.ndim == 2 else rows[None]
        columns.update(zip(_places(_value(places), len(labels)), rows, strict=True))
    frame = pd.DataFrame({place: columns[place] for place in range(len(labels))}, index=index)
    frame.columns = labels
    return frame


def _block(block: Any) -> tuple[Any, Any]:
    maker = block.function
    if _kind(maker) == "partial":
        maker = maker.arguments[0]
    if _kind(maker) not in ("_unpickle_block", "new_block"):
        raise ValueError(f"a block is made by {_kind(maker)}")
    return block.arguments[0], block.arguments[1]


def _places(places: Any, count: int) -> list[int]:
    if isinstance(places, slice):
        return list(range(count))[places]
    return [int(place) for place in places]


def _index(call: Any) -> pd.Index:
    cls, content = call.arguments
    if _kind(call) != "_new_Index":
        raise ValueError(f"an index is made by {_kind(call)}")
    content = _value(content)
    if cls == _Name("RangeIndex"):
        return pd.RangeIndex(content["start"], content["stop"], content["step"], name=content["name"])
    labels: pd.Index = pd.Index(content["data"], name=content["name"])
    return labels


def _value(content: Any) -> Any:
    """Return the value that a record describes; containers are walked through, plain values returned."""
    match content:
        case _Call():
            if content.made is None:
                content.made = MAKERS[_kind(content.function)](content)
            return content.made
        case list():
            return [_value(item) for item in content]
        case _Name():
            raise ValueError(f"{content.name} found in place of a value")
        case tuple():
            return tuple(_value(item) for item in content)
        case dict():
            return {_value(key): _value(item) for key, item in content.items()}
    return content


def _dtype(content: Any) -> np.dtype[Any]:
    """Return a dtype without fields; its state is `(version, byte order, ..., (None, (unit, count, ...)))`."""
    if _kind(content) != "dtype" or not PLAIN_DTYPE.fullmatch(content.arguments[0]):
        raise ValueError("an array has a compound dtype")
    code, state = content.arguments[0], content.state
    if code[0] in "mM":
        unit, count = _value(state[-1][1])[:2]
        code = f"{code}[{count}{unit.decode()}]"
    order = state[1] if state[1] in "<>" else "="
    dtype: np.dtype[Any] = np.dtype(order + code)
    return dtype


def _array(buffer: Any, dtype: np.dtype[Any], shape: Any, order: Any) -> NDArray[Any]:
    """Return an array over the bytes of the file, copied only to turn them into native byte order."""
    buffer = _value(buffer)
    if dtype.hasobject or not isinstance(buffer, bytes):
        raise ValueError(f"an array of {dtype} is given as {_kind(buffer)}")
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=buffer, order=order)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _object_array(items: list[Any], shape: Any) -> NDArray[Any]:
    array = np.empty(len(items), object)
    for place, item in enumerate(items):
        array[place] = _value(item)
    return array.reshape(shape)


def _reconstruct(call: _Call) -> NDArray[Any]:
    _, shape, dtype, fortran, buffer = call.state
    if isinstance(buffer, list):
        return _object_array(buffer, shape)
    return _array(buffer, _dtype(dtype), shape, "F" if fortran else "C")


def _frombuffer(call: _Call) -> NDArray[Any]:
    buffer, dtype, shape, order, *axes = call.arguments
    array = _array(buffer, _dtype(dtype), shape, "F" if order == "F" else "C")
    return array.transpose(axes[0]) if order == "K" and axes and axes[0] is not None else array


def _scalar(call: _Call) -> Any:
    dtype, buffer = call.arguments
    return _array(buffer, _dtype(dtype), (), "C")[()]


def _backed(call: _Call) -> NDArray[Any]:
    """Return the array behind a pandas array of texts or times: the one array in its state."""
    (array,) = (part for part in call.state if _kind(part) in ("_reconstruct", "_frombuffer"))
    return np.asarray(_value(array))


def _arrow_texts(call: _Call) -> NDArray[Any]:
    """Return the texts of an Arrow array: offsets into one UTF-8 buffer, and a validity bit per text."""
    kind, length, _, start, buffers, *_ = call.state["_pa_array"].arguments[0]
    present, offsets, text = (b"" if part is None else bytes(_value(part)) for part in buffers)
    (alias,) = kind.arguments
    ends = np.frombuffer(offsets, TEXT_OFFSETS[alias])[start : start + length + 1]
    if present:
        there = np.unpackbits(np.frombuffer(present, np.uint8), bitorder="little")[start : start + length]
    else:
        there = np.ones(length, np.uint8)
    spans = zip(ends[:-1], ends[1:], there, strict=True)
    texts = [text[first:last].decode() if keep else None for first, last, keep in spans]
    return np.array(texts, object)


def _bytes(call: _Call) -> bytes:
    match call.arguments:
        case ():
            return b""
        case (bytes() as content,):
            return content
        case (_Call() as inner,) if _kind(inner) == "encode":
            return _encoded(inner)
    raise ValueError("bytes are made from something else")


def _encoded(call: _Call) -> bytes:
    text, encoding = call.arguments
    if encoding != "latin1":
        raise ValueError(f"bytes are spelled in {encoding}")
    return bytes(text.encode("latin1"))


MAKERS: Final[dict[str, Callable[[_Call], Any]]] = {
    "_reconstruct": _reconstruct,
    "_frombuffer": _frombuffer,
    "scalar": _scalar,
    "__pyx_unpickle_NDArrayBacked": _backed,
    "ArrowStringArray": _arrow_texts,
    "py_buffer": lambda call: _value(call.arguments[0]),
    "slice": lambda call: slice(*call.arguments),
    "bytes": _bytes,
    "bytearray": _bytes,
    "encode": _encoded,
    "defaultdict": lambda call: _value(call.items or {}),
    "OrderedDict": lambda call: _value(call.items or {}),
}
