"""Sizes: which batches and image sizes an exported program takes."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from oasis.errors import ModelError
from oasis.models.backbone import Backbone

MARGIN = 5  # pixels by which a size of the check is odd
BATCHES = (1, 3, 2)  # of the check


@dataclass(frozen=True)
class Sizes:
    """The batches and image sizes of a program.

    Attributes:
        batch: `any`, or one image at a time.
        kind: `any` size from `least` on, `multiples` of `step`, or `trained`: that size alone.
        trained: the spatial size in training, or None.
        least: the smallest number of pixels along an axis.
        step: the number that sizes are multiples of.
        dims: number of spatial axes.
    """

    batch: Literal["any", "one"]
    kind: Literal["any", "multiples", "trained"]
    trained: tuple[int, ...] | None
    least: int
    step: int
    dims: int

    @property
    def traced(self) -> tuple[int, ...]:
        """A size for the trace, of other numbers along every axis."""
        if self.kind == "trained":
            return self._fixed
        return tuple(self.step * (2 + axis + self.least // self.step) for axis in range(self.dims))

    @property
    def _fixed(self) -> tuple[int, ...]:
        if self.trained is None:
            raise ModelError("the size in training is not known, and the model takes no images of other sizes")
        return self.trained

    def cases(self) -> list[tuple[int, tuple[int, ...]]]:
        """Return batches and sizes to be checked: the smallest one, that in training and one larger."""
        if self.kind == "trained":
            sizes = [self._fixed] * len(BATCHES)
        else:
            least = (self.least,) * self.dims
            known = tuple(max(length, self.least) for length in self.trained or least)
            rest = MARGIN if self.step == 1 else self.step
            sizes = [least, known, tuple(length + (1 + axis) * rest for axis, length in enumerate(known))]
        batches = BATCHES if self.batch == "any" else (1, 1, 1)
        return list(zip(batches, sizes, strict=True))

    def dynamic(self, inputs: int) -> tuple[dict[int, Any], ...] | None:
        """Return torch's description of the axes of variable length, for a number of inputs."""
        axes: dict[int, Any] = {}
        if self.batch == "any":
            axes[0] = torch.export.Dim("batch", min=1)
        for axis in range(self.dims if self.kind != "trained" else 0):
            name = ("x", "y", "z")[self.dims - 1 - axis]
            if self.kind == "any":
                axes[2 + axis] = torch.export.Dim(name, min=self.least)
            else:
                steps = torch.export.Dim(f"{name}_steps", min=-(-self.least // self.step))
                axes[2 + axis] = self.step * steps
        return tuple(dict(axes) for _ in range(inputs)) if axes else None

    def text(self) -> str:
        """Return the sizes in words.

        Example:
            >>> Sizes("any", "multiples", (96, 64), 32, 32, 2).text()
            'any number of images, of any multiple of 32 pixels along every axis'
        """
        count = "any number of images" if self.batch == "any" else "one image at a time"
        if self.kind == "trained":
            return f"{count}, of {' x '.join(map(str, self._fixed))} pixels only"
        if self.kind == "multiples":
            return f"{count}, of any multiple of {self.step} pixels along every axis"
        return f"{count}, of any size from {self.least} pixels on along every axis"


def possible(backbone: Backbone, trained: tuple[int, ...] | None, fixed: bool) -> list[Sizes]:
    """Return the sizes to try, the most general first.

    Args:
        backbone: the network, which declares its sizes.
        trained: the spatial size in training, or None.
        fixed: only that size.

    Example:
        >>> from oasis.models import UNet
        >>> [sizes.kind for sizes in possible(UNet(1, 2), (96, 96), fixed=False)]
        ['any', 'any', 'trained', 'trained']
    """
    step, dims = backbone.divisor, backbone.spatial_dims
    least = -(-max(backbone.minimum_size, step) // step) * step
    known: list[tuple[Literal["any", "one"], Literal["any", "multiples", "trained"], int]] = []
    fits = trained is None or all(length >= least and length % step == 0 for length in trained)
    if backbone.image_size is None and not fixed and fits:
        kind: Literal["any", "multiples"] = "any" if step == 1 else "multiples"
        known += [("any", kind, least), ("any", kind, least + step)]  # features of one pixel can prevent the first
    if trained is not None or not known:
        known += [("any", "trained", least), ("one", "trained", least)]
    return [Sizes(batch, kind, trained, smallest, step, dims) for batch, kind, smallest in known]
