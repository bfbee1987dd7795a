"""The function `fit`, which trains a separator into a run folder, or resumes its training."""

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger

from oasis.data.mixing import SampleDataset
from oasis.device import best_precision
from oasis.errors import ConfigError, ModelError, OasisError, import_extra
from oasis.io.files import one_line
from oasis.io.run_files import CHECKPOINTS, LAST, WEIGHTS
from oasis.loss.overlap import OverlapLoss
from oasis.models import UNet
from oasis.separator.separator import Separator
from oasis.training.checkpoints import Checkpoints, WholeCheckpoints, unusable
from oasis.training.journal import RunFolder
from oasis.training.lines import EpochLines
from oasis.training.module import SeparatorTraining
from oasis.training.options import TrainingOptions
from oasis.training.ranks import OwnSignals, all_ranks

CHATTER = ("workers", "sync_dist", "`isinstance", "is not empty", "KeyboardInterrupt", "callbacks used")

logger = logging.getLogger(__name__)


class Beginning(Callback):
    """A callback at the start of training: it applies options over those of a loaded state and calls `started`.

    Args:
        options: how to train.
        started: function to call in the main process.

    Attributes:
        done: whether training has started.
    """

    def __init__(self, options: TrainingOptions, started: Callable[[], None] | None = None) -> None:
        self.options = options
        self.started = started
        self.done = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the options that the state has overwritten, except a learning rate under a schedule.

        Raises:
            ConfigError: there are more steps than the schedule was planned for.
        """
        for config in trainer.lr_scheduler_configs:
            planned, steps = config.scheduler.state_dict()["total_steps"], trainer.estimated_stepping_batches
            if steps > planned:
                raise ConfigError(
                    f"training.schedule: onecycle was planned for {planned} steps, found {steps}: keep the "
                    "number of epochs and of samples in a batch, or start a new run"
                )
        for stopping in trainer.early_stopping_callbacks:
            stopping.patience = self.options.patience
            trainer.should_stop |= stopping.wait_count >= stopping.patience
        for group in trainer.optimizers[0].param_groups:
            group["weight_decay"] = self.options.weight_decay
            if self.options.schedule == "constant":
                group["lr"] = self.options.learning_rate
        if self.started is not None and trainer.is_global_zero:
            self.started()
        self.done = True


def fit(
    separator: Separator,
    loss: OverlapLoss,
    train: SampleDataset,
    val: SampleDataset,
    run: str | Path,
    options: TrainingOptions | None = None,
    seed: int = 0,
    resume: bool = False,
    started: Callable[[], None] | None = None,
) -> Separator:
    """Train a separator and return the best one, as saved in the run folder.

    Args:
        separator: the separator to be trained.
        loss: a loss with `spatial_dims` set, since maps have a band axis.
        train: training samples, which may differ in every epoch.
        val: validation samples, for early stopping.
        run: the folder for the separator, `log.csv`, `region_weights.csv` and `checkpoints/`.
        options: how to train.
        seed: the seed of the order of samples and of torch's random numbers.
        resume: continue after the last complete epoch in `run`; the result is that of an uninterrupted run.
        started: function to call in the main process before the first step, when everything is loaded.

    Raises:
        ConfigError: there are fewer samples than devices, no GPU is available, gradients cannot be accumulated, or
            another number of processes was started.
        DataError: the disk is full, or samples are invalid.
        ModelError: there is no suitable checkpoint to resume from, or no separator was saved.
    """
    options = options or TrainingOptions()
    run = Path(run)
    checkpoint = run / CHECKPOINTS / LAST
    if resume and not checkpoint.is_file():
        raise ModelError(f"{run}: no {CHECKPOINTS}/{LAST} to resume from")
    check_training(options, loss, min(len(train), len(val)))
    module = SeparatorTraining(separator, loss, train, val, options, seed)
    with warnings.catch_warnings():
        for chatter in CHATTER:
            warnings.filterwarnings("ignore", message=f".*{chatter}.*")
        _fit(module, run, checkpoint if resume else None, Beginning(options, started))
    if not (run / WEIGHTS).is_file():
        raise ModelError(
            f"{run}: the validation loss was not finite in any epoch, so that no separator was saved: lower "
            "training.learning_rate, or set training.precision to float32"
        )
    return Separator.load(run, backbone=separator.backbone)


def check_training(options: TrainingOptions, loss: OverlapLoss, samples: int) -> None:
    """Check that options go together, and with this machine and the processes that were started.

    Args:
        options: how to train.
        loss: the loss.
        samples: the number of training samples or that of validation samples, whichever is smaller.

    Raises:
        ConfigError: they do not.
        MissingExtraError: TensorBoard is asked for and not installed.
    """
    if options.tensorboard:
        import_extra("tensorboard", extra="track")
    if options.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("training.accelerator: torch finds no GPU: set it to auto or cpu")
    if samples < options.processes:
        raise ConfigError(
            f"{samples} training or validation samples are too few: each of training.devices "
            f"({options.devices}) on each of training.nodes ({options.nodes}) needs one of both"
        )
    if options.accumulate > 1 and (options.processes > 1 or loss.learned is not None):
        other = "several devices" if options.processes > 1 else "learned region weights"
        raise ConfigError(f"training.accumulate: not with {other}: set it to 1, or choose a smaller batch_size")
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if (here, everywhere) != (options.devices, options.processes):
        raise ConfigError(
            f"training.devices is {options.devices} on {options.nodes} training.nodes; torchrun started {here} "
            f"of {everywhere} processes on this machine: set both to what torchrun was told"
        )


def _fit(module: SeparatorTraining, run: Path, checkpoint: Path | None, beginning: Beginning) -> None:
    """Train, and turn exceptions of other libraries into errors for the user."""
    try:
        trainer = _trainer(module, run, beginning)
    except (ValueError, MisconfigurationException) as error:  # SLURM started others than are configured
        raise ConfigError(f"training.devices, training.nodes: {one_line(error)}") from error
    environment = getattr(trainer.strategy, "cluster_environment", None)
    try:
        with all_ranks(environment, module.options.devices, module.options.nodes):
            trainer.fit(module, ckpt_path=checkpoint, weights_only=None if checkpoint is None else True)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into SystemExit
            raise KeyboardInterrupt from None
        raise
    except OasisError:
        raise
    except Exception as error:
        if checkpoint is None or beginning.done:
            raise
        raise unusable(checkpoint, f"does not match ({one_line(error)})") from error


def _strategy(module: SeparatorTraining) -> str:
    """Return the strategy of several processes; some networks of other libraries have unused parameters."""
    if module.options.processes == 1:
        return "auto"
    plain = isinstance(module.separator.backbone, UNet) and module.separator.object_head is None
    return "ddp" if plain else "ddp_find_unused_parameters_true"


def _trainer(module: SeparatorTraining, run: Path, beginning: Beginning) -> L.Trainer:
    options = module.options
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    gpu = torch.cuda.is_available() and options.accelerator != "cpu"
    precision = best_precision("cuda" if gpu else "cpu") if options.precision == "auto" else "float32"
    journal = RunFolder(run, module)
    lines = EpochLines(journal)
    callbacks: list[Callback] = [
        EarlyStopping("val/total", min_delta=1e-6, patience=options.patience, check_finite=True),
        journal,
        beginning,
        OwnSignals(),
        lines,
        Checkpoints(run / CHECKPOINTS, journal, lines.tell_epoch),
    ]
    logs: Any = False
    if options.tensorboard:
        logs = TensorBoardLogger(run, name="", version="tensorboard")
    return L.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=options.devices,
        num_nodes=options.nodes,
        strategy=_strategy(module),
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=options.epochs,
        callbacks=callbacks,
        plugins=[WholeCheckpoints(module)],
        logger=logs,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run,
    )
