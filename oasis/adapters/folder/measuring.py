"""Measuring: what a folder of images contains, from which a configuration is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from oasis.adapters.folder.intensities import Counts
from oasis.adapters.folder.layout import IMAGES, Layout, find_layout
from oasis.adapters.folder.stated import Stated, differ, stated_by
from oasis.adapters.options import SPLITS
from oasis.errors import DataError
from oasis.io.axes import SPATIAL, AxisFacts
from oasis.regions import check_classes

SAMPLED: Final = 5  # files of a class that are measured
WINDOWS: Final = {1: 1024, 2: 128, 3: 32}  # pixels of a window along an axis by number of axes
FEW: Final = 4  # the most channels that an unnamed first axis is taken for
SMALL: Final = 16  # pixels below which an axis is not one of an image
FLAT: Final = 0.9  # share of equal neighbours under labels
SIGMAS: Final = 3.0
FAINT: Final = 0.01  # of the brightest pixels


@dataclass(frozen=True)
class Found:
    """What a folder contains.

    Attributes:
        single: whether images show one class each.
        files: number of files by class, and of `images`.
        spatial_dims: number of spatial axes.
        bands: number of channels.
        smallest: the smallest image along every axis.
        size: the size of a window.
        labels: classes whose files look like label images.
        darkest: the darkest thousandth of the pixels of the images, in counts.
        thresholds: an intensity above the noise, by class, in counts.
        excess: by how many counts the maps add up to more than the images, as a median; 0 if there are none.
        noise: rms of the noise of the images, in counts.
        why: how axes were read, as a text for people.
        stated: what the images state of their pixels and channels.
        other: a file that states something else, and what, as a text for people.
    """

    single: bool
    files: Mapping[str, int]
    spatial_dims: int
    bands: int
    smallest: tuple[int, ...]
    size: tuple[int, ...]
    labels: tuple[str, ...]
    darkest: float
    thresholds: Mapping[str, float]
    excess: float
    noise: float
    why: str
    stated: Stated
    other: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(name for name in self.files if name != IMAGES)


def measure(
    folder: Path, dims: int | None = None, channels: Sequence[str] = (), counts: Counts | None = None
) -> Found:
    """Measure a folder of images.

    Args:
        folder: the folder.
        dims: number of spatial axes, where the files do not tell.
        channels: endings of the names of files that are one channel each, of which the first one is measured.
        counts: reads the files.

    Raises:
        ConfigError: the name of a folder cannot name a class.
        DataError: its layout is not known, or a file cannot be read or measured.
    """
    counts, layout = counts or Counts(), training_layout(folder, channels)
    check_classes(list(layout.maps))
    images = list(layout.images.values()) or [path for files in layout.maps.values() for path in files.values()]
    values, facts = counts.labelled(images[0])
    known, bands, why = _axes(values.shape, facts, dims, images[0])
    sizes = [_size(path, known, counts) for path in reversed(images)][::-1]  # the first ones are still in memory
    thin = next((path for path, lengths in zip(images, sizes, strict=True) if min(lengths) < 2), None)
    if thin is not None:
        said = " x ".join(map(str, _size(thin, known, counts)))
        raise DataError(
            f"{thin}: images of {said} pixels: expected at least 2 along every axis (is --dims right?)"
        )
    smallest = tuple(min(lengths) for lengths in zip(*sizes, strict=True))
    labels = () if layout.single else tuple(name for name in layout.maps if _are_labels(layout, name, counts))
    sampled = np.concatenate([counts.intensities(path) for path in images[:SAMPLED]])
    facts_of = [counts.facts(path) for path in images]
    stated, (place, other) = stated_by(facts_of, known), differ(facts_of, known)
    files = {IMAGES: len(layout.images)} if layout.images else {}
    files |= {name: len(paths) for name, paths in layout.maps.items()}
    return Found(
        layout.single,
        files,
        known,
        len(channels) or bands,
        smallest,
        tuple(min(length, WINDOWS[known]) for length in smallest),
        labels,
        float(np.percentile(sampled, 0.1)),
        {name: _threshold(layout, name, name in labels, counts) for name in layout.maps},
        0.0 if labels else _excess(layout, counts),
        float(np.median([counts.noise_of(path) for path in images[:SAMPLED]])),
        why,
        stated if not channels else stated.model_copy(update={"channels": ()}),
        other and f"{images[place]}: {other}",
    )


def training_layout(folder: Path, channels: Sequence[str] = ()) -> Layout:
    """Return the layout of a folder, or of its folder `train` if there is one for each split.

    Raises:
        DataError: it is not known.
    """
    train = folder / "train"
    return find_layout(train if train.is_dir() else folder, channels=channels)


def has_splits(folder: Path) -> bool:
    """Return whether a folder has one for each split."""
    return all((folder / split).is_dir() for split in SPLITS)


def _axes(shape: Sequence[int], facts: AxisFacts, dims: int | None, path: Path) -> tuple[int, int, str]:
    """Return the number of spatial axes and of bands of an array, and why."""
    if facts.names and "Q" not in facts.names:
        lengths = dict(zip(facts.names, shape, strict=True))
        bands = lengths.get("C", 1)
        found = 3 if lengths.get("Z", 1) > 1 else (2 if "Y" in lengths else 1)
        if (dims or found) == 1 and "I" in facts.names:  # columns of a table
            signals = f"{lengths['I']} signal{'s' * (lengths['I'] > 1)} of {lengths['X']} samples"
            return 1, bands, f"{signals} in {path.name}"
        return dims or found, bands, f"axes {facts.sizes(shape)}, as {path.name} states"
    said = " x ".join(map(str, shape))
    if dims is not None or len(shape) < 3:
        dims = dims or (1 if len(shape) == 1 or path.suffix.lower() == ".csv" else 2)
        lead = shape[: len(shape) - dims]
        bands = lead[-1] if lead and lead[-1] <= FEW and (len(lead) > 1 or dims > 1) else 1
        return dims, bands, f"an array of {said} without names of its axes"
    if shape[0] <= FEW and min(shape[1:]) > SMALL and len(shape) == 3:
        return 2, shape[0], f"an array of {said} without names of its axes, taken for {shape[0]} channels"
    why = "taken for a stack of images (if one axis is depth: oasis init --dims 3)"
    return 2, 1, f"an array of {said} without names of its axes, {why}"


def _size(path: Path, dims: int, counts: Counts) -> tuple[int, ...]:
    """Return the spatial size of the images of a file."""
    values, facts = counts.labelled(path)
    names = facts.names if facts.names and "Q" not in facts.names else ""
    wanted = SPATIAL[-dims:]
    if names and all(name in names for name in wanted):
        return tuple(values.shape[names.index(name)] for name in wanted)
    if values.ndim < dims:
        raise DataError(f"{path}: an array of shape {values.shape}, expected {dims} spatial axes")
    return values.shape[values.ndim - dims :]


def other_size(layout: Layout, dims: int, counts: Counts) -> str:
    """Return which of the first images has a map of another size; an empty text if none has."""
    for name, path in list(layout.images.items())[:SAMPLED]:
        size = _size(path, dims, counts)
        for kind, files in layout.maps.items():
            found = _size(files[name], dims, counts)
            if found != size:
                turned = sorted(found) == sorted(size)
                of_map, of_image = (" x ".join(map(str, one)) for one in (found, size))
                return f"{files[name]}: the map of {kind} has {of_map} pixels, but its image {of_image}: " + (
                    "are its axes exchanged?" if turned else "give every image maps of its size"
                )
    return ""


def _files(layout: Layout, name: str) -> list[Path]:
    return list(layout.maps[name].values())[:SAMPLED]


def _are_labels(layout: Layout, name: str, counts: Counts) -> bool:
    """Return whether the files of a class look like label images: whole numbers that are the same over areas."""
    for path in _files(layout, name):
        values = counts(path)
        if values.dtype.kind not in "ui":
            return bool(values.dtype.kind == "b")
        pairs = (values[..., 1:] > 0) & (values[..., :-1] > 0)
        same = values[..., 1:] == values[..., :-1]
        if pairs.any():
            return bool(same[pairs].mean() > FLAT) and bool((values == 0).any())
    return False


def _threshold(layout: Layout, name: str, labelled: bool, counts: Counts) -> float:
    """Return an intensity that is above the noise of the images of a class."""
    paths = list(layout.images.values())[:SAMPLED] if labelled else _files(layout, name)
    noise = float(np.median([counts.noise_of(path) for path in paths]))
    ranges = [np.percentile(counts.intensities(path), [1, 99.9]) for path in paths]
    return max(SIGMAS * noise, FAINT * float(np.median(np.diff(ranges))))


def _excess(layout: Layout, counts: Counts) -> float:
    """Return by how much maps add up to more than their images; 0 where they cannot be compared."""
    found = []
    for name, path in list(layout.images.items())[:SAMPLED]:
        image = counts(path).astype(float)
        maps = [counts(files[name]).astype(float) for files in layout.maps.values()]
        if {one.shape for one in maps} == {image.shape}:
            found.append(float(np.nanmedian(np.sum(maps, axis=0) - image)))
    return float(np.median(found)) if found else 0.0
