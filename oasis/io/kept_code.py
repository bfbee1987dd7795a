"""Kept code: copies of the user's code files that a run was trained with, so that it works from any folder."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from oasis.errors import ConfigError
from oasis.io.files import replace_when_whole
from oasis.io.texts import read_json, write_text
from oasis.plugins import code_file, is_code

INDEX = "index.json"

logger = logging.getLogger(__name__)


class KeptCode:
    """The copies of code files in a run.

    Args:
        folder: the folder of the copies, with an index of them by the path that the configuration names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def index(self) -> Path:
        """The index of the copies."""
        return self.folder / INDEX

    def keep(self, names: Mapping[str, str]) -> None:
        """Copy code files into the folder.

        Args:
            names: names such as `path/to/file.py:name`, each with the name under which it was run.

        Raises:
            ConfigError: no such file.
            DataError: the folder cannot be written to.
        """
        index = {}
        for name, run_as in names.items():
            file, content = code_file(name), _content(code_file(run_as))
            digest = hashlib.sha256(content).hexdigest()
            copy = f"{file.stem}-{digest[:12]}.py"
            with replace_when_whole(self.folder / copy) as temporary:
                temporary.write_bytes(content)
            index[str(file)] = {"copy": copy, "sha256": digest}
        if index:
            write_text(self.index, json.dumps(index, indent=1) + "\n")

    def located(self, name: str) -> str:
        """Return the name under which to run code: its own if its file is unchanged, else that of the copy.

        Raises:
            ConfigError: the copy was changed or is missing.
        """
        if not is_code(name):
            return name
        file, key = code_file(name), name.rpartition(":")[2]
        kept = self._index().get(str(file))
        if kept is None:
            return name
        copy = self.folder / Path(str(kept.get("copy"))).name
        if hashlib.sha256(_content(copy)).hexdigest() != kept.get("sha256"):
            raise ConfigError(f"{copy}: missing or changed since the training: copy the run from its origin again")
        if file.is_file():
            if _content(file) == _content(copy):
                return name
            logger.warning("%s: has changed since the training: using the copy in %s", file, self.folder)
        return f"{copy}:{key}"

    def is_index(self, path: Path) -> bool:
        """Return whether a file is an index of kept code."""
        index = read_json(path, ConfigError)
        return all(isinstance(kept, dict) and kept.keys() == {"copy", "sha256"} for kept in index.values())

    def _index(self) -> dict[str, dict[str, str]]:
        path = self.index
        if not path.exists():
            return {}
        index = read_json(path, ConfigError)
        if not all(isinstance(kept, dict) for kept in index.values()):
            raise ConfigError(f"{path}: not an index of kept code")
        return index


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
