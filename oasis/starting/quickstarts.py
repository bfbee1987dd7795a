"""Quickstarts: the configurations with which the shipped adapters are tried, within the package."""

from importlib.resources import files
from pathlib import Path

from oasis.adapters.registry import adapter_names
from oasis.errors import ConfigError, nearest
from oasis.io.outputs import Recogniser, check_outputs
from oasis.io.texts import read_text, write_text

FOLDER = files("oasis.starting") / "quickstarts"
ANOTHER_NAME = "if it was edited, choose another name with --out FILE"
ALIKE = {"galaxies": "galaxy", "neutrino-ions": "neutrino"}  # adapters with the quickstart of another one


def quickstart(name: str) -> str:
    """Return the quickstart of an adapter, a YAML configuration.

    Raises:
        ConfigError: there is no such adapter, or it has no quickstart.

    Example:
        >>> quickstart("pulses").splitlines()[1:3]
        ['adapter: pulses', 'run: runs/pulses']
    """
    origin = ALIKE.get(name, name)
    known = {path.name.removesuffix(".yaml") for path in FOLDER.iterdir()} | {*ALIKE}
    if name == "folder":
        raise ConfigError("adapter folder: give your own folder of images: oasis init path/to/folder")
    if name not in known:
        if name in adapter_names():
            raise ConfigError(f"adapter {name}: its package has no quickstart; those with one: {sorted(known)}")
        raise ConfigError(f"adapter: unknown {name!r}, and no folder of this name; {nearest(name, known)}")
    text = (FOLDER / f"{origin}.yaml").read_text(encoding="utf-8")
    head, body = text.split("adapter: ", 1)
    changed = body.replace(origin, name, 1).replace(f"run: runs/{origin}\n", f"run: runs/{name}\n", 1)
    return f"{head}adapter: {changed}"


def is_adapter(name: str) -> bool:
    """Return whether a name is that of an adapter.

    Example:
        >>> is_adapter("pulses"), is_adapter("cells/")
        (True, False)
    """
    return name in adapter_names() or name in ALIKE


def write_quickstart(name: str, out: str | Path | None = None, force: bool = False) -> Path:
    """Write the quickstart of an adapter and return its path.

    Args:
        name: the adapter.
        out: the file, by default `NAME.yaml`.
        force: replace a file that was changed or is another one.

    Raises:
        ConfigError: there is no such adapter, or it has no quickstart.
        DataError: an output that must not be written.
    """
    text, path = quickstart(name), Path(out) if out is not None else Path(f"{name}.yaml")
    check_outputs({path: same_text(text)}, force=force, mend=ANOTHER_NAME)
    write_text(path, text)
    return path


def same_text(text: str) -> Recogniser:
    """Return a function that recognises a file with a text, which is as it was written."""
    return lambda path: read_text(path) == text
