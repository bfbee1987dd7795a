"""Instance tables: a row for every single object that is true or predicted, with what it was matched with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.data.instances import Instances, edge_names
from oasis.instances.matching import MATCH, Counts, Pairs, matches

COLUMNS: Final[Mapping[str, str]] = {
    "class": "which class",
    "outcome": "`matched`, `missed` (a true instance without a predicted one) or `false`",
    "iou": "intersection over union of the matched pair; NaN without a match",
    "intensity_true": "summed over the instance and all bands",
    "intensity_predicted": "the same of the predicted instance",
    "pixels_true": "pixels above the threshold of the class, every band counted",
    "pixels_predicted": "the same of the predicted instance",
    "shared_true": "share of these pixels that other true instances have too",
    "shared_predicted": "the same among predicted instances",
}
PREDICTED: Final = ("class", "intensity_predicted", "pixels_predicted", "shared_predicted")
POSITION: Final = "position_{}"  # along each spatial axis, in pixels


def instance_table(
    predicted: Sequence[Instances], true: Sequence[Instances], classes: Sequence[str], threshold: float = MATCH
) -> pd.DataFrame:
    """Match the instances of some images and return a row for each.

    Args:
        predicted: of every image.
        true: of every image.
        classes: the N class names.
        threshold: the IoU that a match has to exceed.

    Returns:
        `image` (its number), `COLUMNS`, the position of the true instance or else of the predicted one, and the
        truth quantities under names that end in `_true`; first all true instances in their order.

    Example:
        >>> true = Instances.pack((1, 8), [0, 0], [[0, 1, 2], [6]], [[1, 2, 1], [5]])
        >>> found = Instances.pack((1, 8), [0, 0], [[1, 2], [4]], [[2, 1], [1]])
        >>> instance_table([found], [true], ["a"])[["outcome", "iou", "intensity_true", "position_0"]].round(2)
           outcome   iou  intensity_true  position_0
        0  matched  0.67             4.0         1.0
        1   missed   NaN             5.0         6.0
        2    false   NaN             NaN         4.0
    """
    found, truth = Instances.stack(predicted), Instances.stack(true)
    best, _ = matches(found, truth, threshold)
    alone = np.setdiff1d(np.arange(len(found)), best.predicted)
    partner = np.full(len(truth), -1)
    partner[best.true] = best.predicted
    rows = {"true": _rows(np.arange(len(truth)), alone), "predicted": np.concatenate([partner, alone])}
    images, labels = (
        np.concatenate([of_true, of_found[alone]])
        for of_true, of_found in (
            (_images(true), _images(predicted)),
            (np.asarray(truth.labels), np.asarray(found.labels)),
        )
    )
    columns: dict[str, Any] = {"image": images, "class": np.asarray(classes, object)[labels]}
    columns["outcome"] = np.where(rows["true"] < 0, "false", np.where(rows["predicted"] < 0, "missed", "matched"))
    columns["iou"] = _of_rows(_iou(best, len(truth)), rows["true"])
    for name in ("intensity", "pixels", "shared"):
        for kind, record in (("true", truth), ("predicted", found)):
            columns[f"{name}_{kind}"] = _of_rows(_MEASURES[name](record), rows[kind])
    for axis, (first, other) in enumerate(zip(truth.positions.T, found.positions.T, strict=True)):
        here, there = _of_rows(first, rows["true"]), _of_rows(other, rows["predicted"])
        columns[POSITION.format(axis)] = np.where(rows["true"] < 0, there, here)
    columns |= {f"{name}_true": _of_rows(column, rows["true"]) for name, column in truth.table.items()}
    return pd.DataFrame(columns)


def counts_of(table: pd.DataFrame, classes: Sequence[str], images: int) -> list[Counts]:
    """Return the counts of each of some images, of the rows of `instance_table`: those that `count` gives."""
    size = images * len(classes)
    place = table["image"].to_numpy(int) * len(classes) + pd.Index(classes).get_indexer(pd.Index(table["class"]))
    outcomes = table["outcome"].to_numpy()
    iou = np.bincount(place, table["iou"].fillna(0), size).astype(np.float64).reshape(images, -1)
    matched, false, missed = (
        np.bincount(place[outcomes == outcome], minlength=size).reshape(images, -1)
        for outcome in ("matched", "false", "missed")
    )
    return [Counts(iou[i], matched[i], false[i], missed[i]) for i in range(images)]


def predicted_table(predicted: Sequence[Instances], classes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each instance that was found in some images: `image`, `PREDICTED`, position and box."""
    found = Instances.stack(predicted)
    columns: dict[str, Any] = {
        "image": _images(predicted),
        "class": np.asarray(classes, object)[np.asarray(found.labels)],
        **{f"{name}_predicted": measure(found) for name, measure in _MEASURES.items()},
        **{POSITION.format(axis): place for axis, place in enumerate(found.positions.T)},
        **dict(
            zip(
                edge_names(len(found.shape) - 1),
                found.boxes.reshape(len(found), 2 * len(found.shape) - 2).T,
                strict=True,
            )
        ),
    }
    return pd.DataFrame(columns)


def _intensity(record: Instances) -> NDArray[np.float64]:
    return np.bincount(record.owners, record.values, len(record)).astype(np.float64)


_MEASURES: Final[Mapping[str, Callable[[Instances], NDArray[Any]]]] = {
    "intensity": _intensity,
    "pixels": lambda record: record.sizes,
    "shared": lambda record: record.shared,
}


def _images(records: Sequence[Instances]) -> NDArray[np.int64]:
    """Return the number of the image of every instance."""
    return np.repeat(np.arange(len(records)), [len(record) for record in records])


def _rows(first: NDArray[Any], others: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([first, np.full(len(others), -1)])


def _of_rows(column: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of a column in rows by their number, NaN for -1."""
    return np.append(np.asarray(column, np.float64), np.nan)[rows]


def _iou(best: Pairs, count: int) -> NDArray[np.float64]:
    iou = np.full(count, np.nan)
    iou[best.true] = best.iou
    return iou
