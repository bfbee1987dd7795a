"""Merging: the maps of objects that were separated in windows that overlap, made to add up to one image."""

from collections.abc import Iterator, Sequence
from math import sqrt

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from oasis.adapters.sources import Sources
from oasis.data.images import Images
from oasis.data.samples import Array
from oasis.inference.catalogue.windows import bell, cut, overlap, starts_of
from oasis.progress import Progress
from oasis.separator.separator import Separator

BATCH = 32  # windows per forward pass
TOGETHER = 256  # objects that are measured together
CENTRE = 3.0  # pixels: the object in the middle of a window is the class that is brightest within this radius
NEAR = 0.25  # of a window: objects farther apart than this are never the same one
ALIKE = 0.9  # cosine of two maps from which on they show the same object


class Merging:
    """Objects of one image, separated in windows and merged.

    In the window of each object one class is the object in its middle. Neighbours are separated again in their own
    windows, so that light may be claimed twice. Where the maps of several objects add up to more than the light of
    all classes, averaged over the windows that cover a pixel with weights that fall towards their edges, they are
    scaled down to it, or to the largest of the maps. An object that is detected twice has the same map in both
    windows: one of them is dropped.

    Args:
        separator: the separator to apply.
        images: one image.
        classes: the numbers of the classes of which one is the object in the middle.
        lengths: of a window.
        store: an open file, in which maps are kept until all are there.
    """

    def __init__(
        self,
        separator: Separator,
        images: Images,
        classes: Sequence[int],
        lengths: Sequence[int],
        store: h5py.File,
    ) -> None:
        self.separator, self.images, self.lengths = separator, images, tuple(lengths)
        self.classes = list(classes)
        self.size = images.image.shape[2:]
        self.image = images.filled()[0]
        self.places = np.empty((0, len(self.lengths)))
        self.starts = np.empty((0, len(self.lengths)), np.intp)
        self.light = np.empty(0)
        bands = self.image.shape[0]
        shape = (bands, *self.lengths)
        self.maps = store.create_dataset(
            "maps", (0, *shape), np.float32, maxshape=(None, *shape), chunks=(1, *shape)
        )
        self._weighted = np.zeros((bands, *self.size), np.float32)  # light of all classes, a weighted sum
        self._weight = np.zeros((1, *self.size), np.float32)

    def add(self, places: NDArray[np.float64]) -> None:
        """Separate the windows of objects at places (k, axes), pixels."""
        weights, first = bell(self.lengths), len(self.places)
        self.places = np.concatenate([self.places, places])
        self.starts = np.concatenate([self.starts, starts_of(places, self.lengths)])
        self.maps.resize(len(self.places), axis=0)
        with Progress("separate", len(places), "objects") as shown:
            for start in range(first, len(self.places), BATCH):
                rows = slice(start, start + BATCH)
                maps, total = self._separated(rows)
                self.maps[rows] = maps
                light = maps.sum(axis=tuple(range(1, maps.ndim)), dtype=np.float64)
                self.light = np.concatenate([self.light, light])
                for one, at in zip(total, self.starts[rows], strict=True):
                    inside, within = overlap(at, self.lengths, self.size)
                    self._weighted[:, *inside] += (one * weights)[:, *within]
                    self._weight[:, *inside] += weights[:, *within]
                shown.advance(len(maps))

    def merge(self, keep: bool = False) -> NDArray[np.intp]:
        """Merge the maps of all objects, and return the numbers of those that are kept, each once.

        Args:
            keep: return a number for every place instead, that of the object which it shows.
        """
        shown = self._shown()
        once = np.unique(shown) if keep else np.flatnonzero((shown == np.arange(len(shown))) & (self.light > 0))
        self._scale(once)
        return shown if keep else once

    def residual(self) -> Images:
        """Return the image without the light of its objects, once they are merged."""
        return self.images.replace(image=(self.image - self.claimed)[None])

    def _separated(self, rows: slice) -> tuple[Array, Array]:
        """Return the maps of the objects in the middle of windows (k, B, *S), and the light of all classes."""
        starts = self.starts[rows]
        windows = cut(self.image, starts, self.lengths)
        context = None if self.images.context is None else cut(self.images.context[0], starts, self.lengths)
        found = self.separator.predict(torch.from_numpy(windows), context).maps.float().cpu().numpy()
        choice = found[:, self.classes]
        grid = np.meshgrid(*[np.arange(one) - one // 2 for one in self.lengths], indexing="ij")
        middle = np.sqrt(sum(axis**2 for axis in grid)) <= CENTRE
        best = choice.sum(axis=2)[:, :, middle].sum(axis=2).argmax(axis=1)
        return choice[np.arange(len(choice)), best], found.sum(axis=1)

    def _shown(self) -> NDArray[np.intp]:
        """Return for each object its number, or that of a brighter one which shows the same."""
        shown = np.arange(len(self.places))
        pairs = cKDTree(self.places).query_pairs(NEAR * min(self.lengths)) if len(self.places) else set()
        brighter_first = sorted(sorted(pair, key=lambda one: -self.light[one]) for pair in pairs)
        for bright, faint in sorted(brighter_first, key=lambda pair: -self.light[pair[0]]):
            both = shown[bright] == bright and shown[faint] == faint
            if both and self._cosine(bright, faint) > ALIKE:
                shown[faint] = bright
        return shown

    def _cosine(self, one: int, other: int) -> float:
        """Return the cosine between the maps of two objects where their windows overlap."""
        shift = self.starts[other] - self.starts[one]
        mine, others = [], []
        for by, length in zip(shift.tolist(), self.lengths, strict=True):
            mine.append(slice(max(by, 0), min(length + by, length)))
            others.append(slice(max(-by, 0), min(length - by, length)))
        first, second = self.maps[one], self.maps[other]
        product = float((first[:, *mine] * second[:, *others]).sum(dtype=np.float64))
        powers = [float((maps**2).sum(dtype=np.float64)) for maps in (first, second)]
        return product / sqrt(powers[0] * powers[1]) if all(powers) else 0.0

    def _scale(self, kept: NDArray[np.intp]) -> None:
        """Scale maps down where they add up to more than the light of all classes, and remember their sum."""
        most = self._weighted / np.maximum(self._weight, np.finfo(np.float32).tiny)
        self.claimed = np.zeros_like(most)
        for number in kept.tolist():
            inside, within = overlap(self.starts[number], self.lengths, self.size)
            claim = self.maps[number][:, *within]
            self.claimed[:, *inside] += claim
            np.maximum(most[:, *inside], claim, out=most[:, *inside])
        self.scale = np.minimum(most / np.maximum(self.claimed, np.finfo(np.float32).tiny), 1)
        self.claimed *= self.scale

    def sources(self, kept: NDArray[np.intp], noise: NDArray[np.float64]) -> Iterator[Sources]:
        """Yield the objects that are kept, with merged maps, some at a time; an empty part if there are none."""
        images, lengths = self.images, self.lengths
        everywhere = np.ones((1, *self.size), bool)
        good = everywhere if images.mask is None else images.mask[0]
        facts = {name: float(values[0]) for name, values in images.position.items()}
        for first in range(0, max(len(kept), 1), TOGETHER):
            rows = kept[first : first + TOGETHER]
            starts = self.starts[rows]
            once, places = np.unique(rows, return_inverse=True)  # as HDF5 reads them
            read = self.maps[once] if len(once) else np.empty((0, *self.maps.shape[1:]), np.float32)
            maps = read[places] * cut(self.scale, starts, lengths)
            yield Sources(
                maps=maps,
                rest=np.maximum(cut(self.claimed, starts, lengths) - maps, 0),
                image=cut(self.image, starts, lengths),
                good=cut(good, starts, lengths),
                inside=cut(everywhere, starts, lengths),
                flags={name: cut(plane[0], starts, lengths) for name, plane in images.flags.items()},
                deviation=None if images.deviation is None else cut(images.deviation[0], starts, lengths),
                places=self.places[rows],
                starts=starts,
                facts=facts,
                noise=noise,
            )
