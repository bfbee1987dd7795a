"""Writes the pages of the API from the modules of the package: one for each room and each domain."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import oasis

FOLDER = Path(__file__).parent / "reference" / "api"
HOUSE = "oasis"  # the room of the modules that are in no folder
RUN = """
```{eval-rst}
.. autoclass:: oasis.run.Run
   :inherited-members:
.. autoclass:: oasis.run.Evaluation
   :exclude-members: count, index
```
"""  # as users see them, not by the modules over which their methods are distributed
OF_RUN = ("inspection", "trust", "comparable")
UNSHOWN = ("oasis.__main__", "oasis.starting.quickstarts.", "oasis.starting.templates")


def room_of(module: str) -> str:
    """Return the room of a module; every domain is one.

    Example:
        >>> room_of("oasis.loss.terms"), room_of("oasis.adapters.ccd.scene"), room_of("oasis.cli")
        ('oasis.loss', 'oasis.adapters.ccd', 'oasis')
    """
    parts = module.split(".")
    if parts[1] == "adapters" and len(parts) > 2 and _is_package(".".join(parts[:3])):
        return ".".join(parts[:3])
    room = ".".join(parts[:2])
    return room if _is_package(room) else HOUSE


def _is_package(module: str) -> bool:
    return Path(importlib.import_module(module).__file__ or "").name == "__init__.py"


def rooms() -> dict[str, list[str]]:
    """Return the modules of every room, by room; packages that define nothing themselves are left out."""
    found: dict[str, list[str]] = {HOUSE: []}
    for one in pkgutil.walk_packages(oasis.__path__, f"{HOUSE}."):
        if one.name.startswith(UNSHOWN) or (one.ispkg and not _defines(importlib.import_module(one.name))):
            continue
        found.setdefault(room_of(one.name), []).append(one.name)
    return {room: names for room, names in sorted(found.items()) if names}


def _defines(package: ModuleType) -> bool:
    public = (value for name, value in vars(package).items() if not name.startswith("_"))
    return any(getattr(value, "__module__", None) == package.__name__ for value in public)


def page(room: str, modules: list[str]) -> str:
    """Return the text of the page of a room."""
    summary = (importlib.import_module(room).__doc__ or "").strip()
    return "\n".join((f"# {room}", "", summary, *_sections(room, modules)))


def _sections(room: str, modules: list[str]) -> Iterator[str]:
    if room == "oasis.run":
        modules = [name for name in modules if name.endswith(OF_RUN)]
        yield RUN
    for name in modules:
        yield f"\n## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```"


def write() -> None:
    """Write the pages, and remove those of rooms that are gone; unchanged ones keep their time."""
    FOLDER.mkdir(exist_ok=True)
    pages = {FOLDER / f"{room}.md": page(room, modules) + "\n" for room, modules in rooms().items()}
    for path in {*FOLDER.glob("*.md")} - {*pages}:
        path.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
