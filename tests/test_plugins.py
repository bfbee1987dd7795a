"""Code in a file of the user's own: found, also by worker processes, and refused in one line."""

import pickle
from multiprocessing import get_context
from pathlib import Path

import pytest

from oasis.errors import ConfigError
from oasis.plugins import from_file

CODE = """
class Counter:
    def __init__(self, start):
        self.value = start

    def __call__(self, by):
        return self.value + by
"""


def _add(counter, by):
    return counter(by)


@pytest.fixture
def name(tmp_path: Path) -> str:
    path = tmp_path / "Ärger.v2.py"
    path.write_text(CODE, encoding="utf-8")
    return f"{path}:Counter"


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_worker_processes_find_what_a_file_defines(name: str, method: str) -> None:
    counter = from_file(name)(3)
    with get_context(method).Pool(1) as pool:
        assert pool.apply(_add, (counter, 4)) == 7


def test_a_file_is_run_once_while_it_stays_the_same(name: str) -> None:
    first = from_file(name)
    assert from_file(name) is first
    assert pickle.loads(pickle.dumps(first(2))).value == 2
    path = Path(name.rpartition(":")[0])
    path.write_text(CODE.replace("self.value + by", "self.value - by"), encoding="utf-8")
    assert from_file(name)(3)(1) == 2


def test_no_bytecode_is_written_or_run(name: str) -> None:
    from_file(name)
    assert not (Path(name.rpartition(":")[0]).parent / "__pycache__").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:\n", "line 1: not valid Python"),
        ("x = 1\nimport sys\nsys.exit(0)\n", r"ends the program \(exit 0\)"),
        ("x = 1\ny = undefined\n", "line 2: NameError: name 'undefined' is not defined"),
        ("def f():\n    raise ValueError('a\\nb')\nf()\n", "line 2: ValueError: a b"),
        ("import nothing_here\n", "ModuleNotFoundError: No module named 'nothing_here'"),
        ("Buidl = 3\ndef build(): pass\n", "defines no 'Build'; did you mean 'build'"),
        ("\0", "not valid Python"),
    ],
)
def test_a_file_that_fails_is_named_in_one_line(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "own.py").write_text(code)
    with pytest.raises(ConfigError, match=message) as caught:
        from_file(f"{tmp_path / 'own.py'}:Build")
    assert "own.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ConfigError, match=r"own\.py"):
        from_file(f"{tmp_path / 'own.py'}:build")
    with pytest.raises(ConfigError, match="no such file"):
        from_file(f"{tmp_path / 'nowhere.py'}:build")
