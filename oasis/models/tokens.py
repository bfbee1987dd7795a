"""Tokens: the cells of a sparse image that contain something, as a padded list with features and places."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from oasis.errors import DataError

MOST = 8192  # cells of one image
FREQUENCIES = 6  # of waves, by default


class Tokens(NamedTuple):
    """Tokens of a batch, padded to the longest list.

    Attributes:
        features: (b, T, F).
        places: (b, T, d) from -1 to 1 along every axis.
        mask: (b, T) bool, False where a token is padding.
    """

    features: Tensor
    places: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Cells:
    """The cells of a batch that contain something, padded to the longest list.

    Attributes:
        index: (b, T) int64, in the flattened image; 0 in padding.
        mask: (b, T) bool, False in padding.
        shape: the spatial size of the image.
    """

    index: Tensor
    mask: Tensor
    shape: tuple[int, ...]

    def gather(self, grid: Tensor) -> Tensor:
        """Return the values (b, T, F) of a grid (b, F, *S) in these cells; those of padding have no meaning."""
        flat = grid.flatten(2).transpose(1, 2)
        return flat.gather(1, self.index.unsqueeze(2).expand(-1, -1, flat.shape[2]))

    def scatter(self, values: Tensor, empty: Tensor) -> Tensor:
        """Return a grid (b, F, *S) with values (b, T, F) in these cells, and `empty` (F,) in all others.

        Example:
            >>> cells = occupied(torch.tensor([[[0.0, 5.0, 0.0]]]))
            >>> cells.scatter(torch.tensor([[[7.0]]]), torch.tensor([-1.0]))
            tensor([[[-1.,  7., -1.]]])
        """
        size = prod(self.shape)
        grid = empty.to(values.dtype).repeat(len(values), size + 1, 1)  # the last one takes what is padding
        index = torch.where(self.mask, self.index, size).unsqueeze(2).expand_as(values)
        grid = grid.scatter(1, index, values)[:, :size]
        return grid.transpose(1, 2).reshape(len(values), -1, *self.shape)

    def coordinates(self) -> Tensor:
        """Return the place of every cell along every axis (b, T, d), int64."""
        rest, axes = self.index, []
        for length in reversed(self.shape):
            axes.append(rest % length)
            rest = torch.div(rest, length, rounding_mode="floor")
        return torch.stack(axes[::-1], dim=2)

    def places(self) -> Tensor:
        """Return the centres of the cells (b, T, d), from -1 to 1 along every axis."""
        return (self.coordinates() * 2 + 1) / self.index.new_tensor(self.shape) - 1


def occupied(image: Tensor, most: int = MOST, where: str = "tokens") -> Cells:
    """Return the cells in which any channel of an image (b, c, *S) is above 0.

    Args:
        image: the images.
        most: largest number of cells in one image.
        where: what takes them, for the message.

    Raises:
        DataError: an image has more cells above 0.

    Example:
        >>> cells = occupied(torch.tensor([[[0.0, 5.0, 0.0]], [[1.0, 0.0, 2.0]]]))
        >>> cells.index.tolist(), cells.mask.tolist()
        ([[1, 0], [0, 2]], [[True, False], [True, True]])
    """
    lit = (image > 0).any(1).flatten(1)
    if torch.compiler.is_compiling():  # a program has no shapes that depend on values: all cells, most are padding
        cell = torch.arange(lit.shape[1], device=image.device)
        return Cells(cell.expand_as(lit), lit, tuple(image.shape[2:]))
    number = lit.sum(1)
    longest = max(int(number.max()), 1)
    if longest > most:
        raise DataError(
            f"{where}: an image has {longest:,} cells above 0, more than {most:,}: cut it into tiles, set what is "
            "noise to 0, or use model.name unet with objects.features encoder"
        )
    index = torch.zeros(len(image), longest, dtype=torch.int64, device=image.device)
    sample, cell = lit.nonzero(as_tuple=True)
    index[sample, (lit.cumsum(1) - 1)[lit]] = cell
    mask = torch.arange(longest, device=image.device) < number.unsqueeze(1)
    return Cells(index, mask, tuple(image.shape[2:]))


def waves(values: Tensor, frequencies: int = FREQUENCIES) -> Tensor:
    """Return sines and cosines (..., 2 F c) of values (..., c) at the frequencies 1, 2, 4, ..., F of them.

    By these a network tells a bright cell from one that is some per cent brighter, better than by the value alone.

    Source: Fourier features, Tancik et al. 2020, arXiv 2006.10739.

    Example:
        >>> waves(torch.tensor([[1.0]]), 2)
        tensor([[ 0.8415,  0.9093,  0.5403, -0.4161]])
    """
    phases = values.unsqueeze(-1) * 2.0 ** torch.arange(frequencies, device=values.device, dtype=values.dtype)
    return torch.cat([phases.sin(), phases.cos()], dim=-1).flatten(-2)


def grid_tokens(grid: Tensor) -> Tokens:
    """Return all cells of a grid (b, F, *s) as tokens.

    Example:
        >>> grid_tokens(torch.zeros(2, 8, 3, 3)).places.shape
        torch.Size([2, 9, 2])
    """
    spots = places(grid.shape[2:], grid.device).flatten(1).T.expand(len(grid), -1, -1)
    mask = torch.ones(spots.shape[:2], dtype=torch.bool, device=grid.device)
    return Tokens(grid.flatten(2).transpose(1, 2), spots, mask)


def places(shape: Sequence[int], device: torch.device) -> Tensor:
    """Return the centres of cells of equal size (d, *S), from -1 to 1 along every axis.

    Example:
        >>> places([4], torch.device("cpu"))
        tensor([[-0.7500, -0.2500,  0.2500,  0.7500]])
    """
    axes = [(torch.arange(size, device=device) * 2 + 1) / size - 1 for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))
