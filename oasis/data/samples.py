"""Samples: an image, the true map of each class, the valid pixels, metadata and single objects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.data.deferred import Deferred
from oasis.data.instances import Instances
from oasis.data.metadata import check_metadata
from oasis.errors import DataError, shown
from oasis.html import facts_html

Array = NDArray[np.float32]
Scalar = float | int | str | bool
MOST_SHOWN = 12  # entries of the metadata that a notebook shows


@dataclass(frozen=True)
class Sample:
    """An image with its truth, in physical units.

    Attributes:
        image: (B, *S) the measured mixture.
        target: (N, B, *S) the true map of each class; `image` is their sum plus background and noise.
        valid: (1, *S) bool, where the loss and the metrics count.
        meta: identity and truth quantities, one scalar each (`"id"`, `"ER_energy"` in keV, ...).
        context: (C, *S) further inputs that are not part of the mixture, or None.
        instances: the single objects whose sum is the target, or None if unknown. It may be given as a function,
            which is called when they are first read, so that they cost nothing if they are not needed.
    """

    image: Array
    target: Array
    valid: NDArray[np.bool_]
    meta: Mapping[str, Scalar] = field(default_factory=dict)
    context: Array | None = None
    instances: Deferred[Instances] = Deferred()  # noqa: RUF009 - a descriptor, which stays the class's own

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
        check_metadata(self.meta)
        instances = vars(self)["instances"]
        if isinstance(instances, Instances) and instances.shape != self.image.shape:
            raise DataError(f"instances of an image of shape {instances.shape}, expected {self.image.shape}")

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "instances": self.instances}  # a function cannot be pickled

    def replace(self, **changes: Any) -> "Sample":
        """Return a copy with the named fields changed."""
        return replace(self, **{"instances": vars(self)["instances"], **changes})

    def _repr_html_(self) -> str:
        """Return the sample as a notebook shows it: its shapes, its metadata and thumbnails."""
        from oasis.data.pictures import sample_pictures  # imports matplotlib

        facts = {
            "image": f"{self.image.shape} bands and spatial axes",
            "target": f"{self.target.shape} classes, bands and spatial axes",
            "valid": f"{self.valid.mean():.0%} of the pixels",
            "context": "none" if self.context is None else self.context.shape,
            "instances": "known" if self.has_instances else "unknown",
        }
        stated = list(self.meta.items())
        facts |= {f"meta[{name!r}]": shown(value) for name, value in stated[:MOST_SHOWN]}
        if len(stated) > MOST_SHOWN:
            facts["meta"] = f"{len(stated) - MOST_SHOWN} more"
        return facts_html("Sample", facts, sample_pictures(self))

    @property
    def has_instances(self) -> bool:
        """Whether the instances are known; this does not compute them."""
        return vars(self)["instances"] is not None

    def changed_instances(self, change: Callable[[Instances], Instances]) -> Callable[[], Instances] | None:
        """Return an argument for `replace` that changes the instances when they are first read."""
        field: Deferred[Instances] = Sample.__dict__["instances"]
        return field.changed(self, change)


@dataclass(frozen=True)
class Batch:
    """Samples stacked along a first axis `b`, as tensors.

    Attributes:
        image: (b, B, *S) float32.
        target: (b, N, B, *S) float32.
        valid: (b, 1, *S) bool.
        meta: one mapping per sample.
        context: (b, C, *S) float32 or None.
        instances: one record per sample if `collate_instances` made the batch and they are known, else None.
    """

    image: Tensor
    target: Tensor
    valid: Tensor
    meta: Sequence[Mapping[str, Scalar]]
    context: Tensor | None = None
    instances: Sequence[Instances] | None = None

    def __len__(self) -> int:
        return len(self.image)

    def samples(self) -> list[Sample]:
        """Return the samples of the batch, on the CPU."""
        nothing = [None] * len(self)
        parts = zip(
            self.image.cpu().numpy(),
            self.target.cpu().numpy(),
            self.valid.cpu().numpy(),
            self.meta,
            nothing if self.context is None else self.context.cpu().numpy(),
            nothing if self.instances is None else self.instances,
            strict=True,
        )
        return [Sample(*part) for part in parts]

    def parts(self, count: int) -> "list[Batch]":
        """Return the batch in at most `count` parts of nearly one size.

        Example:
            >>> sample = Sample(np.ones((1, 4), np.float32), np.ones((2, 1, 4), np.float32), np.ones((1, 4), bool))
            >>> [len(part) for part in collate([sample] * 5).parts(2)]
            [3, 2]
        """
        size = -(-len(self) // count)
        return [self._between(start, start + size) for start in range(0, len(self), size)]

    def _between(self, start: int, stop: int) -> "Batch":
        return Batch(
            self.image[start:stop],
            self.target[start:stop],
            self.valid[start:stop],
            self.meta[start:stop],
            None if self.context is None else self.context[start:stop],
            None if self.instances is None else self.instances[start:stop],
        )

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on `device`, without waiting for the transfer."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, from which a GPU can copy asynchronously."""
        return self._with(Tensor.pin_memory)

    def share_memory(self) -> "Batch":
        """Return the batch in shared memory.

        Raises:
            RuntimeError: there is too little shared memory.
        """
        return self._with(Tensor.share_memory_)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            image=change(self.image),
            target=change(self.target),
            valid=change(self.valid),
            context=None if self.context is None else change(self.context),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one shape into a batch, without their instances (see `collate_instances`).

    Raises:
        DataError: the samples differ in shape, or only some have a context.

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


def collate_instances(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one shape into a batch, with their instances if those of every sample are known.

    Raises:
        DataError: as for `collate`.
    """
    records = [sample.instances for sample in samples]
    known = [record for record in records if record is not None]
    return replace(collate(samples), instances=known if len(known) == len(records) else None)
