"""Plugins: the user's own code, given as a name in a file, `path/to/file.py:name`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from oasis.errors import ConfigError, nearest

# Files of the user are imported as submodules of this one, under a name that encodes their path. Worker processes,
# however they are started, can thus unpickle what these files define.
__path__: list[str] = []
_MARK = "_at_"


class _Source(SourceFileLoader):
    """A loader that compiles the file itself: no cached bytecode is written next to it or run instead."""

    source = b""

    def get_code(self, fullname: str) -> CodeType:
        self.source = self.get_data(self.path)
        if b"\0" in self.source:  # a ValueError in early versions of Python 3.11
            raise SyntaxError("source code string cannot contain null bytes", (self.path, 1, 0, ""))
        return self.source_to_code(self.source, self.path)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.removeprefix(f"{__name__}.")
        if name == fullname or _MARK not in name:
            return None
        file = bytes.fromhex(name.rpartition(_MARK)[2]).decode()
        return spec_from_file_location(fullname, file, loader=_Source(fullname, file))


sys.meta_path.append(_Finder())


def is_code(name: str) -> bool:
    """Return whether a name refers to code in a file.

    Example:
        >>> is_code("models/mine.py:build"), is_code("unet")
        (True, False)
    """
    return ".py:" in name


def code_file(name: str) -> Path:
    """Return the file of `path/to/file.py:name`.

    Example:
        >>> code_file("models/mine.py:build").name
        'mine.py'
    """
    return Path(name.rpartition(":")[0])


def from_file(name: str) -> Any:
    """Run a file and return the object that it defines under the name after the colon.

    Raises:
        ConfigError: the file does not exist, fails, or does not define the name.
    """
    file, key = code_file(name), name.rpartition(":")[2]
    path = file.resolve()
    if not path.is_file():
        raise ConfigError(f"{file}: no such file")
    module = _imported(path, str(file))
    if not hasattr(module, key):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise ConfigError(f"{file} defines no {key!r}; {nearest(key, names)}")
    return getattr(module, key)


def _imported(path: Path, file: str) -> ModuleType:
    module_name = f"{__name__}.{path.stem.replace('.', '_')}{_MARK}{str(path).encode().hex()}"
    try:
        if module_name in sys.modules:
            known = sys.modules[module_name]
            if known.__loader__.source == path.read_bytes():  # type: ignore[union-attr]
                return known
            del sys.modules[module_name]
        return import_module(module_name)
    except SyntaxError as error:
        raise ConfigError(f"{file}: line {error.lineno}: not valid Python: {error.msg}") from error
    except SystemExit as error:
        raise ConfigError(f"{file}: ends the program (exit {error.code}) when it is imported") from error
    except Exception as error:  # whatever the user's code raises
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: {_line(error, path)}{type(error).__name__}: {reason}") from error


def _line(error: Exception, path: Path) -> str:
    """Return the last line of a file in the traceback of an error, as text for its message."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = f"line {trace.tb_lineno}: "
        trace = trace.tb_next
    return found
