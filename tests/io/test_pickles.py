"""The reader of pandas pickles, against pandas itself, files of older versions and malicious files.

`files/pandas-*.pkl` were written by the version of pandas in their name (with numpy 1.23, 1.26, 2.1 and 2.3,
protocols 5, 2, 4 and 5, without pyarrow) from the frame that `plain_frame` builds. Takes about 5 s.
"""

import bz2
import collections
import copyreg
import functools
import gzip
import io
import lzma
import operator
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.core.internals import BlockManager, blocks

from oasis.errors import DataError
from oasis.io.pickles import MODULES, read_dataframe, read_values

FILES = Path(__file__).parent / "files"


def plain_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "im": [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((2, 3), np.float32)],
            "col": [np.array([1, 2]), np.array([], np.int64)],
            "energy": [5.9, 8.0],
            "charge": np.array([1.5, 2.5], np.float32),
            "row": [1, 2],
            "good": [True, False],
            "name": ["a", "b"],
            "list": [[np.float32(1), 2], []],
            "time": np.array(["2020-01-01", "2021-02-03"], "M8[ns]"),
        },
        index=[3, 7],
    )


def odd_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "fortran": [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(24.0).reshape(2, 3, 4).T],
            "strided": [np.arange(6)[::2], np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)],
            "big endian": [np.arange(3).astype(">i4"), np.array(7.0)],
            "texts": [np.array(["ab", "c"]), np.array([b"x"])],
            "objects": [np.array([np.ones(2), None, "x"], object), np.array([[1, None], ["a", 2.5]], object)],
            "times": [np.array([1], "M8[25s]"), np.array([3], "m8[us]")],
            "containers": [{"a": (1, [2.5])}, (b"\xff",)],
            "complex": [1j, 2 + 0j],
            "gaps": ["täg", None],
            "huge": [2**80, True],
            "empty": [b"", bytearray(b"x")],
        }
    )


def same(read: object, expected: object) -> bool:
    if isinstance(expected, np.ndarray):
        assert isinstance(read, np.ndarray)
        assert read.shape == expected.shape
        assert read.dtype == expected.dtype.newbyteorder("=")
        return all(same(a, b) for a, b in zip(read.flat, expected.flat, strict=True))
    if isinstance(expected, list | tuple):
        return type(read) is type(expected) and all(same(a, b) for a, b in zip(read, expected, strict=True))
    return bool(read == expected) or bool(pd.isna(read) and pd.isna(expected))


def assert_same(read: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_index_equal(read.columns, expected.columns)
    pd.testing.assert_index_equal(read.index, expected.index)
    assert list(read.dtypes) == list(expected.dtypes)
    for name in expected:
        for cell, other in zip(read[name], expected[name], strict=True):
            assert same(cell, other), f"{name}: {cell!r} is not {other!r}"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [plain_frame, odd_frame])
def test_reads_what_the_installed_pandas_wrote(make, protocol, tmp_path):
    make().to_pickle(tmp_path / "frame.pkl", protocol=protocol)
    assert_same(read_dataframe(tmp_path / "frame.pkl"), make())


@pytest.mark.parametrize("version", ["1.5.3", "2.0.3", "2.2.3", "3.0.0"])
def test_reads_what_other_versions_wrote(version):
    read = read_dataframe(str(FILES / f"pandas-{version}.pkl"))
    assert_same(read, plain_frame())


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame(np.arange(6).reshape(2, 3), columns=[4, 5, 6]),
        pd.DataFrame(np.arange(4).reshape(2, 2), columns=["a", "a"]),
        pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "yy"]})[::2],
        pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index(["p", "q"], name="key")),
        pd.DataFrame({"a": [1, 2, 3]}).query("a > 1"),
        pd.DataFrame({"t": pd.to_timedelta([1, 2], unit="s")}),
    ],
)
def test_reads_other_shapes(frame, tmp_path):
    frame.to_pickle(tmp_path / "frame.pkl")
    assert_same(read_dataframe(tmp_path / "frame.pkl"), frame)


