r"""The authors' files, read unchanged, and a reproduction of the reference evaluation.

The reference stores an event as images scaled by the logarithm of Eq. 4 of the paper, the truth with the same
scale :math:`s` but its own peak:

.. math:: y = \frac{\log_{10}(1 + I/s)}{y_\mathrm{max}}, \qquad
          t_c = \frac{\log_{10}(1 + I_c/s)}{t_\mathrm{max}}

Its evaluation inverts both with :math:`y_\mathrm{max}`, so that true intensities are too high if the two peaks
differ, and counts everything above 1 ADU as nuclear recoil, including noise. The protocol `"corrected"` avoids
both and is the one to train and evaluate on; `"reference"` reproduces them, for comparison with published figures.

Source of files and equations: OASIS, arXiv 2510.06194, and its public code.
"""

import math
import pickle
import re
import zipfile
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oasis.adapters.migdal.frames import nuclear_blob
from oasis.data.mixing import SampleDataset
from oasis.data.sample_files import write_samples
from oasis.data.samples import Batch, Sample, Scalar, collate
from oasis.errors import ConfigError, DataError, nearest
from oasis.io.pickles import read_dataframe
from oasis.loss.overlap import OverlapLoss
from oasis.progress import watched

ProtocolName = Literal["corrected", "reference"]
Maps = NDArray[np.float64]

CLASSES: Final = ("ER", "NR")
KINDS: Final = ("hybrid", "NR")
SHAPE: Final = (288, 512)
NOISE_CUT = 1.0  # ADU; values up to it are set to 0
ER_COLUMNS: Final = ("ER_col", "ER_row", "ER_intensity")
BOX_COLUMNS: Final = ("rowmin", "rowmax", "colmin", "colmax")
NOMINAL_WEIGHTS: Final[Mapping[str, Any]] = {
    "class_weights": {"ER": 5.0, "NR": 1.0},
    "region_weights": {"ER": 3.0, "NR": 1.0, "ER&NR": 6.0},
    "smoothness": 0.01,
}
BATCH: Final = 16
ENERGY_EDGES: Final = np.array([3.999, *range(5, 16)])  # keV; bins are closed on the right
NEAR_4_KEV: Final = (3.6, 4.4)  # energies whose mean true intensity is the threshold of a false positive
UNLOADABLE: Final = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, OSError, EOFError, RuntimeError),
    *(AttributeError, LookupError, TypeError, ValueError),
)


@dataclass(frozen=True)
class _Scale:
    """The scale of an event and its two peaks, fitted as in the reference."""

    s: float
    ymax10: float
    tmax: float

    @classmethod
    def fit(cls, image: Maps, target: Maps) -> Self:
        s = max(float(np.percentile(image, 99.0)), 1e-12)
        ymax10 = max(math.log10(1 + image.max() / s), 1e-12)
        return cls(s, ymax10, max(math.log10(1 + target.max() / max(s, 1e-6)), 1e-6))

    def image(self, scaled: NDArray[Any]) -> Maps:
        """Return the intensity of a scaled image, ADU."""
        return _invert(scaled, self.s, self.ymax10)

    def target(self, scaled: NDArray[Any]) -> Maps:
        """Return the intensity of scaled truth, ADU."""
        return _invert(scaled, max(self.s, 1e-6), self.tmax)

    def misread(self, target: Maps) -> Maps:
        """Return true intensities as in the reference evaluation: inverted with the peak of the image."""
        scaled = np.log1p(target / max(self.s, 1e-6)) / (math.log(10) * self.tmax)
        return self.image(scaled)


def _invert(scaled: NDArray[Any], s: float, peak: float) -> Maps:
    return np.asarray(s * np.expm1(math.log(10) * peak * scaled.astype(np.float64)))


@dataclass(frozen=True)
class _Event:
    """One event in ADU.

    Attributes:
        image: (H, W) the mixture.
        target: (2, H, W) electron and nuclear recoil, the latter with the noise of its frame.
        valid: (H, W) bool, the box.
        meta: its metadata.
        scale: the scale stored in the file; None if it is still to be fitted.
    """

    image: Maps
    target: Maps
    valid: NDArray[np.bool_]
    meta: Mapping[str, Scalar]
    scale: _Scale | None = None

    def corrected(self) -> Sample:
        target = self.target * np.stack([np.ones_like(self.valid), nuclear_blob(self.target[1])])
        return self._sample(target, self.meta)

    def reference(self) -> Sample:
        scale = self.scale or _Scale.fit(self.image, self.target)
        return self._sample(scale.misread(self.target), {**self.meta, **vars(scale), "protocol": "reference"})

    def _sample(self, target: Maps, meta: Mapping[str, Scalar]) -> Sample:
        return Sample(
            self.image[None].astype(np.float32), target[:, None].astype(np.float32), self.valid[None], meta
        )


