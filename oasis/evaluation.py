"""Evaluation: the event table, and the statistics that every figure and number is made of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.adapters.base import Adapter, Study
from oasis.data.loading import EpochSampler, make_loader
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Batch
from oasis.data.storage import replace_when_whole
from oasis.errors import DataError, ModelError
from oasis.matching import align
from oasis.precision import autocast
from oasis.regions import per_class
from oasis.separator import Separator

Floats = NDArray[np.float64]

COLUMNS = {
    "id": "which sample",
    "class": "which class",
    "intensity_true": "sum of the true map over valid pixels",
    "intensity_predicted": "sum of the predicted map over valid pixels",
    "delta_percent": "(predicted - true) / true x 100 (Eq. 7 of the paper); NaN without true intensity",
    "iou": "intersection over union of true and predicted mask (Eq. 8); NaN where both are empty",
    "overlap_fraction": "share of the class's pixels in which another class is present too",
    "overlap_fraction_predicted": "the same of the predicted maps, present from `iou_threshold` on at least",
    "overlap_intensity_true": "sum of the true map over those pixels",
    "overlap_intensity_predicted": "sum of the predicted map over those pixels",
}


class EventBatch(NamedTuple):
    """Samples of a batch with their predicted maps (b, N, B, *S) in physical units."""

    batch: Batch
    maps: Tensor


def predictions(
    separator: Separator,
    dataset: SampleDataset,
    batch_size: int = 32,
    workers: int = 1,
    interchangeable: Sequence[Sequence[str]] = (),
) -> Iterator[EventBatch]:
    """Run a separator over a data set and give batches with their maps, every sample once and in order.

    The maps of interchangeable classes come in the order that fits the truth best.
    """
    separator.eval()
    sampler = EpochSampler(len(dataset), shuffle=False)
    for batch in make_loader(dataset, sampler, batch_size, workers):
        yield predict_batch(separator, batch, interchangeable)


def predict_batch(separator: Separator, batch: Batch, interchangeable: Sequence[Sequence[str]] = ()) -> EventBatch:
    """Run a separator over one batch; see `predictions`."""
    device = next(separator.parameters()).device
    groups = [[separator.classes.index(name) for name in group] for group in interchangeable]
    with torch.inference_mode(), autocast(device):
        batch = batch.to(device)
        maps = separator.maps(batch.image, batch.valid, batch.context)
        weights = batch.valid.expand_as(batch.image).to(maps.dtype)
        return EventBatch(batch, align(maps, batch.target, groups, weights))


def evaluate(
    separator: Separator,
    dataset: SampleDataset,
    adapter: Adapter,
    thresholds: Mapping[str, float] | float = 0.0,
    batch_size: int = 32,
    workers: int = 1,
) -> pd.DataFrame:
    """Return the event table: one row per sample and class, with the columns `COLUMNS` and the sample's meta.

    Args:
        separator: to be evaluated.
        dataset: samples with truth.
        adapter: adds the domain's own columns.
        thresholds: above which a class is present, for the overlap columns.
        batch_size: samples per forward pass.
        workers: processes that prepare samples.

    Raises:
        ModelError: the separator's classes are not the adapter's.
    """
    check_same_classes(separator, adapter)
    limits = per_class(separator.classes, thresholds, 0.0, "thresholds")
    events = predictions(separator, dataset, batch_size, workers, adapter.interchangeable)
    parts = [_rows(event, adapter, limits) for event in events]
    table = pd.concat(parts, ignore_index=True)
    table.attrs.update(unit=adapter.unit, classes=list(adapter.classes), **separator.options.identity)
    return table


def check_same_classes(separator: Separator, adapter: Adapter) -> None:
    """Check that a separator was trained for an adapter's classes.

    Raises:
        ModelError: it was not.
    """
    if separator.classes != adapter.classes:
        raise ModelError(
            f"the separator knows the classes {list(separator.classes)}, the data {list(adapter.classes)}: "
            "evaluate it on data of its own classes"
        )


def _rows(event: EventBatch, adapter: Adapter, limits: Tensor) -> pd.DataFrame:
    batch = event.batch
    columns = {name: value.cpu().double().numpy() for name, value in _measure(event, adapter, limits).items()}
    count, classes = columns["intensity_true"].shape
    table = pd.DataFrame(list(batch.meta)).loc[np.repeat(np.arange(count), classes)].reset_index(drop=True)
    table.insert(1, "class", np.tile(adapter.classes, count))
    table = pd.concat([table, pd.DataFrame({name: value.ravel() for name, value in columns.items()})], axis=1)
    if type(adapter).event_rows is Adapter.event_rows:
        return table
    return table.join(pd.DataFrame(_domain_rows(event, adapter)))


def _domain_rows(event: EventBatch, adapter: Adapter) -> list[Mapping[str, float]]:
    rows: list[Mapping[str, float]] = []
    for sample, maps in zip(event.batch.samples(), event.maps.cpu().numpy(), strict=True):
        extra = adapter.event_rows(maps, sample)
        rows.extend(extra.get(name, {}) for name in adapter.classes)
    return rows


def _measure(event: EventBatch, adapter: Adapter, limits: Tensor) -> dict[str, Tensor]:
    """Return the columns that every domain has, (b, N) each."""
    batch, maps = event
    valid = batch.valid.unsqueeze(1)
    true = torch.where(valid, batch.target, 0)
    predicted = torch.where(valid, maps, 0)
    present, shared = _presence(true, limits)
    present_predicted, shared_predicted = _presence(predicted, limits.clamp_min(adapter.iou_threshold))
    mask_true, mask_predicted = (_mask(values, adapter.iou_threshold) for values in (true, predicted))

    def total(values: Tensor) -> Tensor:
        return values.flatten(2).sum(2, dtype=torch.float64)

    intensity_true, intensity_predicted = total(true), total(predicted)
    return {
        "intensity_true": intensity_true,
        "intensity_predicted": intensity_predicted,
        "delta_percent": _ratio(intensity_predicted - intensity_true, intensity_true) * 100,
        "iou": _ratio(total(mask_true & mask_predicted), total(mask_true | mask_predicted)),
        "overlap_fraction": _ratio(total(shared), total(present)),
        "overlap_fraction_predicted": _ratio(total(shared_predicted), total(present_predicted)),
        "overlap_intensity_true": total(torch.where(shared, true, 0)),
        "overlap_intensity_predicted": total(torch.where(shared, predicted, 0)),
    }


def _presence(maps: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each class is present, and where another one is too, (b, N, B, *S) each."""
    present = maps > limits.to(maps.device).view(1, -1, *[1] * (maps.ndim - 2))
    return present, present & (present.sum(1, keepdim=True) > 1)


