"""The section `training` of a configuration."""

from typing import Literal

from pydantic import Field

from oasis.options import Options


class TrainingOptions(Options):
    """How a separator is trained; the defaults are the paper's where it states them.

    Attributes:
        epochs: at most.
        batch_size: samples per step and process.
        learning_rate: of AdamW; the peak of it with the schedule `onecycle`.
        schedule: `constant`, or `onecycle` (warm-up and cosine decay over `epochs`).
        weight_decay: of AdamW.
        patience: epochs without a better validation loss after which training stops.
        clip: largest norm of the gradient.
        precision: `auto` computes in bfloat16 where the processor does, `float32` never.
        devices: how many processes (or GPUs) share the work.
        accelerator: `auto`, `cpu` or `gpu`.
        workers: processes that prepare samples, per device.
        tensorboard: write TensorBoard logs too.
    """

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    schedule: Literal["constant", "onecycle"] = "constant"
    weight_decay: float = Field(1e-4, ge=0)
    patience: int = Field(10, ge=1)
    clip: float = Field(1.0, gt=0)
    precision: Literal["auto", "float32"] = "auto"
    devices: int = Field(1, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    workers: int = Field(1, ge=0)
    tensorboard: bool = False
