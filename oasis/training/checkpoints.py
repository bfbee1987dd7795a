"""Checkpoints of a training: written completely after every epoch, and checked when a training resumes."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from oasis.errors import DataError, ModelError, shown
from oasis.io.files import one_line, replace_when_whole
from oasis.io.run_files import BEST, FIRST_EPOCH, LAST
from oasis.separator.options import GATES
from oasis.training.journal import RunFolder
from oasis.training.module import SeparatorTraining

PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops", "epoch", "global_step")
PROGRESS = ("loops", "fit_loop", "epoch_progress", "current", "completed")
CONTENT: Mapping[tuple[Any, ...], Any] = {
    **{(name,): Mapping for name in ("state_dict", "loops", "callbacks")},
    **{(name,): list for name in ("optimizer_states", "lr_schedulers")},
    **{(name,): int for name in ("epoch", "global_step")},
    PROGRESS: int,
    ("callbacks", RunFolder.__name__, "best"): float,
    ("optimizer_states", 0, "state", 0): Mapping,
}
"""The types of parts of a checkpoint, by the keys that lead there."""
SEPARATOR = "separator"  # the part of a checkpoint that identifies its separator
OF_A_RUN = ("identity", "trained_size", "brightness", "adapter")  # options that do not describe the network


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoint files that replace the previous one only when complete, and that are read as data only.

    Args:
        training: the training of the checkpoints.
    """

    def __init__(self, training: SeparatorTraining) -> None:
        self.training = training

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to a path.

        Raises:
            DataError: the disk is full, or the folder cannot be written to.
        """
        with replace_when_whole(Path(path)) as temporary:
            try:
                torch.save({**checkpoint, SEPARATOR: self._facts}, temporary)
            except RuntimeError as error:  # from torch, which hides the reason
                raise DataError(
                    f"{path}: cannot be written: is the disk full? ({one_line(error)}); the previous checkpoint "
                    "is intact"
                ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of this training; nothing in it is executed.

        Raises:
            ModelError: it is damaged or incomplete, or belongs to another separator.
        """
        try:
            with warnings.catch_warnings(action="ignore"):  # about foreign pickles, which are refused anyway
                checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        except UnpicklingError as error:  # whose message suggests to run what is in the file
            raise unusable(path, "damaged, or contains Python objects, which are never loaded") from error
        except Exception as error:  # a damaged file can raise anything
            raise unusable(path, f"damaged ({one_line(error)})") from error
        found = checkpoint if isinstance(checkpoint, dict) else {}
        missing = [part for part in PARTS if part not in found]
        if missing:
            raise unusable(path, f"not a checkpoint of a training: {', '.join(missing)} missing")
        wrong = next(_wrong_parts(found), None)
        if wrong is not None:
            raise unusable(path, f"not a checkpoint of a training: {wrong}")
        difference = self._difference(found)
        if difference:
            raise unusable(path, f"of another separator: {difference}")
        return found

    @property
    def _facts(self) -> dict[str, Any]:
        options = self.training.separator.options
        return _without_gates(options.model_dump(mode="json", exclude=set(OF_A_RUN)))

    def _difference(self, checkpoint: Mapping[str, Any]) -> str:
        """Return the first difference between the separator of a checkpoint and the one in training, if any."""
        states = [checkpoint["state_dict"], self.training.state_dict()]
        forms = [{name: _form(value) for name, value in state.items()} for state in states]
        separators = (_without_gates(checkpoint.get(SEPARATOR, self._facts)), self._facts)
        for found, expected in (separators, forms):
            for key in dict.fromkeys([*expected, *found]):
                if found.get(key) != expected.get(key):
                    return f"{key} is {shown(found.get(key))}, expected {shown(expected.get(key))}"
        return self._difference_of_optimizer(checkpoint["optimizer_states"][0]["state"])

    def _difference_of_optimizer(self, states: Mapping[Any, Any]) -> str:
        """Return the first difference in shape, which torch does not check, of what it keeps of a parameter."""
        for number, parameter in enumerate(self.training.separator.parameters()):
            for name, value in states.get(number, {}).items():
                shape = getattr(value, "shape", ())
                if len(shape) and shape != parameter.shape:
                    return f"{name} of parameter {number} is {tuple(shape)}, expected {tuple(parameter.shape)}"
        return ""


class Checkpoints(Checkpoint):
    """A callback that keeps the states after the last and the best complete epoch, `last.ckpt` and `best.ckpt`.

    Args:
        folder: the folder that they are written to.
        journal: determines whether an epoch is the best so far.
        then: called when an epoch is safe, with the trainer.
    """

    def __init__(self, folder: Path, journal: RunFolder, then: Callable[[L.Trainer], None] | None = None) -> None:
        self.folder = folder
        self.journal = journal
        self.then = then

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoints; all processes of a training must call this."""
        if self.journal.better:
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)
        if trainer.is_global_zero:
            (self.folder.parent / FIRST_EPOCH).unlink(missing_ok=True)
        if self.then is not None:
            self.then(trainer)


def _wrong_parts(checkpoint: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a checkpoint lacks without which a training would begin anew in silence."""
    for place, kind in CONTENT.items():
        part = _part(checkpoint, place)
        if not isinstance(part, kind) or isinstance(part, bool):
            yield f"{'.'.join(map(str, place))} is {shown(part)}"
    counted, epoch = _part(checkpoint, PROGRESS), checkpoint["epoch"]
    if not 0 <= epoch == counted:
        yield f"epoch is {shown(epoch)}, but {'.'.join(PROGRESS)} is {shown(counted)}"
    for name, value in checkpoint["state_dict"].items():
        if isinstance(value, torch.Tensor) and not value.isfinite().all():
            yield f"{name} is not finite"


def _part(checkpoint: Mapping[str, Any], place: Sequence[Any]) -> Any:
    part: Any = checkpoint
    for key in place:
        part = part[key] if isinstance(part, Sequence | Mapping) and _has(part, key) else None
    return part


def _has(part: Sequence[Any] | Mapping[Any, Any], key: Any) -> bool:
    return key in part if isinstance(part, Mapping) else isinstance(key, int) and key < len(part)


def _without_gates(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a separator without those of its head that nothing is trained for."""
    head, untrained = facts.get("head"), {*GATES, "false_presence"}
    if not isinstance(head, Mapping):
        return dict(facts)
    return {**facts, "head": {name: value for name, value in head.items() if name not in untrained}}


def _form(value: Any) -> tuple[Any, ...]:
    return (*getattr(value, "shape", ()), str(getattr(value, "dtype", type(value).__name__)))


def unusable(path: str | Path, reason: str) -> ModelError:
    """Return the error for a checkpoint from which a training cannot resume."""
    best = Path(path).with_name(BEST)
    mend = f"copy {best.name} over it to resume from the best epoch, or start a new run"
    return ModelError(f"{path}: {reason}: {mend if best.is_file() else 'start a new run'}")
