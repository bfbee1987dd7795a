"""The contract of a backbone: feature maps of the size of the image, for images of any size."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.errors import ModelError, nearest
from oasis.models.flat import bounded_norms

DIMENSIONS = (1, 2, 3)
COMMON = ("in_channels", "out_channels", "spatial_dims")  # arguments of every backbone
PADDINGS = ("reflect", "zero")
FAR = {1: 2048, 2: 2048, 3: 512}  # pixels: more than the range of convolutions, as much as is affordable in 3D
ROUNDING = 1e-6  # change by the order of summation, relative to the largest value
FRAME_NORMS = (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
DOUBLINGS = 4  # size doublings to try before giving up
LONG = 300  # maximum characters of another library's error, or of a list of names

Margins = Sequence[tuple[int, int]]
B = TypeVar("B", bound="Backbone")


class Backbone(nn.Module, ABC):
    """A network that turns an image into feature maps of the same size.

    A network that accepts only some sizes declares them: the image is then padded on both sides to the next of
    them, and the maps are cropped back. A subclass implements `compute`; the arguments become attributes.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the maps.
        spatial_dims: 1, 2 or 3.
        divisor: the size of every axis must be a multiple of this.
        minimum_size: the smallest number of pixels along an axis.
        padding: `"reflect"` mirrors the image at its outermost pixels, `"zero"` adds zeros.
        image_size: the size, per axis or for all, of a network that takes images of one size only; smaller images
            are padded.

    Attributes:
        encoder_channels: channels of the features from `compute_encoded`; None if it has none.
        bands: number of the first channels that are the image; the others are context. None: all of them.

    Raises:
        ModelError: an argument is out of range.

    Example:
        >>> class Halves(Backbone):
        ...     def compute(self, image):
        ...         assert image.shape[-1] % 2 == 0
        ...         return image / 2
        >>> Halves(in_channels=1, out_channels=1, spatial_dims=1, divisor=2)(torch.ones(1, 1, 3))
        tensor([[[0.5000, 0.5000, 0.5000]]])
    """

    encoder_channels: int | None = None
    bands: int | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        divisor: int = 1,
        minimum_size: int = 1,
        padding: str = "reflect",
        image_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels)
        check_dimension(spatial_dims)
        if padding not in PADDINGS:
            raise ModelError(f"unknown padding {padding!r}; {nearest(str(padding), PADDINGS)}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.spatial_dims = spatial_dims
        self.divisor = divisor
        self.minimum_size = minimum_size
        self.padding = padding
        self.image_size = None if image_size is None else _per_axis(image_size, spatial_dims)

    @property
    def grid(self) -> int:
        """The period in pixels under whose shifts the network is equivariant: tiles begin at multiples of it."""
        return self.divisor

    @abstractmethod
    def compute(self, image: Tensor) -> Tensor:
        """Return (b, out_channels, *S) for `image` (b, in_channels, *S) of a size that the network accepts."""

    def compute_encoded(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the maps of `compute` and the deepest features of the encoder (b, encoder_channels, *coarser)."""
        return self.compute(image), None

    def forward(self, image: Tensor) -> Tensor:
        """Return (b, out_channels, *S) for `image` (b, in_channels, *S) of any size; see `forward_encoded`."""
        return self.forward_encoded(image)[0]

    def forward_encoded(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (b, out_channels, *S) for `image` (b, in_channels, *S) of any size, and the encoder's features.

        The features cover the image evenly, including the margins by which it is padded.

        Raises:
            ModelError: the image has another number of axes or channels or exceeds `image_size`, the training
                batch is too small for batch normalisation, or the maps of the network have another shape.
        """
        self._check(image)
        margins = self.margins(image.shape[2:])
        padded = pad(image, margins, self.padding)
        try:
            with bounded_norms(padded):
                maps, encoded = self.compute_encoded(padded)
        except ValueError as error:
            if "when training" not in str(error):
                raise
            raise ModelError(f"needs a larger training batch or image: {reason(error)}") from error
        expected = (image.shape[0], self.out_channels, *padded.shape[2:])
        if maps.shape != expected:
            alike = (maps.shape[0], *maps.shape[2:]) == (expected[0], *expected[2:])
            mend = f": its last layer needs {self.out_channels} channels" if alike else ""
            raise ModelError(
                f"expected maps of shape {expected} from the network, found {tuple(maps.shape)}{mend}"
            )
        return crop(maps, margins), encoded

    @cached_property
    def sees_whole_frame(self) -> bool:
        """Whether the maps at a pixel depend on the whole frame: by normalisation, global pooling or attention.

        Such a network is not suitable for tiles, nor for images of another size than in training. Normalisations
        are recognised; otherwise it is tested whether one end of a long image changes the maps at the other.
        """
        if self.image_size is not None or any(isinstance(module, FRAME_NORMS) for module in self.modules()):
            return True
        return self._reaches_far()

    @torch.no_grad()
    def _reaches_far(self) -> bool:
        training, least = self.training, max(self.minimum_size, self.divisor)
        size = [least] * (self.spatial_dims - 1) + [FAR[self.spatial_dims]]
        image = torch.rand(1, self.in_channels, *size, generator=torch.Generator().manual_seed(0))
        pair = torch.cat([image, image]).to(next(self.parameters()))
        pair[1, ..., -least:] += 1
        self.eval()
        try:
            one, other = self(pair)[..., :least]
            return bool((one - other).abs().max() > ROUNDING * one.abs().max())
        except Exception:  # it does not accept long images, so that this is unknown
            return True
        finally:
            self.train(training)

    def _check(self, image: Tensor) -> None:
        if image.ndim != self.spatial_dims + 2 or image.shape[1] != self.in_channels:
            axes = ", ".join("DHW"[-self.spatial_dims :])
            raise ModelError(
                f"expected an image (batch, {self.in_channels}, {axes}), found {tuple(image.shape)}: "
                f"this model has in_channels {self.in_channels} and spatial_dims {self.spatial_dims}"
            )

    def margins(self, size: Sequence[int]) -> Margins:
        """Return the number of pixels to add before and after each axis."""
        if self.image_size is not None:
            if any(own > most for own, most in zip(size, self.image_size, strict=True)):
                raise ModelError(
                    f"built for images of {_times(self.image_size)} pixels, found {_times(size)}: "
                    "set img_size to the largest image, or cut it into tiles"
                )
            missing = [most - own for own, most in zip(size, self.image_size, strict=True)]
        else:
            # In the trace of a program a size is a symbol, and declared to be at least the minimum.
            missing = [max(self.minimum_size - own, 0) if isinstance(own, int) else 0 for own in size]
            missing = [more + -(own + more) % self.divisor for own, more in zip(size, missing, strict=True)]
        return [(more // 2, more - more // 2) for more in missing]


class Wrapped(Backbone):
    """A network from elsewhere as a backbone.

    Args:
        network: returns maps (b, out_channels, *S) for an image (b, in_channels, *S).
        in_channels: channels of the image.
        out_channels: channels of the maps.
        spatial_dims: 1, 2 or 3.
        divisor: the size of every axis must be a multiple of this.
        minimum_size: the smallest number of pixels along an axis.
        padding: `"reflect"` or `"zero"`.
        image_size: the size of a network that accepts only one.

    Example:
        >>> Wrapped(nn.AvgPool1d(2, 1), 1, 1, spatial_dims=1)(torch.ones(1, 1, 5))
        Traceback (most recent call last):
            ...
        oasis.errors.ModelError: expected maps of shape (1, 1, 5) from the network, found (1, 1, 4)
    """

    def __init__(
        self,
        network: nn.Module,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        divisor: int = 1,
        minimum_size: int = 1,
        padding: str = "reflect",
        image_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, spatial_dims, divisor, minimum_size, padding, image_size)
        self.network = network

    def compute(self, image: Tensor) -> Tensor:
        """Return the maps of the network, also if it returns them as a list of one."""
        maps = self.network(image)
        if isinstance(maps, list | tuple) and len(maps) == 1:
            maps = maps[0]
        if not isinstance(maps, Tensor):
            raise ModelError(f"expected one tensor of maps from the network, found {type(maps).__name__}")
        return maps


def own_backbone(module: nn.Module, in_channels: int, out_channels: int, spatial_dims: int) -> Backbone:
    """Return the user's module as a backbone that accepts all sizes, unless the module declares its own.

    Args:
        module: may have the attributes `divisor` and `minimum_size`.
        in_channels: channels of the image.
        out_channels: required channels of its maps.
        spatial_dims: 1, 2 or 3.

    Raises:
        ModelError: it is not a module, or a backbone for other channels or dimensions.

    Example:
        >>> own_backbone(nn.Conv1d(1, 2, 3, padding=1), 1, 2, spatial_dims=1)(torch.zeros(1, 1, 7)).shape
        torch.Size([1, 2, 7])
    """
    if not isinstance(module, nn.Module):
        raise ModelError(f"expected a torch.nn.Module, found {type(module).__name__}")
    if not isinstance(module, Backbone):
        sizes = {name: getattr(module, name) for name in ("divisor", "minimum_size") if hasattr(module, name)}
        return Wrapped(module, in_channels, out_channels, spatial_dims, **sizes)
    found = (module.in_channels, module.out_channels, module.spatial_dims)
    if found != (in_channels, out_channels, spatial_dims):
        raise ModelError(
            f"expected a backbone from {in_channels} to {out_channels} channels in {spatial_dims}D, "
            f"found one from {found[0]} to {found[1]} in {found[2]}D"
        )
    return module


def settle(backbone: B, usual: Sequence[int] | None = None) -> B:
    """Return a backbone with `minimum_size` doubled until it accepts a blank image of that size.

    Args:
        backbone: the backbone as it was built.
        usual: the image size that its network was designed for, if known.

    Raises:
        ModelError: it accepts none of the sizes tried.

    Example:
        >>> settle(Wrapped(nn.Sequential(nn.AvgPool1d(8), nn.Upsample(scale_factor=8)), 1, 1, 1, 4)).minimum_size
        8
    """
    backbone.eval()
    tried = []
    for _ in range(DOUBLINGS if backbone.image_size is None else 1):
        size = backbone.image_size or (max(backbone.minimum_size, backbone.divisor),) * backbone.spatial_dims
        tried.append(_times(size))
        try:
            with torch.no_grad():
                backbone(torch.zeros(1, backbone.in_channels, *size))
        except Exception as error:
            backbone.minimum_size, problem = 2 * max(size), error
        else:
            return backbone.train()
    advice = f"; made for images of {_times(usual)}: a network of one size needs it as img_size" if usual else ""
    raise ModelError(f"accepts no image of {' or '.join(tried)} pixels ({reason(problem)}){advice}") from problem


def pad(image: Tensor, margins: Margins, padding: str = "reflect") -> Tensor:
    """Return `image` (b, c, *S) with padded spatial axes; without margins it is returned unchanged.

    Args:
        image: the image to be padded.
        margins: pixels to add before and after each axis; reflection is repeated for margins wider than the image.
        padding: `"reflect"` or `"zero"`.

    Example:
        >>> pad(torch.tensor([[[1.0, 2.0, 3.0]]]), [(1, 4)])
        tensor([[[2., 1., 2., 3., 2., 1., 2., 3.]]])
    """
    if padding == "zero":
        widths = [width for margin in reversed(margins) for width in margin]
        return F.pad(image, widths) if any(widths) else image
    for axis, (before, behind) in enumerate(margins, start=2):
        if before or behind:
            last = image.shape[axis] - 1
            steps = torch.arange(-before, last + 1 + behind, device=image.device) % max(2 * last, 1)
            image = image.index_select(axis, last - (steps - last).abs())
    return image


def crop(maps: Tensor, margins: Margins) -> Tensor:
    """Return maps (b, c, *S) without the margins.

    Example:
        >>> crop(torch.tensor([[[2.0, 1.0, 2.0, 3.0, 2.0]]]), [(1, 1)])
        tensor([[[1., 2., 3.]]])
    """
    for axis, (before, behind) in enumerate(margins, start=2):
        if before or behind:
            maps = maps.narrow(axis, before, maps.shape[axis] - before - behind)
    return maps


def check_options(options: Iterable[str], known: Iterable[str]) -> None:
    """Check the names of a model's options.

    Raises:
        ModelError: a name is unknown.

    Example:
        >>> check_options(["dept"], ["depth", "norm"])
        Traceback (most recent call last):
            ...
        oasis.errors.ModelError: unknown option 'dept'; did you mean 'depth'?
    """
    known = list(known)
    for option in options:
        if option not in known:
            raise ModelError(f"unknown option {option!r}; {nearest(option, known)}")


def check_counts(**counts: int) -> None:
    """Check numbers of channels, levels and the like.

    Raises:
        ModelError: a number is not an integer of at least 1.
    """
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ModelError(f"{name} must be a whole number of at least 1, found {count!r}")


def check_dimension(spatial_dims: int) -> None:
    """Check a number of spatial axes.

    Raises:
        ModelError: it is not 1, 2 or 3.
    """
    if spatial_dims not in DIMENSIONS:
        raise ModelError(f"spatial_dims must be 1, 2 or 3, found {spatial_dims!r}")


def hint(name: str, known: Iterable[str], pattern: str) -> str:
    """Return the most similar known name, or all names, or how to list them if there are many."""
    text = nearest(name, known)
    return text if len(text) < LONG else f"oasis.list_models({pattern!r}) lists them"


@contextmanager
def fetching(weights: str | None) -> Iterator[None]:
    """Turn a failed download of weights into an error of one line.

    Raises:
        ModelError: there is neither a network connection nor a cached file.
    """
    try:
        yield
    except OSError as error:
        if weights is None:
            raise
        raise ModelError(
            f"encoder_weights {weights!r} could not be fetched: they need a network connection or a "
            f"cached file; encoder_weights: null draws random ones instead ({reason(error)})"
        ) from error


def reason(error: Exception) -> str:
    r"""Return the message of another library's error, in one line.

    Example:
        >>> reason(ValueError("too\n  small"))
        'too small'
    """
    return " ".join(str(error).split())[:LONG] or type(error).__name__


def _per_axis(size: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    sizes = (size,) * spatial_dims if isinstance(size, int) else tuple(size)
    if len(sizes) != spatial_dims:
        raise ModelError(f"img_size must be one number or {spatial_dims}, found {size!r}")
    check_counts(img_size=min(sizes))
    return sizes


def _times(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
