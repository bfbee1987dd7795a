"""Folders: those of the small models, by name, and copies of them as runs of the user."""

import shutil
from pathlib import Path
from typing import Final

from oasis.errors import DataError, ModelError, nearest
from oasis.io.files import replace_when_whole
from oasis.io.run_files import CONFIG, WEIGHTS

MODELS: Final = Path(__file__).parent / "models"
PREFIX: Final = "zoo:"


def zoo_names() -> list[str]:
    """Return the names of the models.

    Example:
        >>> "migdal" in zoo_names()
        True
    """
    return sorted(path.parent.name for path in MODELS.glob(f"*/{WEIGHTS}"))


def zoo_folder(name: str) -> Path:
    """Return the folder of a model, which is a run with a model card.

    Raises:
        ModelError: there is no such model.

    Example:
        >>> (zoo_folder("migdal") / "README.md").read_text().splitlines()[0]
        '# migdal'
    """
    if name not in zoo_names():
        raise ModelError(f"{PREFIX}{name}: no such model; {nearest(name, zoo_names())}")
    return MODELS / name


def described_in(name: str, folder: str | Path) -> Path:
    """Return the run that a copy of a model in a folder is, or, where there is none, that of the package.

    Raises:
        DataError: the folder contains anything else.
        ModelError: there is no such model.
    """
    source, target = zoo_folder(name), Path(folder)
    if target.is_dir() and any(target.iterdir()) and not _is_copy(source, target):
        raise DataError(
            f"{target}: contains something else than the model {name}: choose another folder with --out"
        )
    return target if (target / CONFIG).is_file() else source


def copy_model(name: str, folder: str | Path) -> Path:
    """Copy a model into a folder that is new or contains it already, and return the folder, which is a run.

    Files that are there are left as they are, since the user may have edited them.

    Raises:
        DataError: the folder contains anything else.
        ModelError: there is no such model.
    """
    described_in(name, folder)
    source, target = zoo_folder(name), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: file.name != WEIGHTS):  # by which a copy is known
        if not (target / file.name).exists():
            with replace_when_whole(target / file.name) as temporary:
                shutil.copyfile(file, temporary)
    return target


def _is_copy(source: Path, target: Path) -> bool:
    """Return whether a folder has the weights of a model."""
    weights = target / WEIGHTS
    return weights.is_file() and weights.read_bytes() == (source / WEIGHTS).read_bytes()
