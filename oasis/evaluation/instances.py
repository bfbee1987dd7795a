"""Instances of a data set: the single objects that maps are grouped into, matched with the true ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.prediction import EventPrediction
from oasis.data.instances import Instances
from oasis.data.samples import Array, Sample
from oasis.evaluation.batches import EventBatch
from oasis.instances.grouping import Grouping, group
from oasis.instances.matching import MATCH, Counts, count, panoptic_quality
from oasis.instances.table import counts_of, instance_table

ANY = "any class"  # names the quality of instances that are matched whatever their class


class InstanceCollector:
    """Groups and matches the instances of batches as they pass by.

    Only what can be seen counts: pixels that are valid and above the threshold of their class. A true instance
    without such a pixel is left out.

    Args:
        adapter: of the domain.
        grouping: how the maps of classes are grouped, by name.
        threshold: the IoU that a match has to exceed.
    """

    def __init__(self, adapter: Adapter, grouping: Mapping[str, Grouping], threshold: float = MATCH) -> None:
        self.adapter = adapter
        self.grouping = grouping
        self.threshold = threshold
        self.unknown = False
        self._tables: list[pd.DataFrame] = []
        self._counts: list[Counts] = []
        self._blind: list[Counts] = []

    def add(self, event: EventBatch) -> None:
        """Add a batch; without the true instances of its samples there is nothing to compare with."""
        if event.batch.instances is None:
            self.unknown = True
            return
        classes, limits = self.adapter.classes, self.adapter.limits
        predicted, true = [], []
        for sample, prediction in event.events():
            predicted.append(grouped(prediction.maps, sample.valid, self.adapter, self.grouping))
            true.append(visible(self._measured(sample, prediction), list(limits.values()), sample.valid))
        table = instance_table(predicted, true, classes, self.threshold)
        self._counts += counts_of(table, classes, len(true))
        if len(classes) > 1:
            pairs = zip(predicted, true, strict=True)
            self._blind += [count(one, other, 1, self.threshold, blind=True) for one, other in pairs]
        ids = np.array([meta["id"] for meta in event.batch.meta], object)
        table.insert(0, "id", ids[table.pop("image").to_numpy(int)])
        self._tables.append(table)

    def _measured(self, sample: Sample, prediction: EventPrediction) -> Instances:
        """Return the true instances with the columns that the domain adds."""
        true = sample.instances
        assert true is not None
        rows = self.adapter.instance_rows(prediction, sample)
        names = dict.fromkeys(name for row in rows for name in row)
        own = {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}
        return true.with_columns(own)

    @property
    def table(self) -> pd.DataFrame | None:
        """A row for every instance, with the `id` of its sample (see `instance_table`); None if unknown."""
        if self.unknown or not self._tables:
            return None
        return pd.concat(self._tables, ignore_index=True)

    @property
    def quality(self) -> pd.DataFrame | None:
        """Panoptic quality by class and, if there are several, of all; None if instances are unknown."""
        if self.unknown or not self._counts:
            return None
        tables = [panoptic_quality(self._counts, self.adapter.classes)]
        if self._blind:
            tables.append(panoptic_quality(self._blind, [ANY]))
        return pd.concat(tables, ignore_index=True)


def grouped(
    maps: Array, valid: NDArray[np.bool_], adapter: Adapter[Any], grouping: Mapping[str, Grouping]
) -> Instances:
    """Return the instances that maps are grouped into, of valid pixels.

    Args:
        maps: (N, B, *S) of an image.
        valid: (1, *S).
        adapter: states classes and thresholds.
        grouping: how the maps of classes are grouped, by name.
    """
    return group(np.where(valid, maps, 0).astype(np.float32), adapter.classes, adapter.limits, grouping)


def visible(instances: Instances, limits: list[float], valid: NDArray[np.bool_]) -> Instances:
    """Return instances with the pixels that are valid and above the threshold of their class, where any are left.

    Args:
        instances: of an image (B, *S).
        limits: the threshold of each class.
        valid: (1, *S).
    """
    above = instances.values > np.asarray(limits)[np.asarray(instances.labels, np.int64)][instances.owners]
    inside = np.broadcast_to(valid, instances.shape).reshape(-1)[np.asarray(instances.pixels, np.int64)]
    kept = instances.keep(above & inside)
    return kept.select(np.flatnonzero(kept.sizes))