def _mask(values: Tensor, threshold: float) -> Tensor:
    return values >= threshold if threshold > 0 else values > 0


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with NaN where the denominator is 0."""
    return numerator / torch.where(denominator > 0, denominator, torch.nan)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write an event table as Parquet; the unit and the run's identity go with it.

    Raises:
        DataError: the place cannot be written to.
    """
    with replace_when_whole(Path(path)) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read an event table.

    Raises:
        DataError: the file is missing or is not one.
    """
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file: run  oasis evaluate  first") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from None
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise DataError(f"{path}: not an event table, there is no column {missing[0]!r}")
    return table


class Estimate(NamedTuple):
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def bootstrap(
    values: Floats, statistic: Callable[[Floats], Floats], resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return a statistic with the percentile interval over resampled events.

    Args:
        values: (n,) one value per event.
        statistic: maps (resamples, n) to (resamples,).
        resamples: how many.
        seed: of the resampling.

    Example:
        >>> bootstrap(np.arange(100.0), lambda x: np.median(x, axis=-1)).value
        49.5
    """
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    drawn = statistic(values[rng.integers(len(values), size=(resamples, len(values)))])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(statistic(values[None])[0]), float(low), float(high))


def _median(values: Floats) -> Floats:
    return np.asarray(np.median(values, axis=-1))


def _spread(values: Floats) -> Floats:
    low, high = np.quantile(values, [0.25, 0.75], axis=-1)
    return np.asarray(high - low)


def binned(table: pd.DataFrame, quantity: str, edges: Sequence[float]) -> pd.DataFrame:
    """Return bias, spread and IoU in bins of a quantity, each with its 95 % bootstrap interval.

    Bias is the median of `delta_percent`, spread its 25th to 75th percentile range (the paper's definitions).

    Args:
        table: the rows of one class.
        quantity: the column to bin by.
        edges: of the bins, which are closed below and open above.

    Returns:
        One row per bin: `low`, `high`, `events`, the quartiles `quarter` and `three_quarters` of `delta_percent`,
        then `bias`, `spread` and `iou`, each also with `_low` and `_high`.
    """
    rows = []
    for low, high in pairwise(edges):
        events = table[(table[quantity] >= low) & (table[quantity] < high)]
        delta = events["delta_percent"].dropna().to_numpy(dtype=float)
        iou = events["iou"].dropna().to_numpy(dtype=float)
        estimates = {
            "bias": bootstrap(delta, _median),
            "spread": bootstrap(delta, _spread),
            "iou": bootstrap(iou, _median),
        }
        row: dict[str, float] = {"low": low, "high": high, "events": len(events)}
        quarters = np.quantile(delta, [0.25, 0.75]) if len(delta) else (np.nan, np.nan)
        row |= {"quarter": quarters[0], "three_quarters": quarters[1]}
        for name, estimate in estimates.items():
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows)


