"""Samples: an image, the true map of each class, where they count, and what is known of the event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.errors import DataError

Array = NDArray[np.float32]
Scalar = float | int | str | bool


@dataclass(frozen=True)
class Sample:
    """One image with its truth, in physical units.

    Attributes:
        image: (B, *S) the measured mixture.
        target: (N, B, *S) the true map of each class; `image` is their sum plus background and noise.
        valid: (1, *S) bool, where the loss and the metrics count.
        meta: identity and truth quantities, one scalar each (`"id"`, `"ER_energy"` in keV, ...).
        context: (C, *S) further inputs that are not part of the mixture, or None.
    """

    image: Array
    target: Array
    valid: NDArray[np.bool_]
    meta: Mapping[str, Scalar] = field(default_factory=dict)
    context: Array | None = None

    def __post_init__(self) -> None:
        spatial = self.image.shape[1:]
        if self.target.shape[1:] != self.image.shape:
            raise DataError(
                f"target of shape {self.target.shape} does not fit the image of shape {self.image.shape}: "
                "expected (classes, bands, *spatial) for (bands, *spatial)"
            )
        if self.valid.shape != (1, *spatial):
            raise DataError(f"valid has shape {self.valid.shape}, expected {(1, *spatial)}")
        if self.context is not None and self.context.shape[1:] != spatial:
            raise DataError(f"context has shape {self.context.shape}, expected (channels, *{spatial})")

    def replace(self, **changes: Any) -> "Sample":
        """Return a copy with the named fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Batch:
    """Samples stacked along a first axis `b`, as tensors.

    Attributes:
        image: (b, B, *S) float32.
        target: (b, N, B, *S) float32.
        valid: (b, 1, *S) bool.
        meta: one mapping per sample.
        context: (b, C, *S) float32 or None.
    """

    image: Tensor
    target: Tensor
    valid: Tensor
    meta: Sequence[Mapping[str, Scalar]]
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def samples(self) -> list[Sample]:
        """Take the batch apart again, on the CPU."""
        contexts = [None] * len(self) if self.context is None else list(self.context.cpu().numpy())
        parts = zip(
            self.image.cpu().numpy(),
            self.target.cpu().numpy(),
            self.valid.cpu().numpy(),
            self.meta,
            contexts,
            strict=True,
        )
        return [Sample(*part) for part in parts]

    def to(self, device: torch.device | str) -> "Batch":
        """Move the tensors to `device`, once and without waiting for it."""
        context = None if self.context is None else self.context.to(device, non_blocking=True)
        return Batch(
            self.image.to(device, non_blocking=True),
            self.target.to(device, non_blocking=True),
            self.valid.to(device, non_blocking=True),
            self.meta,
            context,
        )

    def pin_memory(self) -> "Batch":
        """Copy the tensors to page-locked memory, from which a GPU reads without waiting."""
        context = None if self.context is None else self.context.pin_memory()
        return Batch(
            self.image.pin_memory(), self.target.pin_memory(), self.valid.pin_memory(), self.meta, context
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one shape into a batch.

    Raises:
        DataError: the samples differ in shape or only some have a context.

    Example:
        >>> image = np.ones((1, 4), np.float32)
        >>> sample = Sample(image, image[None], np.ones((1, 4), bool))
        >>> collate([sample, sample]).target.shape
        torch.Size([2, 1, 1, 4])
    """
    shapes = {sample.target.shape for sample in samples}
    if len(shapes) > 1:
        raise DataError(f"samples of different shapes cannot form a batch: {sorted(shapes)}")
    contexts = [sample.context for sample in samples if sample.context is not None]
    if contexts and len(contexts) < len(samples):
        raise DataError("some samples of the batch have a context and some have none")
    if len({context.shape for context in contexts}) > 1:
        raise DataError(f"contexts of different shapes cannot form a batch: {sorted({c.shape for c in contexts})}")
    return Batch(
        torch.from_numpy(np.stack([sample.image for sample in samples])).float(),
        torch.from_numpy(np.stack([sample.target for sample in samples])).float(),
        torch.from_numpy(np.stack([sample.valid for sample in samples])).bool(),
        [sample.meta for sample in samples],
        torch.from_numpy(np.stack(contexts)).float() if contexts else None,
    )
