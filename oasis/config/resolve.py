"""Resolving: from what a YAML file states to a checked configuration and its adapter."""

from collections.abc import Callable, Mapping
from typing import Any

from oasis.adapters.base import Adapter
from oasis.adapters.registry import find_adapter
from oasis.config.parts import balanced_rule, new_loss
from oasis.config.schema import RunConfig
from oasis.errors import ConfigError, OasisError, shown
from oasis.plugins import is_code

OF_ADAPTER = ("adapter", "run", "seed", "data_seed", "data", "thresholds")  # keys that an adapter is built of


def resolve(
    values: Mapping[str, Any], where: str = "configuration", located: Callable[[str], str] = str
) -> tuple[RunConfig, Adapter]:
    """Return the complete configuration that plain values state, and the adapter that it names.

    Args:
        values: by key; what they do not state is the adapter's default, or else the general one.
        where: they are from, for messages.
        located: gives the name under which code that is named as the adapter is run.

    Raises:
        ConfigError: an unknown key (with the nearest known one) or a value that does not fit.
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
        config = RunConfig.parse(RunConfig.merge(adapter.defaults, values))
        resolved = {"data": adapter.options.model_dump(mode="json"), "thresholds": adapter.limits}
        config = config.model_copy(update=resolved)
        _check(config, adapter)
    except OasisError as error:
        raise type(error)(f"{where}: {error}") from None
    return config, adapter


def code_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of code that settings state, by key.

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
    """Check what only configuration and adapter together can tell."""
    new_loss(config, adapter, None if balanced_rule(config) is None else {0: 1})
    if config.augmentation is not None and adapter.oriented:
        raise ConfigError(
            "augmentation: the context or truth of these samples contains directions, which flips and rotations "
            "would make wrong: remove the section"
        )


def _with_one_threshold(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings with the thresholds that earlier versions kept in the section `loss` at their place.

    They stated 0 where the loss took every pixel with intensity, which the adapter's thresholds do as well.
    """
    loss = values.get("loss")
    if not isinstance(loss, Mapping) or "thresholds" not in loss:
        return values
    moved = {"loss": {key: value for key, value in loss.items() if key != "thresholds"}}
    return {**({"thresholds": loss["thresholds"]} if loss["thresholds"] else {}), **values, **moved}