def roc(signal: Floats, background: Floats) -> tuple[Floats, Floats]:
    """Return false and true positive rates for every threshold on a score.

    Example:
        >>> roc(np.array([2.0, 3.0]), np.array([1.0, 2.5]))
        (array([0. , 0. , 0.5, 0.5, 1. ]), array([0. , 0.5, 0.5, 1. , 1. ]))
    """
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([signal, background]))[::-1]])
    false = 1 - np.searchsorted(np.sort(background), thresholds, side="left") / len(background)
    true = 1 - np.searchsorted(np.sort(signal), thresholds, side="left") / len(signal)
    return false, true


def auc(signal: Floats, background: Floats, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the area under the ROC curve: how often a signal event outscores a background one, ties half.

    The interval resamples signal and background events apart.

    Example:
        >>> auc(np.array([2.0, 3.0]), np.array([1.0, 2.5])).value
        0.75
    """
    if not len(signal) or not len(background):
        return Estimate(np.nan, np.nan, np.nan)
    scores, place = np.unique(np.concatenate([signal, background]), return_inverse=True)
    of_signal, of_background = place[: len(signal)], place[len(signal) :]

    def area(signal_counts: NDArray[Any], background_counts: NDArray[Any]) -> float:
        ahead = np.bincount(of_signal, signal_counts, len(scores))
        behind = np.bincount(of_background, background_counts, len(scores))
        below = np.cumsum(behind) - behind / 2
        return float(ahead @ below / (ahead.sum() * behind.sum()))

    rng = np.random.default_rng(seed)
    even = [np.full(count, 1 / count) for count in (len(signal), len(background))]
    drawn = [
        area(rng.multinomial(len(signal), even[0]), rng.multinomial(len(background), even[1]))
        for _ in range(resamples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(area(np.ones(len(signal)), np.ones(len(background))), float(low), float(high))


class Summary(NamedTuple):
    """The answer to a domain's study.

    Attributes:
        study: the question.
        bins: bias, spread and IoU in bins, from `binned`.
        auc: of telling signal from background events by predicted intensity, or None.
        false_intensity: median predicted intensity of the class in background events, or None.
    """

    study: Study
    bins: pd.DataFrame
    auc: Estimate | None
    false_intensity: Estimate | None

    def text(self, unit: str = "") -> str:
        """Return the summary as a table for a terminal."""
        lines = [
            f"{self.study.name} against {self.study.label}, median with 95 % bootstrap interval",
            f"{'bin':>9} {'events':>7} {'bias %':>24} {'25-75 % spread':>24} {'IoU':>20}",
        ]
        for row in self.bins.itertuples():
            cells = [
                format(Estimate(*(getattr(row, name + end) for end in ("", "_low", "_high"))), spec)
                for name, spec in (("bias", "+.1f"), ("spread", ".1f"), ("iou", ".2f"))
            ]
            name = f"{row.low:g}-{row.high:g}"
            lines.append(f"{name:>9} {row.events:>7} {cells[0]:>24} {cells[1]:>24} {cells[2]:>20}")
        if self.auc is not None:
            lines.append(f"ROC AUC ({self.study.signal} against {self.study.background}): {self.auc:.3f}")
        if self.false_intensity is not None:
            lines.append(f"median {self.study.name} in background events: {self.false_intensity:.0f} {unit}")
        return "\n".join(lines)


def detection_scores(table: pd.DataFrame, study: Study) -> tuple[Floats, Floats] | None:
    """Return the predicted intensities of signal and of background events, or None without such a question."""
    if study.signal is None or study.background is None:
        return None
    rows = table[table["class"] == study.name]
    signal, background = (
        rows.query(query)["intensity_predicted"].to_numpy(dtype=float)
        for query in (study.signal, study.background)
    )
    return signal, background


def summarise(table: pd.DataFrame, study: Study) -> Summary:
    """Answer a domain's study from its event table."""
    rows = table[table["class"] == study.name]
    bins = binned(rows, study.quantity, study.edges)
    scores = detection_scores(table, study)
    if scores is None:
        return Summary(study, bins, None, None)
    return Summary(study, bins, auc(*scores), bootstrap(scores[1], _median))