class _ReferenceData(SampleDataset):
    """Events in the authors' files, as samples under one of the two protocols."""

    def __init__(self, protocol: ProtocolName, shape: tuple[int, int]) -> None:
        if protocol not in get_args(ProtocolName):
            raise ConfigError(f"protocol: unknown {protocol!r}; {nearest(protocol, get_args(ProtocolName))}")
        self.protocol = protocol
        self.shape = shape

    @abstractmethod
    def _event(self, index: int) -> _Event: ...

    def sample(self, index: int, epoch: int) -> Sample:
        """Read event `index`; it is the same in every epoch."""
        event = self._event(index)
        return event.corrected() if self.protocol == "corrected" else event.reference()


class ReferenceTensors(_ReferenceData):
    """The authors' tree of tensors, `root/{train,val,test}/{hybrid,NR}/N.pt`, in the order of N.

    Samples have the maps (ER, NR) in ADU, the box as `valid`, and `id` (`hybrid/12`), `kind`, `s`, `ymax10` and
    `tmax` in `meta`. The files contain no energies: for figures by energy read the data frames, `ReferenceFrames`.

    Args:
        root: the folder of the splits.
        split: `train`, `val` or `test`.
        kinds: the kinds of events, `hybrid` (electron and nuclear recoil) or `NR` (nuclear recoil alone).
        protocol: `corrected`, in which the truth is inverted with its own peak and the NR map is 0 outside the
            recoil, or `reference`, for `reference_evaluation`.
        shape: the shape of the images.

    Raises:
        DataError: the folder is missing or empty; on reading, a file is damaged, tries to run code, or does not
            contain an event.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        kinds: Sequence[str] = KINDS,
        protocol: ProtocolName = "corrected",
        shape: tuple[int, int] = SHAPE,
    ) -> None:
        super().__init__(protocol, shape)
        self.paths = [path for kind in kinds for path in _numbered(Path(root) / split / kind)]

    def __len__(self) -> int:
        return len(self.paths)

    def _event(self, index: int) -> _Event:
        path = self.paths[index]
        maps, scale = _read_tensors(path, self.shape)
        meta = {"id": f"{path.parent.name}/{path.stem}", "kind": path.parent.name, **vars(scale)}
        image, target = scale.image(maps["input"]), scale.target(maps["target"])
        return _Event(image, target, maps["valid"] > 0, meta, scale)


def _numbered(folder: Path) -> list[Path]:
    """Return the `.pt` files of a folder by the first number in their names."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected ROOT/SPLIT/KIND/N.pt, e.g. tensors/test/hybrid/0.pt")
    keys = []
    for path in folder.glob("*.pt"):
        number = re.search(r"\d+", path.stem)
        keys.append((float(number.group()) if number else math.inf, path.name))
    if not keys:
        raise DataError(f"{folder}: contains no .pt files")
    return [folder / name for _, name in sorted(keys)]


def _read_tensors(path: Path, shape: tuple[int, int]) -> tuple[dict[str, NDArray[Any]], _Scale]:
    record = _load(path)
    if isinstance(record, tuple | list) and len(record) == 6:  # the older layout
        names = ("input", "target", "s", "ymax10", "tmax", "valid")
        record = dict(zip(names, record, strict=True))
    if not isinstance(record, dict):
        raise DataError(f"{path}: contains a {type(record).__name__}, expected a dict of tensors or a tuple of 6")
    shapes = {"input": shape, "target": (2, *shape), "valid": shape}
    maps = {name: _tensor(path, record, name, expected) for name, expected in shapes.items()}
    return maps, _Scale(*(_number(path, record, name) for name in ("s", "ymax10", "tmax")))


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UNLOADABLE as error:
        unknown = re.search(r"GLOBAL ([\w.]+)", str(error))
        if unknown:
            raise DataError(
                f"{path}: refused the global {unknown.group(1)!r}: the file tries to run code or contains more "
                "than tensors; nothing was run"
            ) from None
        reason = str(error).split("\n")[0] or type(error).__name__
        raise DataError(f"{path}: damaged, or not a file of tensors ({reason})") from None