def test_missing_texts_stay_missing(tmp_path):
    frame = pd.DataFrame({"b": ["x", None, "yy", "", "ü"] * 5})[3:]
    frame.to_pickle(tmp_path / "frame.pkl")
    read = read_dataframe(tmp_path / "frame.pkl")
    assert_same(read, frame)
    assert list(read["b"].isna()) == list(frame["b"].isna())


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_reads_compressed_files(suffix, module, tmp_path):
    path = tmp_path / f"frame.pkl{suffix}"
    path.write_bytes(module.compress((FILES / "pandas-2.2.3.pkl").read_bytes()))
    assert_same(read_dataframe(path), plain_frame())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="is damaged"):
        read_dataframe(path)


def test_images_are_not_copied(tmp_path):
    """An image whose bytes are laid out as in the file has these bytes as its base."""
    plain_frame().to_pickle(tmp_path / "frame.pkl")
    image = read_dataframe(tmp_path / "frame.pkl")["im"].iloc[0]
    while isinstance(image.base, np.ndarray):
        image = image.base
    assert isinstance(image.base, bytes)


class OldPickler(pickle.Pickler):
    """Pickles a frame as older pandas did: `layout` says how a block manager or a block is reduced."""

    def __init__(self, file, layout):
        super().__init__(file, protocol=2)
        self.layout = layout

    def reducer_override(self, content):
        return self.layout(content)


def blocks_of_pandas_1_3(content):
    if isinstance(content, blocks.Block):
        maker = functools.partial(blocks.new_block, ndim=content.ndim)
        return maker, (content.values, content.mgr_locs.indexer)
    return NotImplemented


def manager_of_pandas_1_2(content):
    if isinstance(content, BlockManager):
        values = [block.values for block in content.blocks]
        layout = {
            "axes": content.axes,
            "blocks": [{"values": b.values, "mgr_locs": b.mgr_locs.indexer} for b in content.blocks],
        }
        state = (content.axes, values, [content.items[b.mgr_locs.indexer] for b in content.blocks])
        return copyreg.__newobj__, (BlockManager,), (*state, {"0.14.1": layout})
    return NotImplemented


@pytest.mark.parametrize("layout", [blocks_of_pandas_1_3, manager_of_pandas_1_2])
def test_reads_the_layouts_of_older_pandas(layout, tmp_path):
    content = io.BytesIO()
    OldPickler(content, layout).dump(plain_frame())
    data = content.getvalue()
    for new, old in {
        rb"cpandas\nDataFrame\n": b"cpandas.core.frame\nDataFrame\n",
        rb"cpandas(\.core\.indexes\.base)?\nIndex\n": b"cpandas.core.indexes.numeric\nInt64Index\n",
        rb"cnumpy\._core\.": b"cnumpy.core.",
    }.items():
        data = re.sub(new, old, data)
        assert old in data
    path = tmp_path / "old.pkl"
    path.write_bytes(data)
    assert_same(read_dataframe(path), plain_frame())


def texts_within_longer_buffers(content):
    if isinstance(content, pd.arrays.ArrowStringArray):
        longer = pa.array(["before", None, "it", *content], pa.large_string(), from_pandas=True)
        return copyreg.__newobj__, (type(content),), {"_pa_array": longer[3:]}
    return NotImplemented


def test_texts_may_start_within_their_buffers(tmp_path):
    frame = pd.DataFrame({"name": pd.array(["x", None, "yy", "", "ü"], "string[pyarrow]")})
    content = io.BytesIO()
    OldPickler(content, texts_within_longer_buffers).dump(frame)
    assert b"pyarrow.lib" in content.getvalue()
    path = tmp_path / "frame.pkl"
    path.write_bytes(content.getvalue())
    read = read_dataframe(path)["name"]
    assert list(read.isna()) == [False, True, False, False, False]
    assert list(read.dropna()) == ["x", "yy", "", "ü"]


