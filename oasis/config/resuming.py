"""Resuming: the settings that may change in a run that has started, because they apply to the rest of it."""

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
    "training.nodes",
    "training.accelerator",
    "training.workers",
    "training.tensorboard",
)
SCHEDULED = (
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "training.devices",
    "training.nodes",
)


def check_resumable(begun: RunConfig, now: RunConfig) -> None:
    """Check that a run may be resumed with changed settings.

    Args:
        begun: the configuration of the run.
        now: the configuration to resume with.

    Raises:
        ConfigError: a key must not change; the message has both values.
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