def _tensor(path: Path, record: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    value = record.get(name)
    if not isinstance(value, Tensor):
        raise DataError(f"{path}: {name!r} is {type(value).__name__}, expected a tensor of shape {shape}")
    array = value.float().numpy()
    if array.shape == (1, *shape):
        array = array[0]
    if array.shape != shape:
        raise DataError(f"{path}: {name!r} has shape {tuple(value.shape)}, expected {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{path}: {name!r} contains values that are not finite")
    return array


def _number(path: Path, record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if not isinstance(value, float | int) or not math.isfinite(value) or not value > 0:
        raise DataError(f"{path}: {name!r} is {value!r}, expected a number above 0")
    return float(value)


class ReferenceFrames(_ReferenceData):
    """The authors' data frames `hybrid.pkl` and `NR.pkl`, one event per row.

    A frame with the sparse electrons `ER_col`, `ER_row` and `ER_intensity` contains hybrid events, one without
    them only nuclear recoils. Samples have the maps (ER, NR) in ADU with values up to 1 ADU set to 0, the box as
    `valid`, and `id` (`hybrid/12`, the row), `kind`, `ER_energy` (keV, 0 without an electron) and `NR_energy`
    (keVee) in `meta`, NaN if the frame does not state it. They are created on request; the frame is not modified.

    Args:
        path: the pickle, read without running anything that it names.
        protocol: as for `ReferenceTensors`.
        shape: the shape of the images.

    Raises:
        DataError: the file is not a data frame, or lacks a column; on reading, a cell is invalid.
    """

    def __init__(
        self, path: str | Path, protocol: ProtocolName = "corrected", shape: tuple[int, int] = SHAPE
    ) -> None:
        super().__init__(protocol, shape)
        self.path = Path(path)
        frame = read_dataframe(self.path)
        self._length = len(frame)
        self._columns = {str(name): column.to_numpy() for name, column in frame.items()}
        found = [name for name in ER_COLUMNS if name in self._columns]
        if found and len(found) < len(ER_COLUMNS):
            missing = ", ".join(sorted(set(ER_COLUMNS) - set(found)))
            raise DataError(f"{path}: has {', '.join(found)} but not {missing}: an electron needs all three")
        self.kind = "hybrid" if found else "NR"
        self._image_column = self._first("NRim", "im")
        self._boxes = self._box_columns()
        if not self._length:
            raise DataError(f"{path}: contains no events")

    def __len__(self) -> int:
        return self._length

    def _first(self, *names: str) -> str:
        for name in names:
            if name in self._columns:
                return name
        raise DataError(f"{self.path}: has no column {' or '.join(names)}; found {', '.join(self._columns)}")

    def _box_columns(self) -> tuple[tuple[str, ...], ...]:
        """Return the columns that span the box along rows and along columns."""
        pixels = (("row",), ("col",))
        limits = (BOX_COLUMNS[:2], BOX_COLUMNS[2:])
        union = tuple(
            tuple(f"{name}_{side}{end}" for name, end in product(CLASSES, ("min", "max")))
            for side in ("row", "col")
        )
        order = (pixels, limits, union) if self.kind == "hybrid" else (limits, pixels, union)
        for columns in order:
            if all(name in self._columns for side in columns for name in side):
                return columns
        raise DataError(
            f"{self.path}: has no box: expected the columns row and col, or {', '.join(BOX_COLUMNS)}, "
            "or these with ER_ and NR_ before them"
        )

    def _event(self, index: int) -> _Event:
        recoil = _above_noise(self._image(index))
        electron = _above_noise(self._electron(index)) if self.kind == "hybrid" else np.zeros_like(recoil)
        meta: dict[str, Scalar] = {
            "id": f"{self.kind}/{index}",
            "kind": self.kind,
            "ER_energy": self._energy(index, "ER_truth_energy") if self.kind == "hybrid" else 0.0,
            "NR_energy": self._energy(index, "NR_camera_energy"),
        }
        return _Event(recoil + electron, np.stack([electron, recoil]), self._valid(index), meta)

    def _image(self, index: int) -> NDArray[Any]:
        image = self._finite(index, self._image_column)
        if image.shape != self.shape:
            raise self._misfit(index, self._image_column, f"shape {image.shape}", f"{self.shape}")
        return image

    def _electron(self, index: int) -> NDArray[Any]:
        col, row, intensity = (self._finite(index, name) for name in ER_COLUMNS)
        if not col.shape == row.shape == intensity.shape or col.ndim != 1:
            shapes = f"shapes {col.shape}, {row.shape}, {intensity.shape}"
            raise self._misfit(index, ", ".join(ER_COLUMNS), shapes, "three of one length")
        height, width = self.shape
        field = ((0, width), (0, height))
        image: NDArray[Any] = np.histogram2d(col, row, (width, height), field, weights=intensity)[0].T
        return image.astype(np.float32)

    def _valid(self, index: int) -> NDArray[np.bool_]:
        valid = np.zeros(self.shape, bool)
        spans = []
        for columns in self._boxes:
            ends = np.concatenate([np.atleast_1d(self._finite(index, name)) for name in columns])
            if not ends.size:
                raise self._misfit(index, columns[0], "nothing", "the pixels that span the box")
            spans.append(slice(max(math.floor(ends.min()), 0), max(math.floor(ends.max()) + 1, 0)))
        valid[spans[0], spans[1]] = True
        if not valid.any():
            names = ", ".join(name for columns in self._boxes for name in columns)
            raise self._misfit(index, names, "a box outside the image", f"one within {self.shape}")
        return valid

    def _energy(self, index: int, name: str) -> float:
        if name not in self._columns:
            return math.nan
        value = self._cell(index, name)
        if value.size != 1:
            raise self._misfit(index, name, f"{value.size} numbers", "one")
        return float(value.item())

    def _cell(self, index: int, name: str) -> NDArray[Any]:
        try:
            values = np.asarray(self._columns[name][index])
        except ValueError:
            raise self._misfit(index, name, "a ragged list", "numbers") from None
        values = values if values.size else values.astype(np.float64)
        if values.dtype.kind not in "uif":
            raise self._misfit(index, name, type(self._columns[name][index]).__name__, "numbers")
        return values

    def _finite(self, index: int, name: str) -> NDArray[Any]:
        values = self._cell(index, name)
        if not np.isfinite(values).all():
            raise self._misfit(index, name, "numbers that are not finite", "finite ones")
        return values

    def _misfit(self, index: int, name: str, found: str, expected: str) -> DataError:
        return DataError(f"{self.path}: row {index}, column {name}: found {found}, expected {expected}")


def _above_noise(image: NDArray[Any]) -> Maps:
    return np.where(image > NOISE_CUT, image, 0).astype(np.float64)


class Samples(Sized, Protocol):
    """Anything that returns samples by index: a data set, several joined ones, or a list."""

    def __getitem__(self, index: int, /) -> Sample: ...


@torch.no_grad()
def reference_evaluation(model: nn.Module, dataset: Samples) -> dict[str, Any]:
    r"""Reproduce the reference evaluation: its loss, intensity errors and false positives.

    The loss is the mean over batches of 16 events of one kind in the order of the data, with sums pooled over each
    batch. Prediction and truth are inverted with the peak of the image, masked by the box and summed:

    .. math:: \Delta I = 100\,\% \times (I_\mathrm{pred} - I_\mathrm{truth}) / I_\mathrm{truth}

    Args:
        model: maps scaled images (b, 1, H, W) to scaled maps (b, 2, H, W) of (ER, NR), including the softplus.
        dataset: events under the protocol `reference`; several sources as a `torch.utils.data.ConcatDataset`.

    Returns:
        - `loss`: by kind, the `loss` with the nominal weights and its parts `reg` and `tv`.
        - `events`: a data frame with `id`, `kind`, `ER_energy` and, for each class, `pred` and `truth` (ADU) and
          `error` (%).
        - `bias`: the median ER error of hybrid events, %.
        - `edges`: (12,) keV, of bins closed on the right; `lower`, `median`, `upper`: (11,) quartiles of the ER
          error by energy, %.
        - `threshold`: the mean true ER intensity around 4 keV, ADU.
        - `false_positive_rate`: the fraction of NR-only events with more ER intensity than that.

        Results that need missing data (energies, a kind of event) are NaN.

    Raises:
        DataError: samples were not read under the protocol `reference`.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    training = model.training
    model.eval()
    criterion = OverlapLoss(CLASSES, **NOMINAL_WEIGHTS).to(device)
    losses: dict[str, list[dict[str, float]]] = defaultdict(list)
    tables = []
    for batch in _batches_by_kind(dataset):
        terms, table = _evaluate(model, criterion, batch.to(device))
        losses[str(batch.meta[0]["kind"])].append(terms)
        tables.append(table)
    model.train(training)
    events = pd.concat(tables, ignore_index=True)
    means = {kind: pd.DataFrame(terms).mean().to_dict() for kind, terms in losses.items()}
    return {"loss": means, "events": events, **_figures(events)}


def _batches_by_kind(dataset: Samples) -> Iterator[Batch]:
    if not len(dataset):
        raise DataError("there are no samples to evaluate")
    waiting: dict[Scalar, list[Sample]] = defaultdict(list)
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.meta.get("protocol") != "reference":
            raise DataError(f"sample {index} was not read under the protocol 'reference': set it in the data set")
        group = waiting[sample.meta["kind"]]
        group.append(sample)
        if len(group) == BATCH:
            yield collate(group)
            group.clear()
    yield from (collate(group) for group in waiting.values() if group)


def _evaluate(model: nn.Module, criterion: OverlapLoss, batch: Batch) -> tuple[dict[str, float], pd.DataFrame]:
    """Return the loss terms of a batch, and a row of summed intensities for each event."""
    s, peak = (
        batch.image.new_tensor([meta[name] for meta in batch.meta])[:, None, None, None]
        for name in ("s", "ymax10")
    )
    target = batch.target[:, :, 0]
    image, truth = (torch.log1p(maps / s) / (math.log(10) * peak) for maps in (batch.image, target))
    prediction = model(image)
    terms = criterion.terms(prediction, truth, batch.valid)
    predicted = s * (torch.pow(10.0, prediction * peak) - 1)
    sums = [(maps * batch.valid).double().sum((-2, -1)).cpu().numpy() for maps in (predicted, target)]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {"pred": sums[0], "truth": sums[1], "error": 100 * (sums[0] - sums[1]) / sums[1]}
    table = pd.DataFrame({name: [meta[name] for meta in batch.meta] for name in ("id", "kind")})
    table["ER_energy"] = [meta.get("ER_energy", math.nan) for meta in batch.meta]
    for name, values in columns.items():
        table[[f"{label}_{name}" for label in CLASSES]] = values
    parts = {"loss": "total", "reg": "regression", "tv": "smoothness"}
    return {name: float(terms[part]) for name, part in parts.items()}, table


def _figures(events: pd.DataFrame) -> dict[str, Any]:
    energy = events["ER_energy"].to_numpy().round(4)  # so that 3.6 in float32 is 3.6
    hybrid = events["kind"].to_numpy() == "hybrid"
    error, truth = events["ER_error"].to_numpy(), events["ER_truth"].to_numpy()
    low, high = NEAR_4_KEV
    near = hybrid & (energy >= low) & (energy <= high)
    threshold = truth[near].mean() if near.any() else math.nan
    counted = hybrid & (energy >= 4) & (truth > 0)
    quartiles = np.full((3, len(ENERGY_EDGES) - 1), math.nan)
    for place, (first, last) in enumerate(pairwise(ENERGY_EDGES)):
        within = error[counted & (energy > first) & (energy <= last)]  # the authors' bins are open below
        if within.size:
            quartiles[:, place] = np.quantile(within, (0.25, 0.5, 0.75))
    alone = events["ER_pred"].to_numpy()[~hybrid]
    known = alone.size and not math.isnan(threshold)
    return {
        "bias": float(events["ER_error"][hybrid].median()),
        "edges": ENERGY_EDGES,
        **dict(zip(("lower", "median", "upper"), quartiles, strict=True)),
        "threshold": float(threshold),
        "false_positive_rate": float((alone > threshold).mean()) if known else math.nan,
    }


def convert(source: str | Path, out_path: str | Path) -> int:
    """Write the authors' events to a file of samples, under the protocol `corrected`, and return their number.

    Args:
        source: a data frame (`hybrid.pkl`, `NR.pkl`), or the folder of one split in the tree of tensors,
            containing `hybrid`, `NR` or both.
        out_path: the HDF5 file.

    Raises:
        DataError: the source is neither, or contains something else.
    """
    source = Path(source)
    data: _ReferenceData
    if source.is_dir():
        kinds = [kind for kind in KINDS if (source / kind).is_dir()]
        if not kinds:
            raise DataError(f"{source}: contains no folder hybrid or NR: name one split, e.g. tensors/test")
        data = ReferenceTensors(source.parent, source.name, kinds)
    else:
        data = ReferenceFrames(source)
    samples = (data[index] for index in watched(range(len(data)), "convert", len(data), "events"))
    return write_samples(
        out_path, samples, CLASSES, unit="ADU", attributes={"source": source.name, "protocol": data.protocol}
    )
