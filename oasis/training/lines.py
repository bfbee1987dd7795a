"""Lines about a training: one after every epoch, and in a terminal a bar within the epoch."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from oasis.progress import Progress, duration, rate_text, tell
from oasis.training.journal import RunFolder
from oasis.training.log import VALIDATION

WITHIN: Final = 300.0  # seconds between lines within an epoch, where there is no bar


class EpochLines(Callback):
    """A callback that tells the loss, the best so far, the rate and the time left of the whole training.

    Args:
        journal: the journal of the run, which is called before.
        clock: returns seconds.
    """

    def __init__(self, journal: RunFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self.journal, self._clock = journal, clock
        self._epochs = 0  # since the start or the resumption
        self._seconds = 0.0
        self._samples = 0
        self._begun = 0.0
        self._progress: Progress | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the bar of the epoch."""
        self._samples = 0
        self._begun = self._clock()
        if trainer.is_global_zero:
            what = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            self._progress = Progress(
                what, int(trainer.num_training_batches), "batches", WITHIN, self._clock
            ).__enter__()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar, with the loss of the batch."""
        self._samples += len(batch.image) * trainer.world_size
        if self._progress is not None:
            self._progress.advance(note=lambda: ", ".join([*_loss_of(outputs), self._left(trainer)]))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the bar."""
        self.close()

    def tell_epoch(self, trainer: L.Trainer) -> None:
        """Write the line of an epoch, once it is safe: whoever has read it can interrupt the training."""
        if not trainer.is_global_zero:
            return
        row = self.journal.rows[-1]
        self._epochs, self._seconds = self._epochs + 1, self._seconds + row["seconds"]
        left = (int(trainer.max_epochs or 0) - trainer.current_epoch - 1) * self._seconds / self._epochs
        tell(epoch_line(self.journal.rows, int(trainer.max_epochs or 0), self._samples, left))

    def _left(self, trainer: L.Trainer) -> str:
        """Return how long the whole training still takes, as seen from within an epoch."""
        assert self._progress is not None
        within = self._progress.done / int(trainer.num_training_batches)
        spent = self._seconds + self._clock() - self._begun
        left = (int(trainer.max_epochs or 0) - trainer.current_epoch - within) * spent / (self._epochs + within)
        return f"training: at most {duration(left)} left"

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the bar."""
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None


def epoch_line(rows: list[Mapping[Any, Any]], epochs: int, samples: int, left: float) -> str:
    """Return the line of the last of some epochs.

    Args:
        rows: the log, a row per epoch.
        epochs: maximum number of epochs.
        samples: number of training samples of the last epoch.
        left: seconds until the end of the training, unless it stops earlier.

    Example:
        >>> first = {"epoch": 0, "train/total": 0.2, "val/total": 0.1, "seconds": 4.0}
        >>> epoch_line([first], 3, 640, 8.0)
        'epoch 1 of 3: loss 0.2, validation 0.1 (best), 160 samples/s, 4 s; at most 8 s left'
        >>> epoch_line([first, {**first, "epoch": 1, "val/total": 0.3}], 2, 640, 0.0)
        'epoch 2 of 2: loss 0.2, validation 0.3 (best 0.1 in epoch 1), 160 samples/s, 4 s'
    """
    row = rows[-1]
    best = min(rows, key=lambda one: one[VALIDATION] if one[VALIDATION] == one[VALIDATION] else float("inf"))
    mark = "best" if best is row else f"best {best[VALIDATION]:.5g} in epoch {best['epoch'] + 1:.0f}"
    loss, seconds = row.get("train/total", float("nan")), max(row["seconds"], 1e-3)
    line = f"epoch {row['epoch'] + 1:.0f} of {epochs}: loss {loss:.5g}, validation {row[VALIDATION]:.5g} ({mark})"
    line += f", {rate_text(samples / seconds, 'samples')}, {duration(seconds)}"
    return f"{line}; at most {duration(left)} left" if left > 0 else line


def _loss_of(outputs: Any) -> list[str]:
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return [f"loss {float(loss):.4g}"] if isinstance(loss, torch.Tensor) else []
