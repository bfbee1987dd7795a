"""The program: what a separator does to a batch of images, as a function from tensors to tensors."""

import torch
from torch import Tensor, nn

from oasis.scaling import AsinhScale, LogScale, Scaling
from oasis.separator.separator import Separator


class Program(nn.Module):
    """A separator from images in physical units to maps in physical units: scaling, heads and gate are within.

    Pixels that are not finite count as 0, and the maps of a blank image are blank. The arguments are named by
    `inputs`, the results by `outputs`: the maps (b, N, B, *S), then presence and quantities (b, N) where the
    separator predicts them.

    Args:
        separator: a separator in evaluation mode, on the CPU.

    Example:
        >>> from oasis.separator.options import SeparatorOptions
        >>> options = SeparatorOptions(classes=("ER", "NR"), model={"name": "unet", "base_channels": 4})
        >>> program = Program(Separator(options).eval())
        >>> program.inputs, program.outputs, program(torch.ones(1, 1, 20, 30))[0].shape
        (('image',), ('maps',), torch.Size([1, 2, 1, 20, 30]))
    """

    def __init__(self, separator: Separator) -> None:
        super().__init__()
        self.separator = separator
        options = separator.options
        names = {"image": True, "context": options.context > 0, "valid": fitted_over_valid(options.scaling)}
        self.inputs = tuple(name for name, wanted in names.items() if wanted)
        self.outputs = ("maps", *self._columns())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the results in the order of `outputs` for arguments in the order of `inputs`."""
        given = dict(zip(self.inputs, tensors, strict=True))
        image = given["image"]
        prediction = self.separator(image, given.get("valid"), given.get("context"))
        lit = (image.isfinite() & (image != 0)).flatten(1).any(1)
        maps = torch.where(lit.view(-1, *[1] * (image.ndim)), prediction.maps, 0)
        return maps, *self.separator.columns(prediction).values()

    def example(self, batch: int, size: tuple[int, ...], seed: int = 0) -> tuple[Tensor, ...]:
        """Return random arguments; in a batch, one image has bad and negative pixels and the last one is blank.

        Args:
            batch: number of images.
            size: their spatial size.
            seed: of the random numbers.
        """
        options, generator = self.separator.options, torch.Generator().manual_seed(seed)
        image = torch.empty(batch, options.bands, *size).exponential_(generator=generator)
        image *= typical(options.scaling) * 10 ** torch.randint(
            -1, 3, (batch, *[1] * (len(size) + 1)), generator=generator
        )
        if batch > 1:
            image[0].flatten()[:2] = torch.tensor([torch.nan, -1.0])
            image[-1] = 0
        context = torch.rand(batch, options.context, *size, generator=generator)
        valid = torch.rand(batch, 1, *size, generator=generator) < 0.9
        named = {"image": image, "context": context, "valid": valid}
        return tuple(named[name] for name in self.inputs)

    def _columns(self) -> tuple[str, ...]:
        options, backbone = self.separator.options, self.separator.backbone
        if options.objects is None and not options.head.presence:
            return ()
        size = options.trained_size or (max(backbone.minimum_size, backbone.divisor),) * options.spatial_dims
        image, context = torch.ones(1, options.bands, *size), torch.ones(1, options.context, *size)
        with torch.no_grad():
            return tuple(self.separator.columns(self.separator(image, context=context)))


def fitted_over_valid(scaling: Scaling) -> bool:
    """Return whether a scaling is fitted over valid pixels only.

    Example:
        >>> fitted_over_valid(LogScale()), fitted_over_valid(LogScale(over="valid"))
        (False, True)
    """
    if isinstance(scaling, AsinhScale):
        return scaling.noise is None
    return scaling.over == "valid"


def typical(scaling: Scaling) -> float:
    """Return an intensity in physical units for which the scaling was made, 1 where it says none."""
    if isinstance(scaling, LogScale):
        return scaling.scale or 1.0
    noise = scaling.noise
    return 1.0 if noise is None else max(noise) if isinstance(noise, tuple) else noise
