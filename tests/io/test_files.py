"""Files that appear whole or not at all: what is left after kills, what is never touched, how errors read."""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from oasis.errors import ConfigError, DataError
from oasis.io import files
from oasis.io.files import reading, replace_when_whole


def write(path: Path, text: str = "new") -> None:
    with replace_when_whole(path) as temporary:
        temporary.write_text(text)


def fail_halfway(path: Path, error: type[BaseException]) -> None:
    with replace_when_whole(path) as temporary:
        temporary.write_text("half")
        raise error("x")


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


KILLED = """
import os, sys
from pathlib import Path
from oasis.io.files import replace_when_whole
with replace_when_whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("begun", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing `tmp_path / out`; it kills itself when its input ends."""
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        yield process
        process.kill()


def test_the_part_of_a_killed_process_is_removed_by_the_next_writer_of_that_output(tmp_path, writer):
    assert len(parts(tmp_path)) == 1
    writer.stdin.close()
    assert writer.wait() == -9
    write(tmp_path / "other")
    assert len(parts(tmp_path)) == 1, "only the same output is known to be given up"
    write(tmp_path / "out")
    assert parts(tmp_path) == []
    assert (tmp_path / "out").read_text() == "new"


def test_the_part_of_a_living_process_is_never_removed(tmp_path, writer, monkeypatch):
    (mine,) = parts(tmp_path)
    write(tmp_path / "out")
    assert parts(tmp_path) == [mine]
    monkeypatch.setattr(files, "_is_alive", lambda process, token: False)  # as seen from another container
    write(tmp_path / "out")
    assert parts(tmp_path) == [mine]


def test_without_locks_the_process_decides(tmp_path, writer, monkeypatch):
    monkeypatch.setattr(files, "_lock", lambda handle: True)
    (mine,) = parts(tmp_path)
    with replace_when_whole(tmp_path / "out"):
        (tmp_path / "out").write_text("first")
        write(tmp_path / "out", "second")  # a second thread of this process
        assert len(parts(tmp_path)) == 2
        assert mine in parts(tmp_path)
    writer.stdin.close()
    writer.wait()
    write(tmp_path / "out")
    assert parts(tmp_path) == []


def test_an_earlier_process_of_the_same_number_is_told_apart(tmp_path):
    number = os.getpid()
    old = tmp_path / f".out.{files._HOST}-{number}-0000beef-0.part"
    old.write_text("half")
    write(tmp_path / "out")
    assert parts(tmp_path) == []


def test_parts_of_other_machines_and_of_other_names_stay(tmp_path, writer):
    writer.stdin.close()
    writer.wait()
    (left,) = parts(tmp_path)
    link = left.replace("-0.part", "-1.part")
    host = files._HOST
    others = [
        left.replace(host, f"{int(host, 16) ^ 1:08x}"),
        left.replace(".out.", ".out2."),
        f"{left}x",
        ".out.1.part",
    ]
    for name in others:
        (tmp_path / name).write_text("")
    (tmp_path / "aim").write_text("kept")
    (tmp_path / link).symlink_to(tmp_path / "aim")
    write(tmp_path / "out")
    assert {*others, link} <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "aim").read_text() == "kept"
    assert left not in parts(tmp_path)


def test_threads_write_the_same_output_without_harm(tmp_path):
    path, errors = tmp_path / "out", []

    def many(text):
        try:
            for _ in range(50):
                write(path, text * 1000)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=many, args=(text,)) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_text() in [text * 1000 for text in "abcd"]
    assert parts(tmp_path) == []


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    for error in (RuntimeError, KeyboardInterrupt, ValueError, ConfigError):
        with pytest.raises(error):
            fail_halfway(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["n" * 250, "ä" * 120, "a b'\"$(x)\\", "-", "*[a]"])
def test_names_that_a_file_system_allows_can_be_written(tmp_path, name):
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["n" * 300, "nul\0x", "\ud800", "folder", "file/out", "device"])
def test_places_that_cannot_be_written_to_are_refused_in_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "device")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataError) as caught:
        write(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "file").read_text() == "kept"


def test_a_device_is_not_replaced():
    with pytest.raises(DataError, match="not a regular file"):
        write(Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    "error", [ValueError("a\nb"), AssertionError(), OSError(5, "Input/output error"), MemoryError()]
)
def test_whatever_goes_wrong_in_reading_is_one_line(error):
    with (
        pytest.raises(DataError, match=r"^x\.npy: .*: write it again$") as caught,
        reading("x.npy", mend="write it again"),
    ):
        raise error
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^mine$"), reading("x.npy"):
        raise ConfigError("mine")
    with pytest.raises(KeyboardInterrupt), reading("x.npy"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("error", [None, DataError("no")])
def test_folders_that_are_made_for_a_file_go_if_it_is_not_written(tmp_path, error):
    (tmp_path / "old").mkdir()
    for folder in ("old", "new/one"):
        with suppress(DataError), replace_when_whole(tmp_path / folder / "a.txt") as temporary:
            temporary.write_text("text")
            if error is not None:
                raise error
        assert (tmp_path / folder / "a.txt").exists() == (error is None)
    assert (tmp_path / "old").exists()
    assert (tmp_path / "new").exists() == (error is None)
