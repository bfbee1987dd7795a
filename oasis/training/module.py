"""The Lightning module: a separator, its loss and its data."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from oasis.data.loading import EpochSampler, Loader, make_loader
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Batch
from oasis.loss.compared import Compared
from oasis.loss.overlap import OverlapLoss
from oasis.loss.ratio import Ratio, mean_of
from oasis.regions import present, region_codes
from oasis.separator.options import SeparatorOptions
from oasis.separator.prediction import Prediction
from oasis.separator.presence import chances_of_absent, limits_for
from oasis.separator.separator import Separator
from oasis.training.checks import check_valid_pixels, names_of
from oasis.training.options import TrainingOptions

OBJECTS = "objects_"  # prefix of the loss terms of the object head
PRESENCE = "presence_"  # prefix of the loss terms of the presence head
ABSENT = "chances_of_absent"  # a sum of the validation: how probable classes are where they are absent
COLLAPSED = 1e-3  # predictions of a class below this fraction of its true intensity are called collapsed

logger = logging.getLogger(__name__)


class SeparatorTraining(L.LightningModule):
    """The Lightning module of a separator, its loss and its data.

    Args:
        separator: the separator to be trained.
        loss: the loss, which compares maps in scaled units; its thresholds are in physical units.
        train: the training samples.
        val: the validation samples.
        options: how to train.
        seed: the seed of the order of samples.
    """

    def __init__(
        self,
        separator: Separator,
        loss: OverlapLoss,
        train: SampleDataset,
        val: SampleDataset,
        options: TrainingOptions,
        seed: int,
    ) -> None:
        super().__init__()
        self.separator = separator
        self.loss = loss
        self.datasets = {"train": train, "val": val}
        self.options = options
        self.seed = seed
        self.totals: dict[str, Tensor] = {}
        self.skipped = 0  # steps whose gradient was not finite
        self.present_from: dict[str, float] | None = None  # as `head.false_presence` chose it in the last epoch
        self._batch: Batch | None = None
        self._rest: list[tuple[Batch, dict[str, Tensor] | None]] = []  # parts of a batch that `backward` adds

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the loss of a batch, or the share in it of the first of its parts; `backward` adds the others."""
        first, *rest = batch.parts(self.options.accumulate)
        sums = self._denominators([first, *rest]) if rest else None
        self._rest = [(part, sums) for part in rest]
        return self._share(first, sums)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add the gradient of a loss and, with accumulation, those of the other parts of the batch."""
        super().backward(loss, *args, **kwargs)
        rest, self._rest = self._rest, []
        for part, sums in rest:
            with self.trainer.precision_plugin.forward_context():
                share = self._share(part, sums)
            super().backward(share)

    @torch.no_grad()
    def _denominators(self, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """Return what every term of a batch is divided by, summed over its parts; no prediction changes it."""
        self.eval()  # without a trace in batch normalisation
        sums: dict[str, Tensor] = {}
        for part in parts:
            for name, ratio in self._ratios(part)[0].items():
                sums[name] = sums.get(name, 0) + ratio.totals(self.loss.reduction)[1]
        self.train()
        return sums

    def _share(self, part: Batch, sums: Mapping[str, Tensor] | None) -> Tensor:
        """Return the share of a part in the loss of its batch; the shares add up to that loss.

        Gradients are averaged over processes: each gives its numerators over the denominators of all, so that the
        mean of the losses is the loss of the samples of all processes.

        Args:
            part: a part of the batch of this process.
            sums: what each term of that batch is divided by, or None if the part is all of it.
        """
        ratios, _ = self._ratios(part)
        totals = {name: ratio.totals(self.loss.reduction) for name, ratio in ratios.items()}
        self._collect("train", {name: total.detach() for name, total in totals.items()})
        if sums is None:
            sums = {name: total[1] for name, total in totals.items()}
        processes = self.trainer.world_size
        if processes > 1:
            own = torch.stack([sums[name].detach() for name in totals])
            sums = dict(zip(totals, self._over_processes(own).to(own.dtype), strict=True))
        means = {name: mean_of(torch.stack([processes * total[0], sums[name]])) for name, total in totals.items()}
        share = self._total(means)
        if not share.detach().isfinite():
            check_valid_pixels(part)
        return share

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Add a batch to the sums of the epoch's validation loss."""
        ratios, intensities = self._ratios(batch)
        totals = self._totals(ratios)
        if not all(bool(total.isfinite().all()) for total in totals.values()):
            check_valid_pixels(batch)
        self._collect("val", totals)
        self._collect("val", {"intensities": intensities})

    def _ratios(self, batch: Batch) -> tuple[dict[str, Ratio], Tensor]:
        """Return the terms of a batch, and the summed intensities (2, N) of prediction and truth, scaled."""
        prediction: Prediction = self.separator(batch.image, batch.valid, batch.context)
        target = prediction.scale.forward(batch.target)
        there = present(batch.target, self.loss.thresholds)
        codes = region_codes(there)
        compared = self.loss.compare(prediction.scaled, target, batch.valid, codes, prediction.scale, batch.image)
        if self.training and self.loss.learned is not None:
            self.loss.learned.update(*self._over_processes(compared.region_sums()))
        ratios = compared.ratios()
        ordered = prediction.ordered(compared.order)
        ratios |= self._of_presence(ordered, compared, there) | self._of_objects(ordered, batch)
        with torch.no_grad():
            counted = batch.valid.unsqueeze(1)
            intensities = torch.stack(
                [
                    torch.where(counted, maps, 0).transpose(0, 1).flatten(1).sum(1)
                    for maps in (prediction.scaled.detach(), target)
                ]
            )
        return ratios, intensities

    def _totals(self, ratios: Mapping[str, Ratio]) -> dict[str, Tensor]:
        return {name: ratio.totals(self.loss.reduction).detach() for name, ratio in ratios.items()}

    def _of_presence(self, ordered: Prediction, compared: Compared, there: Tensor) -> dict[str, Ratio]:
        head = self.separator.presence_head
        if head is None or ordered.presence is None:
            return {}
        if not self.training and self.separator.options.head.false_presence:
            counted = there & (compared.weights > 0).unsqueeze(1)
            self._collect("val", {ABSENT: chances_of_absent(ordered.presence, counted.flatten(2).any(2))})
        terms = head.ratios(ordered.presence, there, compared.weights, self.loss.class_weights)
        return {f"{PRESENCE}{name}": ratio for name, ratio in terms.items()}

    def _of_objects(self, ordered: Prediction, batch: Batch) -> dict[str, Ratio]:
        head = self.separator.object_head
        if head is None or ordered.objects is None:
            return {}
        return {f"{OBJECTS}{name}": ratio for name, ratio in head.ratios(ordered.objects, batch.meta).items()}

    def _total(self, means: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of the maps plus, if there are such heads, those of presence and objects."""
        total = self.loss.combine(means)
        for head, prefix in ((self.separator.presence_head, PRESENCE), (self.separator.object_head, OBJECTS)):
            if head is not None:
                terms = [value for name, value in means.items() if name.startswith(prefix)]
                total = total + head.weight * torch.stack(terms).sum()
        return total

    def _collect(self, split: str, totals: Mapping[str, Tensor]) -> None:
        for name, value in totals.items():
            key = f"{split}/{name}"
            self.totals[key] = self.totals[key] + value if key in self.totals else value

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed torch's random numbers of the step (dropout), so that a resumed run draws the same."""
        torch.manual_seed(hash((self.seed, self.global_step, self.global_rank)) % 2**63)
        self._batch = batch

    def on_validation_epoch_start(self) -> None:
        """Reset the running sums."""
        self.totals = {key: value for key, value in self.totals.items() if key.startswith("train/")}

    def on_validation_epoch_end(self) -> None:
        """Log the means over the samples of all processes, each counted once."""
        sums = {name: self._over_processes(value) for name, value in self.totals.items()}
        self.totals = {}
        intensities = sums.pop("val/intensities")
        absent = sums.pop(f"val/{ABSENT}", None)
        if absent is not None:
            limits = limits_for(absent, self.separator.options.head.false_presence)
            self.present_from = dict(zip(self.separator.classes, limits, strict=True))
        for split in ("train", "val"):
            means = {
                name.removeprefix(f"{split}/"): mean_of(total)
                for name, total in sums.items()
                if name.startswith(f"{split}/")
            }
            if means:
                means = {"total": self._total(means), **means}
                self.log_dict({f"{split}/{name}": value.float() for name, value in means.items()})
            if split == "train" and means and not means["total"] and self.trainer.is_global_zero:
                logger.warning(
                    "epoch %d: the training loss is exactly 0: no pixel of any sample counts, nothing is learned",
                    self.current_epoch,
                )
        if not self.trainer.sanity_checking:
            self._warn_of_collapse(*intensities)

    @property
    def decided_options(self) -> SeparatorOptions:
        """The options of the separator with the limits of presence that the last validation chose, if it did."""
        options = self.separator.options
        if self.present_from is None or options.head.present_from is not None:
            return options
        head = options.head.model_copy(update={"present_from": self.present_from})
        return options.model_copy(update={"head": head})

    def _over_processes(self, value: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(value.double(), reduce_op="sum")

    def _warn_of_collapse(self, predicted: Tensor, true: Tensor) -> None:
        for name, found, expected in zip(self.loss.classes, predicted.tolist(), true.tolist(), strict=True):
            if expected > 0 and found < COLLAPSED * expected and self.trainer.is_global_zero:
                logger.warning(
                    "epoch %d: the predictions of class %s have collapsed to zero (%.1e of its true intensity): "
                    "raise its class or region weights, or lower the learning rate",
                    self.current_epoch,
                    name,
                    found / expected,
                )

    def configure_optimizers(self) -> Any:
        """Return AdamW and the schedule of its learning rate."""
        optimizer = torch.optim.AdamW(
            self.separator.parameters(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=True,
        )
        if self.options.schedule == "constant":
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.options.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=0.15,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of the gradients, which are not scaled in bfloat16 and float32; skip an infinite step.

        Lightning's own clipping refuses the fused AdamW because that could unscale float16 gradients itself.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.separator.parameters(), self.options.clip)
        if not norm.isfinite():
            self._skip_step()

    def _skip_step(self) -> None:
        """Leave the weights unchanged, and log that the first time."""
        self.separator.zero_grad(set_to_none=True)
        self.skipped += 1
        if self.skipped == 1 and self._batch is not None:
            logger.warning(
                "epoch %d: the gradient of a batch is not finite and its step is skipped, like any further ones, "
                "without another message. Its samples are %s. If the loss does not fall, inspect them, lower "
                "training.learning_rate or set training.precision to float32",
                self.current_epoch,
                names_of(self._batch),
            )

    def train_dataloader(self) -> Loader[Batch]:
        """Return this process's share of the training samples."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> Loader[Batch]:
        """Return this process's share of the validation samples."""
        return self._loader("val", shuffle=False)

    def _loader(self, split: str, shuffle: bool) -> Loader[Batch]:
        dataset = self.datasets[split]
        sampler = EpochSampler(len(dataset), self.seed, shuffle, self.trainer.global_rank, self.trainer.world_size)
        least = 2 if shuffle else 1  # a batch normalisation of a single value has no variance
        return make_loader(dataset, sampler, self.options.batch_size, self.options.workers, least)
