"""Inspection: one image with everything that a run says of it, to be shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from oasis.data.choosing import Chosen
from oasis.data.images import Images
from oasis.data.instances import Instances
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Array
from oasis.device import best_device
from oasis.errors import ConfigError, DataError
from oasis.evaluation.batches import EventBatch
from oasis.evaluation.calibration import Calibration
from oasis.evaluation.event_table import as_predicted, check_same_classes
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.evaluation.instances import grouped
from oasis.evaluation.outlines import objects_of
from oasis.inference.choice import Choice
from oasis.inference.job import Job
from oasis.inference.options import WindowOptions
from oasis.inference.reader import Reader
from oasis.inference.sources import problem
from oasis.inference.tiled import needs_tiles
from oasis.inference.whole import separate_images
from oasis.io.files import readable
from oasis.io.signal_tables import Abscissa, abscissa_of
from oasis.io.zarr_files import at_level
from oasis.run.evaluation import RunEvaluation


@dataclass(frozen=True)
class Inspection:
    """One image with everything that a run says of it.

    Attributes:
        name: what it is called.
        image: (B, *S) in physical units, bad pixels filled.
        maps: (N, B, *S) in physical units.
        valid: (1, *S) the pixels over which intensities are summed.
        table: a row for every class: that of the event table, or of the table of a prediction; with intervals if
            the run is calibrated.
        target: (N, B, *S) the true maps, or None if they are unknown.
        presence: (N, B, *S) the probability that a class is present, or None if the run does not predict it.
        instances: those that the maps are grouped into, or None if they are not grouped.
        true_instances: the true ones, or None if they are unknown or maps are not grouped.
        abscissa: what a signal is drawn over, or None if its samples are numbered.
    """

    name: str
    image: Array
    maps: Array
    valid: NDArray[np.bool_]
    table: pd.DataFrame
    target: Array | None = None
    presence: Array | None = None
    instances: Instances | None = None
    true_instances: Instances | None = None
    abscissa: Abscissa | None = None


class Inspector:
    """Separates single images of a run, with the separator loaded once.

    Args:
        run: the run.
        job: how images are processed.
        calibration: that of the run, or None.
    """

    def __init__(self, run: RunEvaluation, job: Job, calibration: Calibration | None) -> None:
        self.run, self.job, self.calibration = run, job, calibration
        self._datasets: dict[str, SampleDataset] = {}

    def events(self, split: str = "test") -> int:
        """Return the number of samples of a split.

        Raises:
            ConfigError: there is no such split.
            DataError: it has no samples, or they cannot be read.
        """
        return len(self._dataset(split))

    def event(self, index: int, split: str = "test") -> Inspection:
        """Return a sample of a split with its truth; the table is its part of the event table.

        Raises:
            ConfigError: there is no such split or no such sample.
            DataError: the sample cannot be read.
        """
        dataset, job = self._dataset(split), self.job
        if not 0 <= index < len(dataset):
            raise ConfigError(f"event: there is no event {index} in {split}: expected 0 to {len(dataset) - 1}")
        seen: list[EventBatch] = []
        chosen = Chosen(dataset, [index])
        table = self.run.measure(
            chosen, job.separator, workers=0, calibrating=self.calibration is not None, watch=seen.append
        )
        if self.calibration is not None:
            table = table.join(self.calibration.intervals(as_predicted(table)))
        (sample, prediction), *_ = seen[0].events()
        objects = objects_of(sample, prediction.maps, job.adapter, job.grouping) if job.grouping else None
        return Inspection(
            f"{split} {index}",
            sample.image,
            prediction.maps,
            sample.valid,
            table,
            sample.target,
            _probability(seen[0].presence_logits),
            None if objects is None else objects.predicted,
            None if objects is None else objects.true,
            job.adapter.abscissa(sample),
        )

    def images(self, path: Path, key: str | None = None) -> int:
        """Return the number of images in a file.

        Raises:
            DataError: the file cannot be used.
        """
        path, _ = at_level(path, None)
        with Reader(self.job.adapter, key).opened(path) as opened:
            return opened.shape.images

    def image(self, path: Path, number: int = 0, key: str | None = None) -> Inspection:
        """Return an image of a file; the table is the one that `Run.predict` writes.

        Args:
            path: the path of the file.
            number: the number of the image in it.
            key: the array in `.npz` and HDF5 files.

        Raises:
            DataError: it cannot be used, or is too large to be separated at once.
        """
        path, _ = at_level(path, None)
        if needs_tiles(self.job, path, key):
            raise DataError(f"{path}: too large to be shown whole: write its maps with  oasis predict")
        with Reader(self.job.adapter, key).opened(path) as opened:
            if not 0 <= number < opened.shape.images:
                raise DataError(f"{path}: there is no image {number}: expected 0 to {opened.shape.images - 1}")
            self.job.choice.check_size(opened.shape.size, path)
            images = opened.part(number, number + 1)
        wrong = problem(images, 0)
        if wrong:
            raise DataError(f"{path}: image {number}: {wrong}")
        return self._inspected(path, number, images)

    def _inspected(self, path: Path, number: int, images: Images) -> Inspection:
        job = self.job
        found = separate_images(job, images)
        options, count = job.separator.options, len(job.separator.classes)
        table = pd.DataFrame({"source": [readable(path)] * count, "frame": number, **found.rows})
        table = identified(table, options.identity.get(CONFIGURATION), options.unit)
        if self.calibration is not None:
            table = table.join(self.calibration.intervals(table))
        valid, maps = found.valid[0], found.maps[0]
        return Inspection(
            f"{readable(path)}, image {number}",
            images.filled()[0],
            maps,
            valid,
            table,
            presence=_probability(found.logits),
            instances=grouped(maps, valid, job.adapter, job.grouping) if job.grouping else None,
            abscissa=abscissa_of(path) if valid.ndim == 2 else None,
        )

    def _dataset(self, split: str) -> SampleDataset:
        if split not in self._datasets:
            self._datasets[split] = self.run.dataset(split)
        return self._datasets[split]


class RunInspection(RunEvaluation):
    """The inspection of single images by a run; see `Run`."""

    def inspector(self, window: str | None = None) -> Inspector:
        """Return what separates single images, as `evaluate` and `predict` do.

        Args:
            window: `whole` separates images of another size than in training also where that changes their maps.

        Raises:
            ModelError: the run has no separator yet.
            DataError: its calibration is damaged.
        """
        cut = WindowOptions.parse({"kind": window}, "window")
        if cut.kind not in (None, "whole"):
            raise ConfigError(f"window: images are shown whole, not by {cut.kind}")
        calibration, separator = self.calibration, self.separator(best_device())
        check_same_classes(separator, self.adapter)
        choice = Choice(separator, lambda: self._known_size(separator), cut.kind, repeat=True)
        job = Job(separator, self.adapter, self._needs_spread, False, cut, choice, self.config.grouping or {})
        return Inspector(self, job, calibration)


def _probability(presence: torch.Tensor | None) -> Any:
    return None if presence is None else presence[0].float().sigmoid().cpu().numpy()
