"""The section `training` of a configuration."""

from typing import Literal

from pydantic import Field

from oasis.options import Options

MOST_WORKERS = 512
MOST_PARTS = 4096  # of a batch


class TrainingOptions(Options):
    """The options of a training; the defaults are those of the paper where it states them.

    Attributes:
        epochs: the maximum number of epochs.
        batch_size: samples per step and process.
        accumulate: parts in which a batch goes through the network, one after the other, to save memory. The
            gradient is that of the whole batch, except for what batch normalisation and dropout make of it.
        learning_rate: the learning rate of AdamW; its peak with the schedule `onecycle`.
        schedule: `constant`, or `onecycle` (warm-up and cosine decay over `epochs`).
        weight_decay: the weight decay of AdamW.
        patience: epochs without a better validation loss after which training stops.
        clip: largest norm of the gradient.
        precision: `auto` computes in bfloat16 if the processor supports it, `float32` never.
        devices: number of processes (or GPUs) that share the work, on each node.
        nodes: number of machines that share the work; torchrun or SLURM starts the command on each.
        accelerator: `auto`, `cpu` or `gpu`.
        workers: number of processes that prepare samples, per device.
        tensorboard: also write TensorBoard logs.
    """

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1, le=MOST_PARTS)
    learning_rate: float = Field(2e-4, gt=0)
    schedule: Literal["constant", "onecycle"] = "constant"
    weight_decay: float = Field(1e-4, ge=0)
    patience: int = Field(10, ge=1)
    clip: float = Field(1.0, gt=0)
    precision: Literal["auto", "float32"] = "auto"
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    workers: int = Field(1, ge=0, le=MOST_WORKERS)
    tensorboard: bool = False

    @property
    def processes(self) -> int:
        """The number of processes that share the work, on all nodes."""
        return self.devices * self.nodes
