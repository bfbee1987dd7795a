"""Layout: which files of a folder are images and which are maps, and to which split they belong."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final
from zlib import crc32

from oasis.adapters.folder.channels import leading, name_of
from oasis.adapters.folder.options import SplitRule
from oasis.adapters.options import SPLITS
from oasis.errors import ConfigError, DataError
from oasis.io.arrays import SUFFIXES
from oasis.io.folders import image_files, images_below, is_image, left_below, stem_of
from oasis.io.png import PNG

KINDS: Final = (*SUFFIXES, PNG)
IMAGES: Final = "images"
SINGLE: Final = ("single-stained", "single_stained", "single stained")
MOST_NAMED: Final = 5
EXPECTED: Final = (
    "expected the folder images/ and one for every class with files of the same names, or single-stained/ with a "
    "folder or a stack for every class"
)


@dataclass(frozen=True)
class Layout:
    """The image files of a folder.

    A folder of images that has none itself has those in the folders below it, named `day 1/cell 3`.

    Attributes:
        single: whether every file shows one class, to be mixed.
        images: the images with their maps by name, empty if `single`.
        maps: the files of every class by name.
    """

    single: bool
    images: Mapping[str, Path]
    maps: Mapping[str, Mapping[str, Path]]

    def left_below(self) -> str:
        """Return that there are images in folders below those that are read; else an empty text."""
        folders = {path.parent for files in (self.images, *self.maps.values()) for path in files.values()}
        above = {folder for one in folders for folder in one.parents}
        return next(filter(None, (left_below(one, KINDS) for one in sorted(folders - above))), "")


def find_layout(folder: Path, classes: Sequence[str] | None = None, channels: Sequence[str] = ()) -> Layout:
    """Return the image files of a folder.

    Args:
        folder: the folder.
        classes: the classes to look for; by default all that are there.
        channels: the endings of the names of files that are one channel of an image each.

    Raises:
        DataError: the folder does not have one of the two layouts, or files are missing.
    """
    if not folder.is_dir():
        where = "" if folder.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"{folder}: no such folder{where}; {EXPECTED}")
    single = next((folder / name for name in SINGLE if (folder / name).is_dir()), None)
    if single is not None:
        return Layout(True, {}, _of_classes(single, classes, channels))
    if not (folder / IMAGES).is_dir():
        raise DataError(f"{folder}: {EXPECTED}")
    images = _by_name(folder / IMAGES, channels)
    maps = _of_classes(folder, classes, channels, (IMAGES, *SPLITS), any("/" in name for name in images))
    for name, files in maps.items():
        missing = [stem for stem in images if stem not in files]
        if missing:
            listed = ", ".join(missing[:MOST_NAMED]) + ", ..." * (len(missing) > MOST_NAMED)
            raise DataError(
                f"{folder / name}: no map of {listed} ({len(missing)} of {len(images)} images): give every "
                "image a file of the same name, blank where the class is absent"
            )
    return Layout(False, images, maps)


def _of_classes(
    folder: Path,
    classes: Sequence[str] | None,
    channels: Sequence[str],
    without: Sequence[str] = (),
    deep: bool = True,
) -> dict[str, dict[str, Path]]:
    """Return the files of every class: those in its folder, or in those below if `deep`, or one stack."""
    found: dict[str, dict[str, Path]] = {}
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in entries:
        zarr = path.name.lower().endswith(".zarr")
        if path.is_dir() and not zarr and path.name not in without:
            if _has_images(path) or (deep and any(images_below(path, KINDS))):
                found[path.name] = _by_name(path, channels)
        elif (path.is_file() or zarr) and path.name.lower().endswith(KINDS) and not without:
            found.setdefault(stem_of(path), {stem_of(path): path})
    wanted = list(found) if classes is None else classes
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{folder}: no images of the class {missing[0]!r}: found the classes {list(found)}; {EXPECTED}"
        )
    if not wanted:
        raise DataError(f"{folder}: no folder of images of a class in it; {EXPECTED}")
    return {name: found[name] for name in wanted}


def _by_name(folder: Path, channels: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    below = [] if _has_images(folder) else images_below(folder, KINDS)
    parts = [list(part) for _, part in groupby(below, lambda path: path.parent)] or [image_files(folder, KINDS)]
    for path in (path for part in parts for path in leading(part, channels)):
        name = (path.parent.relative_to(folder) / name_of(path, channels)).as_posix()
        if name in files:
            raise DataError(f"{path}: has the name of {files[name].name}: images are matched by their names")
        files[name] = path
    return files


def _has_images(folder: Path) -> bool:
    return any(is_image(one.name, KINDS) for one in folder.iterdir())


def split_names(names: Sequence[str], rule: SplitRule, seed: int) -> dict[str, list[str]]:
    """Divide the names of files among the splits.

    The groups are ordered by a hash of their names and the seed: the first fraction is the test, the next
    validation, each of at least one group. No file depends on the order in which files are found.

    Args:
        names: of files.
        rule: the fractions, and how files are grouped.
        seed: of the data.

    Returns:
        The names of each split; all splits are empty if there are fewer than three files and no stated groups.

    Raises:
        ConfigError: the stated expression finds nothing, or fewer groups than there are splits.

    Example:
        >>> {name: len(part) for name, part in split_names(list("abcdefghij"), SplitRule(), 0).items()}
        {'train': 6, 'val': 2, 'test': 2}
    """
    groups = _groups(names, rule.group)
    if len(groups) < len(SPLITS):
        return {split: [] for split in SPLITS}
    order = sorted(groups, key=lambda group: (crc32(f"{seed}/{group}".encode()), group))
    test = max(round(rule.test * len(order)), 1)
    val = max(round(rule.val * len(order)), 1)
    val, test = (1, 1) if val + test >= len(order) else (val, test)
    parts = {"train": order[test + val :], "val": order[test : test + val], "test": order[:test]}
    return {split: sorted(name for group in part for name in groups[group]) for split, part in parts.items()}


def _groups(names: Sequence[str], expression: str | None) -> dict[str, list[str]]:
    """Return the names of files by the text that an expression finds; a file where it finds none is its own group.

    Stated groups are never divided by the images of their files: a split would see the slides of another.
    """
    if expression is None:
        return {name: [name] for name in names}
    groups: dict[str, list[str]] = {}
    matched: dict[str, None] = {}
    for name in names:
        found = re.search(expression, name)
        text = found.group(1) if found else None
        if text:
            matched[text] = None
        groups.setdefault(text or name, []).append(name)
    if not matched:
        raise ConfigError(
            f"data.split.group: {expression!r} finds nothing in the names of {len(names)} files, such as "
            f"{names[0]!r}: expected an expression that fits them"
        )
    if len(groups) < len(SPLITS):
        listed = ", ".join(map(repr, groups))
        raise ConfigError(
            f"data.split.group: {expression!r} puts {len(names)} files into {len(groups)} group"
            f"{'s' * (len(groups) > 1)} ({listed}), but train, val and test need at least {len(SPLITS)}: choose "
            "another expression, or give the folders train, val and test"
        )
    return groups


def split_frames(count: int, rule: SplitRule) -> dict[str, range]:
    """Divide the images of a stack among the splits: the first ones train, the last ones test.

    Example:
        >>> split_frames(10, SplitRule())
        {'train': range(0, 6), 'val': range(6, 8), 'test': range(8, 10)}
    """
    test = max(round(rule.test * count), 1)
    val = max(round(rule.val * count), 1)
    first, last = count - test - val, count - test
    return {"train": range(first), "val": range(first, last), "test": range(last, count)}
