"""Resuming: which settings of a run that has begun may change, since the rest of its training obeys them."""

from oasis.config.changes import leaves
from oasis.config.schema import RunConfig
from oasis.errors import ConfigError, shown

FREE = (
    "run",
    "calibration",
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "training.weight_decay",
    "training.patience",
    "training.clip",
    "training.precision",
    "training.devices",
    "training.accelerator",
    "training.workers",
    "training.tensorboard",
)
SCHEDULED = ("training.epochs", "training.batch_size", "training.learning_rate", "training.devices")


def check_resumable(begun: RunConfig, now: RunConfig) -> None:
    """Check that a run may go on with other settings than it has begun with.

    Args:
        begun: the configuration that the run has.
        now: the one to go on with.

    Raises:
        ConfigError: the first key that must not change, with both its values.
    """
    before, after = (leaves(config.model_dump(mode="json")) for config in (begun, now))
    for key in dict.fromkeys([*before, *after]):
        old, new = (shown(values.get(key)) for values in (before, after))
        if before.get(key) == after.get(key):
            continue
        if not any(key == free or key.startswith(f"{free}.") for free in FREE):
            raise ConfigError(
                f"{key}: cannot change in a run that has begun: it has {old}, found {new}; leave it as it is, or "
                "begin a new run"
            )
        if now.training.schedule == "onecycle" and key in SCHEDULED:
            raise ConfigError(
                f"{key}: cannot change in a run that has begun under the schedule onecycle: it has {old}, found "
                f"{new}; leave it as it is, or begin a new run"
            )
