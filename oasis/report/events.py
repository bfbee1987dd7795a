"""Events of a report: pictures of the worst, typical and best ones, with their metrics."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from oasis.adapters.base import Adapter
from oasis.adapters.study import Study
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import DataError
from oasis.evaluation.gallery import chosen_events, predicted_maps
from oasis.evaluation.outlines import objects_of
from oasis.evaluation.pictures import EventPictures, event_pictures
from oasis.report.evaluated import EvaluatedRun, close
from oasis.report.words import number, text

PIXELS = 7_500_000  # total pixels of all pictures of events, at most a byte each before encoding as text
SIDE = (32, 160)  # minimum and maximum pixels along the longest side of a picture


class ClassCaptions(NamedTuple):
    """The captions of the pictures of one class."""

    name: str
    truth: str
    predictions: Sequence[str]
    residuals: Sequence[str]


class Event(NamedTuple):
    """An event of the gallery.

    Attributes:
        id: identifier of the sample.
        group: `worst`, `typical`, `best` or without the class.
        meta: its metadata, by name.
        order: quantities by which events are sorted, NaN if unknown.
        pictures: the pictures of it and its predictions.
        captions: the captions of the truth by class, and of prediction and residual by class and run.
    """

    id: str
    group: str
    meta: Mapping[str, str]
    order: Mapping[str, float]
    pictures: EventPictures
    captions: Sequence[ClassCaptions]


def events(runs: Sequence[EvaluatedRun], most: int) -> Iterator[Event]:
    """Yield the events to show, at most `most`."""
    adapter = runs[0].run.adapter
    chosen = chosen_events(runs[0].table, adapter.study, most)
    count = len(adapter.classes)
    panels = 1 + count * (1 + 2 * len(runs))
    side = int(np.clip((PIXELS / (panels * max(len(chosen), 1))) ** 0.5, *SIDE))
    dataset = runs[0].run.dataset("test")
    for index, group in chosen.items():
        rows = {each.name: each.table.iloc[index * count : (index + 1) * count] for each in runs}
        sample = _measured(runs[0], dataset, index, rows[runs[0].name])
        predictions = [predicted_maps(each.separator, sample, each.run.adapter) for each in runs]
        objects = [
            objects_of(sample, maps, each.run.adapter, each.run.config.grouping)
            if each.run.config.grouping
            else None
            for each, maps in zip(runs, predictions, strict=True)
        ]
        yield Event(
            id=str(sample.meta["id"]),
            group=group,
            meta={name: _value(value) for name, value in sample.meta.items() if name != "id" and value == value},
            order=_order(rows, adapter.study),
            pictures=event_pictures(sample, predictions, side, objects),
            captions=[_captions(rows, label, adapter) for label in range(count)],
        )


def _measured(each: EvaluatedRun, dataset: SampleDataset, index: int, rows: pd.DataFrame) -> Sample:
    """Return a sample, after a check that it is the one in the event table."""
    if index < len(dataset):
        sample = dataset[index]
        true = np.where(sample.valid, sample.target, 0).reshape(len(rows), -1).sum(axis=1, dtype=np.float64)
        if str(sample.meta["id"]) == str(rows["id"].iloc[0]) and close(true, rows["intensity_true"]):
            return sample
    raise DataError(
        f"{each.run.files.events()}: event {rows['id'].iloc[0]} is not the one that the run's configuration "
        f"gives: run  oasis evaluate {shlex.quote(str(each.run.folder))}  again"
    )


def _value(value: Any) -> str:
    return number(float(value)) if isinstance(value, float | np.floating) else str(value)


def _order(rows: Mapping[str, pd.DataFrame], study: Study | None) -> dict[str, float]:
    """Return the quantities for sorting an event: those of the study's class, or of the worst class."""
    of = {name: part if study is None else study.rows(part) for name, part in rows.items()}
    first = next(iter(of.values()))
    error = {name: part["delta_percent"].abs().max() for name, part in of.items()}
    order = {} if study is None else {study.label: first[study.quantity].iloc[0]}
    order["overlap"] = first["overlap_fraction"].max()
    for name, part in of.items():
        suffix = f", {name}" if len(of) > 1 else ""
        order |= {f"|ΔI|{suffix}": error[name], f"IoU{suffix}": part["iou"].min()}
    start, *others = error
    return order | {f"|ΔI| of {name} − that of {start}": error[name] - error[start] for name in others}


def _captions(rows: Mapping[str, pd.DataFrame], label: int, adapter: Adapter) -> ClassCaptions:
    of = {name: part.iloc[label] for name, part in rows.items()}
    true = next(iter(of.values()))["intensity_true"]
    return ClassCaptions(
        adapter.classes[label],
        f"truth: {number(true)}",
        [
            f"{name if len(of) > 1 else 'predicted'}: {number(row['intensity_predicted'])}"
            for name, row in of.items()
        ],
        [
            f"ΔI\u00a0{text(row['delta_percent'], '+.1f')}\u00a0%, IoU\u00a0{text(row['iou'], '.2f')}"
            for row in of.values()
        ],
    )
