"""A new adapter: a file that trains as it is, its configuration and its test, to be changed step by step."""

import keyword
import sys
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path
from string import Template

from oasis.errors import ConfigError
from oasis.io.outputs import check_outputs
from oasis.io.texts import write_text
from oasis.starting.quickstarts import same_text

TEMPLATES = files("oasis.starting") / "templates"
SHAPES = {1: "(1, 256)", 2: "(1, 48, 48)", 3: "(1, 24, 24, 24)"}  # bands, then the spatial axes


def write_adapter(name: str, dims: int = 2, folder: str | Path = ".", force: bool = False) -> list[Path]:
    """Write `NAME.py`, `NAME.yaml` and `test_NAME.py`, and return their paths.

    Args:
        name: the name of the domain; a dash becomes an underscore in the names of files.
        dims: number of spatial axes.
        folder: where to write.
        force: replace files that were changed or are others.

    Raises:
        ConfigError: the name cannot be that of a Python module, or is that of one installed; no such images.
        DataError: an output that must not be written.
    """
    module = name.replace("-", "_")
    if not (module.isidentifier() and module.isascii()) or keyword.iskeyword(module):
        raise ConfigError(f"name: {name!r} cannot name a Python file: use letters, digits, - and _")
    if module in sys.stdlib_module_names or module == "oasis" or module in packages_distributions():
        raise ConfigError(f"name: {module}.py would hide the Python module {module!r}: use another name")
    if dims not in SHAPES:
        raise ConfigError(f"dims: expected 1, 2 or 3, found {dims}")
    kind = "".join(part[:1].upper() + part[1:] for part in module.split("_"))
    values = {"module": module, "kind": kind, "shape": SHAPES[dims]}
    names = {
        "adapter.py.txt": f"{module}.py",
        "adapter.yaml.txt": f"{module}.yaml",
        "test.py.txt": f"test_{module}.py",
    }
    texts = {
        Path(folder) / target: Template((TEMPLATES / source).read_text(encoding="utf-8")).substitute(values)
        for source, target in names.items()
    }
    check_outputs({path: same_text(text) for path, text in texts.items()}, force=force)
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