class Reduces:
    """An object whose pickle calls `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.function = function
        self.arguments = arguments

    def __reduce__(self):
        return self.function, self.arguments


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


# Each makes the bytes of a pickle that runs a shell command; with the global that the refusal must name.
SYSTEM = f"{os.system.__module__}.system"
ATTACKS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "protocol 0": (SYSTEM, lambda c: pickle.dumps(Reduces(os.system, c), 0)),
    "protocol 2": (SYSTEM, lambda c: pickle.dumps(Reduces(os.system, c), 2)),
    "protocol 4": (SYSTEM, lambda c: pickle.dumps(Reduces(os.system, c), 4)),
    "protocol 5": (SYSTEM, lambda c: pickle.dumps(Reduces(os.system, c), 5)),
    "exec": ("builtins.exec", lambda c: pickle.dumps(Reduces(exec, f"import os; os.system({c!r})"))),
    "eval": ("builtins.eval", lambda c: pickle.dumps(Reduces(eval, f"__import__('os').system({c!r})"))),
    "python 2 name": (
        "__builtin__.eval",
        lambda c: pickle.dumps(Reduces(eval, f"__import__('os').system({c!r})"), 2),
    ),
    "partial": (
        SYSTEM,
        lambda c: pickle.dumps(Reduces(functools.partial(os.system, c))),
    ),
    "methodcaller": (
        "operator.methodcaller",
        lambda c: pickle.dumps(Reduces(operator.methodcaller("system", c), Reduces(__import__, "os"))),
    ),
    "getattr": ("builtins.getattr", lambda c: pickle.dumps(Reduces(getattr, Reduces(__import__, "os"), "name"))),
    "dotted name": (
        "pandas.io.common.os.system",
        lambda c: b"\x80\x04" + text("pandas") + text("io.common.os.system") + b"\x93" + text(c) + b"\x85R.",
    ),
    "dotted known name": (
        "pandas.DataFrame.eval",
        lambda c: b"\x80\x04" + text("pandas") + text("DataFrame.eval") + b"\x93)R.",
    ),
    "module that is a name": (
        "pandas.core.frame.DataFrame",
        lambda c: b"\x80\x04" + text("pandas.core") + text("frame.DataFrame") + b"\x93)R.",
    ),
    "known name elsewhere": ("os.slice", lambda c: b"\x80\x02cos\nslice\n)R."),
    "instance": ("os.system", lambda c: b"(" + text(c) + b"ios\nsystem\n."),
    "object": ("os.system", lambda c: b"(cos\nsystem\n" + text(c) + b"o."),
    "in a cell": (
        SYSTEM,
        lambda c: pickle.dumps(pd.DataFrame({"a": [1, Reduces(os.system, c)]})),
    ),
    "in a cell's array": (
        SYSTEM,
        lambda c: pickle.dumps(pd.DataFrame({"a": [np.array([Reduces(os.system, c)], object)]})),
    ),
}
INERT = {"getattr", "dotted known name", "module that is a name", "known name elsewhere"}


@pytest.mark.parametrize("name", ATTACKS)
def test_malicious_files_run_nothing(name, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "evil.pkl"
    refused, make = ATTACKS[name]
    data = make(f"touch {canary}")
    if name not in INERT:
        pickle.loads(data)
        assert canary.exists(), "the attack itself does not work"
        canary.unlink()
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_dataframe(path)
    assert not canary.exists()
    assert f"refused the global {refused!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_extension_registry_is_not_used(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "evil.pkl"
    path.write_bytes(b"\x80\x02" + pickle.EXT1 + b"\xf0" + text(f"touch {canary}") + b"\x85R.")
    copyreg.add_extension("os", "system", 0xF0)
    try:
        pickle.loads(path.read_bytes())
        assert canary.exists()
        canary.unlink()
        with pytest.raises(DataError, match="refused the instruction EXT1"):
            read_dataframe(path)
    finally:
        copyreg.clear_extension_cache()
        copyreg.remove_extension("os", "system", 0xF0)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("instruction", "data"),
    [
        ("PERSID", b"Pid\n."),
        ("BINPERSID", b"NQ."),
        ("NEXT_BUFFER", b"\x80\x05\x97."),
        ("OBJ", b"(cnumpy\ndtype\no."),
        ("NEWOBJ_EX", b"\x80\x04cnumpy\ndtype\n)}\x92."),
        ("0xff", b"\xff"),
    ],
)
def test_other_instructions_are_refused(instruction, data, tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"refused the instruction {instruction}"):
        read_dataframe(path)


def frame_of(cell: bytes) -> bytes:
    """Return the pickle of a frame with one cell, whose pickled content is `cell`."""
    data = pickle.dumps(pd.DataFrame({"a": pd.Series(["MARKED"], dtype=object)}), protocol=2)
    assert data.count(text("MARKED")) == 1
    return data.replace(text("MARKED"), cell)


def dtype(code: str, fields: bytes = b"NNN") -> bytes:
    state = b"(K\x03" + text("|") + fields + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    return b"cnumpy\ndtype\n" + text(code) + b"\x89\x88\x87R" + state + b"b"


def pointers(code: str, fields: bytes = b"NNN") -> dict[str, bytes]:
    """Return pickles of arrays and a scalar that would take their bytes for addresses of objects."""
    address = b"C\x08" + b"A" * 8
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    return {
        "array": made + b"(K\x01K\x01\x85" + dtype(code, fields) + b"\x89" + address + b"tb",
        "buffer": b"cnumpy.core.numeric\n_frombuffer\n("
        + address
        + dtype(code, fields)
        + b"K\x01\x85"
        + text("C")
        + b"tR",
        "scalar": b"cnumpy.core.multiarray\nscalar\n" + dtype(code, fields) + address + b"\x86R",
    }


@pytest.mark.parametrize("kind", ["array", "buffer", "scalar"])
@pytest.mark.parametrize(
    ("code", "fields", "message"),
    [
        ("O8", b"NNN", "an array of object is given as bytes"),
        ("V8", b"N" + text("a") + b"\x85}" + text("a") + dtype("O8") + b"K\x00\x86s", "compound dtype"),
        ("f8,O", b"NNN", "compound dtype"),
    ],
)
def test_bytes_are_never_taken_for_objects(kind, code, fields, message, tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(frame_of(pointers(code, fields)[kind]))
    with pytest.raises(DataError, match=message):
        read_dataframe(path)
    path.write_bytes(frame_of(pointers("f8")[kind]))
    assert float(np.squeeze(read_dataframe(path)["a"][0])) == struct.unpack("<d", b"A" * 8)[0]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (b"cbuiltins\nslice\n", "slice found in place of a value"),
        (b"cpandas\nDataFrame\n)\x81", "DataFrame"),
        (b"]N\x85R", "a list is called"),
        (b"]Nb", "a list is given a state"),
        (b"cpandas\nRangeIndex\nNb", "a RangeIndex is given a state"),
        (b"cbuiltins\nbytes\n" + text("x") + b"\x85R", "bytes are made from something else"),
        (b"c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R", "rot13"),
        (b"]q\xf0h\xf0a", "a container contains itself"),
    ],
)
def test_known_names_cannot_be_misused(cell, message, tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(frame_of(cell))
    with pytest.raises(DataError, match=message) as caught:
        read_dataframe(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [({"a": 1}, "dict"), ([1, 2], "list"), (None, "NoneType"), ("text", "str"), (np.ones(3), "_reconstruct")],
)
def test_other_pickles_are_refused(content, found, tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(content, protocol=4))  # others have other functions for arrays
    with pytest.raises(DataError, match=rf"other.pkl: contains a {found}, expected a pickled pandas DataFrame"):
        read_dataframe(path)


@pytest.mark.parametrize("frame", [pd.DataFrame({"a": pd.Categorical(["x"])}), pd.Series([1.0])])
def test_unknown_parts_of_pandas_are_named(frame, tmp_path):
    frame.to_pickle(tmp_path / "frame.pkl")
    with pytest.raises(DataError, match=r"refused the global 'pandas\.[\w.]+'.*unsupported objects"):
        read_dataframe(tmp_path / "frame.pkl")


@pytest.mark.parametrize("data", [b"", b"\x80", b"hello", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"]" * 50 + b"."])
def test_other_files_give_one_line(data, tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_dataframe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_give_one_line(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(DataError, match=f"{path}: (no such file|is a folder)"):
            read_dataframe(path)


@pytest.mark.parametrize("version", ["1.5.3", "2.0.3", "3.0.0"])
def test_truncated_files_give_one_line(version, tmp_path):
    data = (FILES / f"pandas-{version}.pkl").read_bytes()
    path = tmp_path / "cut.pkl"
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(DataError) as caught:
            read_dataframe(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["1.5.3", "2.0.3", "3.0.0"])
def test_damaged_files_never_raise_anything_else(version, tmp_path):
    """Change random bytes: the file is read or refused in one line."""
    data = np.frombuffer((FILES / f"pandas-{version}.pkl").read_bytes(), np.uint8)
    rng = np.random.default_rng(7)
    path = tmp_path / "damaged.pkl"
    refused = 0
    for _ in range(400):
        damaged = data.copy()
        damaged[rng.integers(len(data), size=2)] = rng.integers(256, size=2)
        path.write_bytes(damaged.tobytes())
        message = ""
        try:
            read_dataframe(path)
        except DataError as error:
            message = str(error)
        assert "\n" not in message
        refused += bool(message)
    assert refused > 100


def test_the_names_are_plain():
    """No dots: nothing could be reached through an attribute. And none that runs, opens or imports."""
    assert not any("." in name for name in MODULES)
    dangerous = {"eval", "exec", "getattr", "setattr", "open", "__import__", "system", "load", "fromfile"}
    assert not dangerous & set(MODULES)


def test_plain_values_are_read_whatever_holds_them(tmp_path):
    table = collections.defaultdict(list, {(np.int64(1), 2): [7, 9], "none": []})
    content = (np.arange(6.0).reshape(2, 3), [np.float32(2.5), "x"], table, collections.OrderedDict(b=1, a=None))
    for protocol in range(2, 6):
        path = tmp_path / f"values{protocol}.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        read = read_values(path)
        assert same(read[:2], content[:2])
        assert read[2] == {(1, 2): [7, 9], "none": []}
        assert list(read[3].items()) == [("b", 1), ("a", None)]
        assert {type(one) for one in read[2:]} == {dict}


@pytest.mark.parametrize("name", ["protocol 2", "protocol 5", "exec", "methodcaller"])
def test_malicious_values_run_nothing(name, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "evil.pkl"
    refused, make = ATTACKS[name]
    attack = make(f"touch {canary}")
    path.write_bytes(attack)
    with pytest.raises(DataError, match=f"refused the global {refused!r}"):
        read_values(path)
    path.write_bytes(pickle.dumps(collections.defaultdict(list, {"a": [Reduces(os.system, f"touch {canary}")]})))
    with pytest.raises(DataError, match="refused the global"):
        read_values(path)
    assert not canary.exists()


@pytest.mark.parametrize("data", [b"", b"hello", pickle.dumps([1, 2])[:-3], b"cbuiltins\nlist\n."])
def test_values_that_are_none_give_one_line(data, tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"other.pkl: is damaged or not the pickle of a plain collection"
    ) as caught:
        read_values(path)
    assert "\n" not in str(caught.value)


def nested(make, depth):
    """A container that holds the next one twice, and so on: small in the file, endless to walk through."""
    content = make(1, 2)
    for _ in range(depth):
        content = make(content, content)
    return content


BOMBS = {
    "lists": nested(lambda a, b: [a, b], 60),
    "tuples": nested(lambda a, b: (a, b), 60),
    "dicts": nested(lambda a, b: {0: a, 1: b}, 60),
    "ordered dicts": nested(lambda a, b: collections.OrderedDict({0: a, 1: b}), 60),
    "object arrays": nested(lambda a, b: np.array([a, b, None], object), 60),
    "deep": functools.reduce(lambda inner, _: [inner], range(300), 1),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("protocol", [2, 5])
def test_containers_that_hold_each_other_many_times_are_refused_at_once(name, protocol, tmp_path):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps(BOMBS[name], protocol))
    assert path.stat().st_size < 20_000
    if name == "deep":
        assert read_values(path) == BOMBS[name]
        return
    for read in (read_values, read_dataframe):
        with pytest.raises(DataError, match=r"refer to each other too often") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_keys_that_take_for_ever_to_hash_are_refused(tmp_path):
    key = b"K\x01K\x02\x86" + b"q\x00h\x00\x86" * 60  # 60 times: (top, top)
    path = tmp_path / "bomb.pkl"
    for data in (b"}" + key + b"K\x00s.", b"}(" + key + b"K\x00u.", b"(" + key + b"K\x00d."):
        path.write_bytes(b"\x80\x02" + data)
        with pytest.raises(DataError, match="a key is a tuple of tuples"):
            read_values(path)
    path.write_bytes(pickle.dumps({(1, "a"): 2, (): 3}))
    assert read_values(path) == {(1, "a"): 2, (): 3}


def test_containers_that_are_shared_now_and_then_are_read(tmp_path):
    row = [1, 2, 3]
    path = tmp_path / "shared.pkl"
    path.write_bytes(pickle.dumps([row] * 1000 + [[row, row]]))
    assert read_values(path) == [row] * 1000 + [[row, row]]
    array = np.arange(4.0)
    frame = pd.DataFrame({"a": [array] * 500, "b": [row] * 500})
    frame.to_pickle(path)
    assert_same(read_dataframe(path), frame)
