"""The parts of a run that follow from its configuration and adapter: separator and loss."""

from collections.abc import Callable, Mapping

import torch

from oasis.adapters.base import Adapter
from oasis.config.schema import RunConfig
from oasis.data.brightness import Brightness
from oasis.data.quantities import Quantities
from oasis.loss.overlap import OverlapLoss
from oasis.loss.weights import BalancedWeights, parse_rule
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator


def new_separator(
    config: RunConfig,
    adapter: Adapter,
    trained_size: tuple[int, ...] | None = None,
    located: Callable[[str], str] = str,
    brightness: Brightness | None = None,
) -> Separator:
    """Return a new separator with random weights from the seed of the run.

    Args:
        config: the configuration of the run.
        adapter: the adapter of the domain.
        trained_size: the spatial size of the images that it will be trained on.
        located: returns the name under which the code of the model is run.
        brightness: that of the images that it will be trained on.
    """
    options = SeparatorOptions(
        classes=adapter.classes,
        spatial_dims=adapter.spatial_dims,
        bands=adapter.bands,
        context=adapter.context,
        unit=adapter.unit,
        model=config.model,
        scaling=config.scaling,
        head=config.head,
        objects=config.objects,
        quantities=adapter.quantities if config.objects else Quantities(),
        interchangeable=tuple(map(tuple, adapter.interchangeable)),
        trained_size=trained_size,
        brightness=brightness,
        adapter=config.adapter,
        identity={"run": config.run, "configuration": config.fingerprint},
    )
    model = {**options.model, "name": located(str(options.model.get("name", "unet")))}
    torch.manual_seed(config.seed)
    separator = Separator(options.model_copy(update={"model": model}))
    separator.options = options
    return separator


def balanced_rule(config: RunConfig) -> BalancedWeights | None:
    """Return the rule that balances region weights by pixels, or None if there is none."""
    return parse_rule(config.loss.region_weights).balanced


def new_loss(config: RunConfig, adapter: Adapter, region_counts: Mapping[int, float] | None = None) -> OverlapLoss:
    """Return the loss.

    Args:
        config: the configuration of the run.
        adapter: the adapter of the domain.
        region_counts: pixels by region code, required for balanced weights.
    """
    return OverlapLoss(
        adapter.classes,
        **config.loss.model_dump(),
        thresholds=adapter.limits,
        spatial_dims=adapter.spatial_dims,
        interchangeable=adapter.interchangeable,
        region_counts=region_counts,
    )
