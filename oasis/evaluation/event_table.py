"""The event table: one row per sample and class, with predicted and true quantities."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.adapters.base import Adapter
from oasis.data.loading import EpochSampler, make_loader
from oasis.data.metadata import Ids
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Batch, Scalar, collate, collate_instances
from oasis.errors import ConfigError, DataError, ModelError
from oasis.evaluation.batches import EventBatch, aligned, predictions, refine_batch
from oasis.evaluation.identity import CONFIGURATION, identified, with_columns
from oasis.evaluation.symmetry import symmetry_spread
from oasis.io.files import check_file, reading, replace_when_whole
from oasis.io.tables import check_numeric
from oasis.regions import present
from oasis.separator.separator import Separator

Floats = NDArray[np.float64]

COLUMNS = {
    "id": "which sample",
    "class": "which class",
    "intensity_true": "sum of the true map over valid pixels",
    "intensity_predicted": "sum of the predicted map over valid pixels",
    "delta_percent": "(predicted - true) / true x 100 (Eq. 7 of the paper); NaN without true intensity",
    "iou": "intersection over union of true and predicted mask (Eq. 8); NaN where both are empty",
    "overlap_fraction": "fraction of the class's pixels in which another class is present too",
    "overlap_fraction_predicted": "the same for the predicted maps",
    "overlap_intensity_true": "sum of the true map over those pixels",
    "overlap_intensity_predicted": "sum of the predicted map over those pixels",
}

NAMES = ("class", "outcome")  # columns that are no numbers
WITHOUT_TRUTH = ("intensity_predicted", "overlap_fraction_predicted")
VISIBLE = "visible_"  # prefix of columns over the pixels that are visible according to the adapter
SPREAD = "intensity_spread"  # standard deviation of the predicted intensity over the symmetries of the image


def evaluate(
    separator: Separator,
    dataset: SampleDataset,
    adapter: Adapter,
    batch_size: int = 32,
    workers: int = 1,
    visible: bool = False,
    spread: bool = False,
    refine: bool = False,
    watch: Callable[[EventBatch], object] | None = None,
) -> pd.DataFrame:
    """Return the event table: one row per sample and class, with the columns `COLUMNS` and the metadata.

    Args:
        separator: the separator to be evaluated.
        dataset: samples with truth.
        adapter: the adapter, which adds the columns of its domain.
        batch_size: samples per forward pass.
        workers: number of processes that prepare samples.
        visible: add the columns `WITHOUT_TRUTH` over the visible pixels of the adapter, with the prefix `VISIBLE`:
            the values of `oasis predict`.
        spread: add the column `SPREAD` over the same pixels, which takes a pass for every symmetry of the image.
        refine: add the columns of the adapter's `refine`.
        watch: a function that is handed every batch, with the instances of its samples.

    Raises:
        ModelError: the classes of the separator are not those of the adapter.
        ConfigError: `spread` with interchangeable classes, whose maps have no order, or with a context that does
            not rotate with the image; `refine` with an adapter that has no model to fit.
    """
    check_same_classes(separator, adapter)
    if spread:
        check_spread(adapter)
    collated = collate if watch is None else collate_instances
    events = predictions(separator, dataset, batch_size, workers, adapter.interchangeable, collated)
    if visible or spread:
        events = (_as_predicted(separator, event, adapter, visible, spread) for event in events)
    if refine:
        events = (refine_batch(event, adapter) for event in events)
    events = _named(events)
    if watch is not None:
        events = _watched(events, watch)
    table = _event_table(events, len(dataset), adapter)
    return identified(table, separator.options.identity.get(CONFIGURATION), adapter.unit)


def _named(events: Iterable[EventBatch]) -> Iterator[EventBatch]:
    """Check that every sample has an id of its own, by which tables are compared."""
    ids = Ids()
    for event in events:
        for meta in event.batch.meta:
            ids.add(meta)
        yield event


def _watched(events: Iterable[EventBatch], watch: Callable[[EventBatch], object]) -> Iterator[EventBatch]:
    for event in events:
        watch(event)
        yield event


def check_spread(adapter: Adapter) -> None:
    """Check that the spread over the symmetries of an image is defined for an adapter.

    Raises:
        ConfigError: it is undefined.
    """
    if adapter.interchangeable:
        raise ConfigError(
            f"{SPREAD}: undefined for interchangeable classes (their maps may swap between orientations)"
        )
    if adapter.oriented:
        raise ConfigError(
            f"{SPREAD}: the context contains directions, which the symmetry operations do not rotate"
        )


def _as_predicted(
    separator: Separator, event: EventBatch, adapter: Adapter, visible: bool, spread: bool
) -> EventBatch:
    """Add the values of `oasis predict` to the columns."""
    batch = event.batch
    seen = torch.from_numpy(adapter.visible(batch.image.cpu().numpy())).to(batch.image.device)
    if visible:
        event = event._replace(visible=seen)
    if spread:
        event = event._replace(spread=symmetry_spread(separator, batch.image, seen, batch.context).intensity_std)
    return event


def as_predicted(table: pd.DataFrame) -> pd.DataFrame:
    """Return an event table whose columns `WITHOUT_TRUTH` are over visible pixels, if it contains these.

    A calibration is fitted to such a table, so that it is valid for the results of `oasis predict`.
    """
    columns = {name: table[VISIBLE + name] for name in WITHOUT_TRUTH if VISIBLE + name in table}
    return table.assign(**columns)


def evaluate_maps(
    maps_of: Callable[[Batch], Tensor],
    dataset: SampleDataset,
    adapter: Adapter,
    batch_size: int = 32,
    workers: int = 1,
) -> pd.DataFrame:
    """Return the event table of a method other than a separator, such as a baseline, in the form of `evaluate`.

    Args:
        maps_of: returns the maps (b, N, B, *S) of a batch in physical units.
        dataset: samples with truth.
        adapter: the adapter of the domain.
        batch_size: samples per batch.
        workers: number of processes that prepare samples.
    """
    sampler = EpochSampler(len(dataset), shuffle=False)
    loader = make_loader(dataset, sampler, batch_size, workers, collate=collate_instances)
    predicted = (EventBatch(batch, maps_of(batch)) for batch in loader)
    events = (aligned(event, adapter.classes, adapter.interchangeable) for event in predicted)
    return _event_table(_named(events), len(dataset), adapter)


def _event_table(
    events: Iterable[EventBatch],
    count: int,
    adapter: Adapter,
) -> pd.DataFrame:
    limits = torch.tensor(list(adapter.limits.values()))
    classes = len(adapter.classes)
    columns: list[str] = []
    values = np.empty((count, classes, 0))
    metas: list[Mapping[str, Scalar]] = []
    own: list[Mapping[str, float]] = []
    for event in events:
        part = slice(len(metas), len(metas) + len(event.batch))
        measured = _measure(event, adapter, limits)
        if not columns:
            # Allocated at once: keeping a small tensor of every batch would fragment the heap.
            columns = list(measured)
            values = np.empty((count, classes, len(columns)))
        values[part] = torch.stack([measured[name] for name in columns], dim=2).cpu().numpy()
        metas.extend(event.batch.meta)
        if adapter.measures_events:
            own.extend(_domain_rows(event, adapter))
    table = pd.DataFrame(metas).loc[np.repeat(np.arange(len(metas)), classes)].reset_index(drop=True)
    table.insert(1, "class", np.tile(adapter.classes, len(metas)))
    numbers = pd.DataFrame(values.reshape(-1, len(columns)), columns=columns)
    table = pd.concat([table, numbers, pd.DataFrame(own)], axis=1)
    return identified(table, unit=adapter.unit)


def check_same_classes(separator: Separator, adapter: Adapter) -> None:
    """Check that a separator has the classes of an adapter.

    Raises:
        ModelError: it has not.
    """
    if separator.classes != adapter.classes:
        raise ModelError(
            f"the separator has the classes {list(separator.classes)}, the data {list(adapter.classes)}: "
            "evaluate it on data of the same classes"
        )


def _domain_rows(event: EventBatch, adapter: Adapter) -> list[Mapping[str, float]]:
    rows: list[Mapping[str, float]] = []
    for sample, prediction in event.events():
        own = adapter.event_rows(prediction, sample)
        rows.extend(own.get(name, {}) for name in adapter.classes)
    return rows


def _measure(event: EventBatch, adapter: Adapter, limits: Tensor) -> dict[str, Tensor]:
    """Return the columns of every domain, (b, N) each."""
    batch, maps, quantities, visible, spread, _ = event
    valid = batch.valid.unsqueeze(1)
    true, predicted = (torch.where(valid, values, 0) for values in (batch.target, maps))
    mask_true, shared = _presence(true, limits)
    mask_predicted = present(predicted, limits)
    intensity, known = _total(true), _without_truth(predicted, limits)
    measured = dict.fromkeys(list(COLUMNS)[2:], intensity) | known  # in their order
    measured |= {
        "delta_percent": _ratio(known["intensity_predicted"] - intensity, intensity) * 100,
        "iou": _ratio(_total(mask_true & mask_predicted), _total(mask_true | mask_predicted)),
        "overlap_fraction": _ratio(_total(shared), _total(mask_true)),
        "overlap_intensity_true": _total(torch.where(shared, true, 0)),
        "overlap_intensity_predicted": _total(torch.where(shared, predicted, 0)),
    }
    if visible is not None:
        seen = _without_truth(torch.where(visible.unsqueeze(1), maps, 0), limits)
        measured |= {f"{VISIBLE}{name}": values for name, values in seen.items()}
    if spread is not None:
        measured[SPREAD] = spread.double()
    return measured | {name: values.double() for name, values in quantities.items()}


def measure_maps(maps: Tensor, valid: Tensor, adapter: Adapter) -> dict[str, Tensor]:
    """Return the columns of the event table that need no truth, (b, N) each.

    Args:
        maps: (b, N, B, *S) predicted maps in physical units.
        valid: (b, 1, *S) bool.
        adapter: the adapter of the domain.
    """
    limits = torch.tensor(list(adapter.limits.values()))
    return _without_truth(torch.where(valid.unsqueeze(1), maps, 0), limits)


def count_maps(maps: Tensor, valid: Tensor, adapter: Adapter) -> Tensor:
    """Return sums over valid pixels that add up over the parts of an image, (3, b, N) in float64.

    They are the intensity, the pixels in which a class is present, and those of them with another class too;
    `measured` makes columns of them.
    """
    limits = torch.tensor(list(adapter.limits.values()))
    return _counts(torch.where(valid.unsqueeze(1), maps, 0), limits)


def measured(counts: Tensor) -> dict[str, Tensor]:
    """Return the columns that `measure_maps` gives, of what `count_maps` has counted."""
    intensity, there, shared = counts
    return dict(zip(WITHOUT_TRUTH, (intensity, _ratio(shared, there)), strict=True))


def _without_truth(predicted: Tensor, limits: Tensor) -> dict[str, Tensor]:
    return measured(_counts(predicted, limits))


def _counts(predicted: Tensor, limits: Tensor) -> Tensor:
    there, shared = _presence(predicted, limits)
    return torch.stack([_total(predicted), _total(there), _total(shared)])


def _total(values: Tensor) -> Tensor:
    return values.flatten(2).sum(2).double()


def _presence(maps: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each class is present, and where it overlaps with another one, (b, N, B, *S) each."""
    there = present(maps, limits)
    return there, there & (there.sum(1, keepdim=True) > 1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with NaN where the denominator is 0."""
    return numerator / torch.where(denominator > 0, denominator, torch.nan)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write an event table as Parquet.

    Raises:
        DataError: the path cannot be written to.
    """
    with replace_when_whole(Path(path)) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read an event table.

    Raises:
        DataError: the file is missing or is not an event table.
    """
    return with_columns(read_columns(path, list(COLUMNS), "an event table"))


def read_columns(path: str | Path, columns: Sequence[str], what: str) -> pd.DataFrame:
    """Read a Parquet table with named columns: `id`, names (`class` and `outcome`), and numbers.

    Args:
        path: of the file.
        columns: that it must have.
        what: it is to be, for messages.

    Raises:
        DataError: the file is missing or is no such table.
    """
    check_file(path)
    with reading(path, "not a readable Parquet file", "run  oasis evaluate  again"):
        table = pd.read_parquet(path)
    missing = [name for name in columns if name not in table]
    if missing:
        raise DataError(f"{path}: not {what}, there is no column {missing[0]!r}")
    for name in NAMES:
        if name in columns and not pd.api.types.is_string_dtype(table[name]):
            raise DataError(f"{path}: {name}: expected names, found {table[name].dtype}")
    check_numeric(table, [name for name in columns if name not in ("id", *NAMES)], path)
    return table
