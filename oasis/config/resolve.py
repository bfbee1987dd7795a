"""Resolving: from the settings of a YAML file to a validated configuration and its adapter."""

from collections.abc import Callable, Mapping
from typing import Any

from oasis.adapters.base import Adapter
from oasis.adapters.registry import find_adapter
from oasis.config.parts import balanced_rule, new_loss
from oasis.config.schema import RunConfig
from oasis.errors import ConfigError, OasisError, shown
from oasis.instances.grouping import check_grouping
from oasis.plugins import is_code

OF_ADAPTER = ("adapter", "run", "seed", "data_seed", "data", "thresholds")  # keys from which an adapter is built


def resolve(
    values: Mapping[str, Any], where: str = "configuration", located: Callable[[str], str] = str
) -> tuple[RunConfig, Adapter]:
    """Return the complete configuration given by plain values, and its adapter.

    Args:
        values: settings by key; a missing one is the adapter's default, or else the general one.
        where: where they are from, for messages.
        located: returns the name under which the code of the adapter is run.

    Raises:
        ConfigError: a key is unknown (with the most similar known one) or a value invalid.
    """
    try:
        name = values.get("adapter")
        if not isinstance(name, str):
            raise ConfigError(f"adapter: expected the name of an adapter, found {shown(name)}")
        kind = find_adapter(located(name))
        values = _with_one_threshold(values)
        own = RunConfig.parse({key: values[key] for key in OF_ADAPTER if key in values})
        seed = own.seed if own.data_seed is None else own.data_seed
        adapter = kind(own.data, seed, own.thresholds)
        grouping = {key: how.model_dump(mode="json") for key, how in adapter.grouping.items()}
        config = RunConfig.parse(RunConfig.merge({**adapter.defaults, "grouping": grouping}, values))
        resolved = {"data": adapter.options.model_dump(mode="json"), "thresholds": adapter.limits}
        config = config.model_copy(update=resolved)
        _check(config, adapter)
    except OasisError as error:
        raise type(error)(f"{where}: {error}") from None
    return config, adapter


def code_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of code in settings, by key.

    Example:
        >>> code_names({"adapter": "own.py:Mine", "model": {"name": "unet"}})
        {'adapter': 'own.py:Mine'}
    """
    model = values.get("model")
    named = {
        "adapter": values.get("adapter"),
        "model.name": model.get("name") if isinstance(model, Mapping) else "",
    }
    return {key: name for key, name in named.items() if isinstance(name, str) and is_code(name)}


def _check(config: RunConfig, adapter: Adapter) -> None:
    """Check that configuration and adapter are compatible."""
    check_grouping(config.grouping or {}, adapter.classes, adapter.spatial_dims)
    new_loss(config, adapter, None if balanced_rule(config) is None else {0: 1})
    if config.augmentation is not None and adapter.oriented:
        raise ConfigError(
            "augmentation: the context or truth of these samples contains directions, which flips and rotations "
            "would make wrong: remove the section"
        )


def _with_one_threshold(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings with `thresholds` at the top level, where earlier versions had them in the section `loss`.

    These stated 0 for a loss in which every pixel with intensity counted, as the adapter's thresholds do.
    """
    loss = values.get("loss")
    if not isinstance(loss, Mapping) or "thresholds" not in loss:
        return values
    moved = {"loss": {key: value for key, value in loss.items() if key != "thresholds"}}
    return {**({"thresholds": loss["thresholds"]} if loss["thresholds"] else {}), **values, **moved}
