"""Batches of samples with the predictions of a separator."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from oasis.adapters.base import Adapter
from oasis.adapters.prediction import EventPrediction
from oasis.data.loading import EpochSampler, make_loader
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Batch, Sample, collate
from oasis.device import autocast
from oasis.loss.matching import matching_order, reorder
from oasis.progress import watched
from oasis.separator.prediction import Prediction
from oasis.separator.separator import Separator, evaluating

AT_ONCE = 2**18  # pixels that are separated at once on a CPU; more leave its caches, which is slower


class EventBatch(NamedTuple):
    """A batch of samples with predicted maps.

    Attributes:
        batch: the samples.
        maps: (b, N, B, *S) in physical units.
        quantities: the quantities of objects, by column (b, N).
        visible: (b, 1, *S) the pixels that are visible according to the adapter, if requested.
        spread: (b, N) the standard deviation of intensities over the symmetries of the image, if requested.
        presence_logits: (b, N, B, *S) of the presence in every pixel, if the separator predicts it.
    """

    batch: Batch
    maps: Tensor
    quantities: Mapping[str, Tensor] = {}
    visible: Tensor | None = None
    spread: Tensor | None = None
    presence_logits: Tensor | None = None

    def events(self) -> Iterator[tuple[Sample, EventPrediction]]:
        """Yield every sample with its prediction, on the CPU, as the hooks of an adapter take them."""
        quantities = {name: values.cpu().numpy() for name, values in self.quantities.items()}
        for place, (sample, maps) in enumerate(zip(self.batch.samples(), self.maps.cpu().numpy(), strict=True)):
            yield sample, EventPrediction(maps, {name: values[place] for name, values in quantities.items()})


def predictions(
    separator: Separator,
    dataset: SampleDataset,
    batch_size: int = 32,
    workers: int = 1,
    interchangeable: Sequence[Sequence[str]] = (),
    collate: Callable[[Sequence[Sample]], Batch] = collate,
) -> Iterator[EventBatch]:
    """Apply a separator to a data set and yield batches with predicted maps, every sample once and in order.

    The maps of interchangeable classes are in the order that fits the truth best.
    """
    sampler = EpochSampler(len(dataset), shuffle=False)
    batches = make_loader(dataset, sampler, batch_size, workers, collate=collate)
    separator = evaluating(separator)  # once, not for every batch
    at_once = AT_ONCE if next(separator.parameters()).device.type == "cpu" else 2**63
    for batch in watched(batches, "separate samples", len(dataset), parts=lambda batch: len(batch.image)):
        for part in batch.parts(-(-batch.image.numel() // at_once)):
            yield predict_batch(separator, part, interchangeable)


def predict_batch(separator: Separator, batch: Batch, interchangeable: Sequence[Sequence[str]] = ()) -> EventBatch:
    """Apply a separator to one batch; see `predictions`."""
    device = next(separator.parameters()).device
    with torch.inference_mode(), autocast(device):
        batch = batch.to(device)
        prediction: Prediction = evaluating(separator)(batch.image, batch.valid, batch.context)
        presence = None if prediction.presence is None else prediction.presence.pixels
        event = EventBatch(batch, prediction.maps, separator.columns(prediction), presence_logits=presence)
    return aligned(event, separator.classes, interchangeable)


def aligned(event: EventBatch, classes: Sequence[str], interchangeable: Sequence[Sequence[str]]) -> EventBatch:
    """Return a batch with the maps of interchangeable classes in the order that fits the truth best."""
    batch, maps = event.batch, event.maps
    groups = [[classes.index(name) for name in group] for group in interchangeable]
    if not groups:
        return event
    with torch.inference_mode():
        weights = batch.valid.expand_as(batch.image).to(maps.dtype)
        order = matching_order(maps, batch.target, groups, weights)
        quantities = {name: reorder(values, order) for name, values in event.quantities.items()}
        presence = None if event.presence_logits is None else reorder(event.presence_logits, order)
        return event._replace(maps=reorder(maps, order), quantities=quantities, presence_logits=presence)


def refine_batch(event: EventBatch, adapter: Adapter) -> EventBatch:
    """Return a batch with the additional columns of the adapter's `refine`."""
    batch = event.batch
    context = None if batch.context is None else batch.context.cpu().numpy()
    quantities = {name: values.cpu().numpy() for name, values in event.quantities.items()}
    found = adapter.refine(batch.image.cpu().numpy(), context, event.maps.cpu().numpy(), quantities)
    fitted = {name: torch.as_tensor(values, device=event.maps.device) for name, values in found.items()}
    return event._replace(quantities={**event.quantities, **fitted})
