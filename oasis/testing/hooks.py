"""Checks of the hooks of a domain: study, figures, rows, and the reading of measured images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from oasis.adapters.prediction import EventPrediction
from oasis.config.parts import new_separator
from oasis.data.images import Images
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import OasisError
from oasis.evaluation.event_table import evaluate
from oasis.testing.case import Case, ContractError, config_of

SCALARS = (bool, int, float, str, np.bool_, np.integer, np.floating)


class Samples(SampleDataset):
    """A data set of given samples."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return sample `index`."""
        return self.samples[index]


def table(case: Case) -> None:
    """Check study, figures and rows on the event table of a small, untrained separator."""
    adapter, samples = case.adapter, case.samples["test"]
    config = config_of(adapter)
    small = {"base_channels": 4} if config.model.get("name") == "unet" else {}
    with torch.random.fork_rng(devices=[]):
        separator = new_separator(config.model_copy(update={"model": {**config.model, **small}}), adapter)
    table = evaluate(separator, Samples(samples), adapter, batch_size=len(samples), workers=0)
    if adapter.study is not None:
        adapter.study.check(adapter.classes, table)
    for name, figure in adapter.figures(table).items():
        case.require(hasattr(figure, "savefig"), f"figures: {name!r} is {type(figure).__name__}: give a Figure")
    for sample in samples:
        _check_rows(case, EventPrediction(sample.target), sample)


def _check_rows(case: Case, prediction: EventPrediction, sample: Sample) -> None:
    rows = case.adapter.event_rows(prediction, sample)
    unknown = [name for name in rows if name not in case.adapter.classes]
    case.require(not unknown, f"event_rows: unknown class {unknown}; classes are {list(case.adapter.classes)}")
    for name, row in rows.items():
        wrong = [column for column, value in row.items() if not isinstance(value, SCALARS)]
        case.require(not wrong, f"event_rows: {wrong} of {name!r} are no numbers: give floats")
    further = case.adapter.instance_rows(prediction, sample)
    expected = 0 if sample.instances is None else len(sample.instances)
    case.require(
        len(further) in (0, expected),
        f"instance_rows: {len(further)} rows for {expected} instances: give one for each",
    )


def reading(case: Case) -> None:
    """Check the reading of measured images, and the hooks that use them."""
    adapter, require = case.adapter, case.require
    for path in case.files or _written(case):
        with _explained(case, path):
            read = adapter.read(path)
        require(isinstance(read, Images), f"read returned {type(read).__name__}: give oasis.data.images.Images")
        image = read.filled()
        require(
            image.ndim == adapter.spatial_dims + 2
            and image.shape[1] == adapter.bands
            and image.dtype == np.float32,
            f"read: images are {image.dtype} of {image.shape}: give float32 of (n, {adapter.bands}, *spatial)",
        )
        require(np.isfinite(image).all(), "read: good pixels are not finite: mask them")
        found = 0 if read.context is None else read.context.shape[1]
        require(found == adapter.context, f"read: {found} channels of context, expected {adapter.context}")
        seen: NDArray[Any] = adapter.visible(image)
        expected = (len(image), 1, *image.shape[2:])
        require(
            seen.shape == expected and seen.dtype == bool,
            f"visible is {seen.dtype} of {seen.shape}, not {expected}",
        )
        for region in adapter.regions_of_interest(image[0]) or ():
            require(
                len(region) == adapter.spatial_dims, f"regions_of_interest: {region}: give a slice for each axis"
            )


def _written(case: Case) -> list[Path]:
    """Return the samples of the test split as a file, if the adapter supports such files."""
    if ".npz" not in case.adapter.suffixes:
        return []
    samples, path = case.samples["test"], case.folder / "images.npz"
    arrays: dict[str, Any] = {"image": np.stack([sample.image for sample in samples])}
    if case.adapter.context:
        arrays["context"] = np.stack([np.asarray(sample.context) for sample in samples])
    np.savez(path, **arrays)
    return [path]


@contextmanager
def _explained(case: Case, path: Path) -> Iterator[None]:
    try:
        yield
    except OasisError as error:
        if path in case.files:
            raise
        raise ContractError(
            f"{type(case.adapter).__name__}: read: its own images in an .npz file are refused ({error}): name "
            "files that it reads in files=[...], or leave .npz out of the fact suffixes"
        ) from error
