"""The journal of a run: its log, region weights and best separator, saved after every epoch."""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from oasis.io.files import replace_when_whole
from oasis.io.run_files import LOG, REGION_WEIGHTS
from oasis.loss.weights import region_table
from oasis.separator.files import save_separator
from oasis.training.log import VALIDATION, read_log
from oasis.training.module import SeparatorTraining


class RunFolder(Callback):
    """A callback that saves the log and the best separator of a run after every epoch.

    Attributes:
        rows: the log, a row per epoch.
        best: the lowest validation loss so far.
        better: whether the last epoch reached it.
    """

    def __init__(self, run: Path, module: SeparatorTraining) -> None:
        self.run = run
        self.module = module
        self.best = float("inf")
        self.better = False
        self.rows: list[Mapping[Any, Any]] = []
        self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state at which the run stopped."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the epochs that have already been logged.

        Raises:
            DataError: the log is damaged.
        """
        path = self.run / LOG
        if path.exists():
            self.rows = list(read_log(path).to_dict("records"))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Append the epoch to the log and save the separator if it is the best so far."""
        if trainer.sanity_checking:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.better = metrics[VALIDATION] < self.best
        self.best = min(self.best, metrics[VALIDATION])
        if not trainer.is_global_zero:
            return
        if self.better:
            save_separator(self.module.separator, self.module.decided_options, self.run)
            loss = self.module.loss
            table = loss.table if loss.learned is None else loss.learned.table
            rows = [row._asdict() for row in region_table(loss.classes, table)]
            _write_csv(self.run / REGION_WEIGHTS, rows)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seconds = time.monotonic() - self._started
        row = {"epoch": trainer.current_epoch, **metrics, "learning_rate": rate, "seconds": round(seconds, 3)}
        self._write(row)

    def _write(self, row: Mapping[str, float]) -> None:
        """Rewrite the log with this epoch at its end; repeated epochs are replaced."""
        self.rows = [*(old for old in self.rows if old["epoch"] < row["epoch"]), row]
        _write_csv(self.run / LOG, self.rows)


def _write_csv(path: Path, rows: Sequence[Mapping[Any, Any]]) -> None:
    """Write rows with the columns of the last one."""
    with replace_when_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
