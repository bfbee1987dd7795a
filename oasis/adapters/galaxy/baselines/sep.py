"""SEP as a deblender: the maps and the fluxes of the classes from the objects that it detects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.adapters.galaxy.baselines.extraction import Catalogue, SepOptions, catalogue_of
from oasis.adapters.galaxy.baselines.matching import centroids, match
from oasis.adapters.galaxy.photometry import noise_of
from oasis.adapters.galaxy.singles import single_galaxies
from oasis.data.samples import Batch, Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sep:
    """Detection and deblending in the sum of all bands, and photometry in each, by SEP.

    The bands are summed in units of their noise, which a sample's meta states as `noise_<band>`. Detections are
    matched with all galaxies of the blend, as in BTK.

    Attributes:
        bands: names of the B bands.
        rest: if true, the last class contains several galaxies and every detection that belongs to no other class,
            so that batches need their instances; otherwise each class is one galaxy.
        options: of detection, deblending and photometry.
    """

    bands: Sequence[str]
    rest: bool
    options: SepOptions = field(default_factory=SepOptions)

    def maps(self, batch: Batch) -> Tensor:
        """Return for each class the image within the segments of its detections."""
        maps = np.zeros(tuple(batch.target.shape), np.float32)
        for into, (sample, catalogue, owners) in zip(maps, self.measured(batch), strict=True):
            of_pixel = np.concatenate([[-1], owners])[catalogue.segments]
            for index, one in enumerate(into):
                np.copyto(one, sample.image, where=of_pixel == index)
        return torch.from_numpy(maps).to(batch.image.device)

    def fluxes(self, batch: Batch) -> Floats:
        """Return the flux of each class (b, N, B), nmgy; NaN where nothing was detected."""
        return np.array(
            [
                _sums(catalogue.flux, owners, len(sample.target))
                for sample, catalogue, owners in self.measured(batch)
            ]
        )

    def measured(self, batch: Batch) -> Iterator[tuple[Sample, Catalogue, NDArray[np.intp]]]:
        """Yield each sample, its image with 0 in invalid pixels, its catalogue and the class of each detection.

        A detection without a class has -1.

        Raises:
            DataError: classes of several galaxies, and a batch without instances.
        """
        for sample in batch.samples():
            sample = sample.replace(image=np.where(sample.valid, sample.image, 0))
            catalogue = catalogue_of(sample.image, noise_of(sample.meta, self.bands), self.options)
            yield sample, catalogue, self._owners(sample, catalogue.place)

    def detections(self, batch: Batch) -> NDArray[np.intp]:
        """Return the numbers of matched detections, detections and galaxies of each sample (b, 3)."""
        counts = []
        for sample, catalogue, _ in self.measured(batch):
            maps = single_galaxies(sample, self.rest).maps
            counts.append([(match(catalogue.place, centroids(maps)) >= 0).sum(), len(catalogue.place), len(maps)])
        return np.array(counts)

    def _owners(self, sample: Sample, place: Floats) -> NDArray[np.intp]:
        galaxies = single_galaxies(sample, self.rest)
        unmatched = len(sample.target) - 1 if self.rest else -1
        return np.append(galaxies.labels, unmatched)[match(place, centroids(galaxies.maps))]


def _sums(flux: Floats, owners: NDArray[np.intp], classes: int) -> Floats:
    """Return the flux of each class (N, B), NaN for those without any detection."""
    belongs = owners == np.arange(classes)[:, None]
    return np.where(belongs.any(axis=1, keepdims=True), belongs @ flux, np.nan)
