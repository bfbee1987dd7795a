"""Results that are stored as JSON in the folder of a run, and that state what they are."""

from pathlib import Path
from typing import ClassVar, Self

from oasis.errors import DataError
from oasis.io.texts import read_json, write_text
from oasis.options import Options


class Stored(Options):
    """A result in a JSON file with the key `format`.

    Attributes:
        what: what it is, for messages.
        format: its value of the key, which a file must state.
    """

    what: ClassVar[str]
    format: str

    def save(self, path: str | Path) -> None:
        """Write the result as JSON.

        Raises:
            DataError: the path cannot be written to.
        """
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a result.

        Raises:
            DataError: the file is missing, broken or not such a result.
            ConfigError: it contains an invalid key or value.
        """
        values, expected = read_json(path), cls.model_fields["format"].default
        if values.get("format") != expected:
            raise DataError(f"{path}: not a {cls.what} of oasis-seg (expected the format {expected})")
        return cls.parse(values, where=str(path))
