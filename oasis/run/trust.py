"""Trust: which of the code that a run names may be executed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oasis.errors import ConfigError, ModelError, shown
from oasis.io.kept_code import KeptCode


@dataclass(frozen=True)
class Trust:
    """The user's own code that a run names, and the permission to execute it.

    Attributes:
        saved: the names in the configuration, by key, such as `{"adapter": "own.py:Mine"}`.
        trusted: the names that may be executed.
        located: returns the name under which to run code: its own, or that of the copy in the run.
    """

    saved: Mapping[str, str]
    trusted: frozenset[str]
    located: Callable[[str], str] = str

    def check(self, names: Mapping[str, str], config: Path) -> None:
        """Check that code may be executed.

        Args:
            names: its names, by key.
            config: the file that names it.

        Raises:
            ConfigError: there was no permission.
        """
        for key, name in names.items():
            if name not in self.trusted:
                raise ConfigError(
                    f"{config}: {key}: the run names code, {shown(name)}, which is not executed without "
                    "permission: if you trust its author, pass --trust-code (in Python trust_code=True)"
                )

    def check_recorded(self, recorded: Mapping[str, str], weights: Path, config: Path) -> None:
        """Check that the weights name the code that the configuration names.

        Args:
            recorded: the names in the weights, by key.
            weights: their file.
            config: the file of the configuration.

        Raises:
            ModelError: they differ.
        """
        for key in {**recorded, **self.saved}:
            found, expected = (names.get(key, "none") for names in (recorded, self.saved))
            if found != expected:
                raise ModelError(
                    f"{weights}: names the code {shown(found)} as its {key}, but {config} {shown(expected)}: "
                    "the two files are not of one run, and neither is executed"
                )

    def keep(self, names: Mapping[str, str], kept: KeptCode) -> None:
        """Copy code into a run.

        Args:
            names: its names, by key.
            kept: the copies.
        """
        kept.keep({name: self.located(name) for name in names.values()})
