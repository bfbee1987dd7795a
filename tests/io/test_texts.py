"""Text files: UTF-8 whatever the locale, and one line for every way of being broken."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oasis.errors import ConfigError, DataError
from oasis.io.texts import parse_json, read_json, read_text, write_text


def test_text_is_written_as_utf_8_and_read_back(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "µm, Ä\n")
    assert (tmp_path / "a.txt").read_bytes() == "µm, Ä\n".encode()
    assert read_text(tmp_path / "a.txt") == "µm, Ä\n"


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_text(tmp_path / "a.txt") == "a: 1"


@pytest.mark.parametrize("name", ["nowhere", "folder", "binary", "n" * 400, "a\0b"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for error in (ConfigError, DataError):
        with pytest.raises(error) as caught:
            read_text(tmp_path / name, error)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"a":' * 100_000, "{'a': 1}", "1" * 9000])
def test_what_is_no_json_object_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json") as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.text())
def test_any_text_is_an_object_or_one_error(text: str) -> None:
    with contextlib.suppress(DataError):
        assert isinstance(parse_json(text, "x"), dict)
