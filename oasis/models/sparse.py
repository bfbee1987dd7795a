"""A transformer over the cells of a sparse image that contain something."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.errors import ModelError
from oasis.models.backbone import Backbone, check_counts
from oasis.models.tokens import FREQUENCIES, MOST, Cells, occupied, waves

POSITION = 0.3  # standard deviation of new embeddings of places
MOST_FREQUENCIES = 16
GROUPS = 4  # of images with similar numbers of cells, which are computed one after the other on CPUs


class SparseTransformer(Backbone):
    """A transformer whose tokens are the cells above 0: for images in which most cells are empty.

    A token is the sum of embeddings of its place along each axis and of its channels, image and context, with
    sines and cosines of these by which small differences are seen. One more token, the same for all images, lets
    an image without any be computed. The encoder's output is written back to the cells, and all other cells have
    the same trained output. Cost grows with the cells above 0, and that of attention with their square, not with
    the size of the image.

    Source: the encoder of Alonso-Monsalve et al., arXiv 2310.19695; here in plain torch, with the normalisation
    before attention and perceptron.

    Args:
        in_channels: channels of the input: those of the image, of which there are `bands`, then context.
        out_channels: channels of the output.
        spatial_dims: 1, 2 or 3.
        width: channels of a token.
        layers: number of layers.
        heads: number of attention heads, which divide the width.
        expansion: factor by which the perceptrons are wider than the tokens.
        dropout: fraction of values that are dropped in training.
        extent: largest number of cells along an axis.
        most: largest number of cells above 0 in one image.
        frequencies: number of frequencies of the sines and cosines of channels; 0 for none.

    Raises:
        ModelError: an argument is out of range.

    Example:
        >>> model = SparseTransformer(in_channels=1, out_channels=2, spatial_dims=3, width=16, layers=1)
        >>> image = torch.zeros(1, 1, 7, 7, 7)
        >>> image[0, 0, 3, 3, 3] = 5
        >>> maps = model(image)
        >>> maps.shape, bool((maps[0, :, 0, 0, 0] == maps[0, :, 6, 6, 6]).all())
        (torch.Size([1, 2, 7, 7, 7]), True)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int = 2,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.0,
        extent: int = 128,
        most: int = MOST,
        frequencies: int = FREQUENCIES,
    ) -> None:
        super().__init__(in_channels, out_channels, spatial_dims)
        check_counts(width=width, layers=layers, heads=heads, expansion=expansion, extent=extent, most=most)
        if not (isinstance(frequencies, int) and 0 <= frequencies <= MOST_FREQUENCIES):
            raise ModelError(f"frequencies must be from 0 to {MOST_FREQUENCIES}, found {frequencies!r}")
        if width % heads:
            raise ModelError(f"heads: {heads} do not divide a width of {width}")
        if not (isinstance(dropout, int | float) and 0 <= dropout < 1):
            raise ModelError(f"dropout must be at least 0 and below 1, found {dropout!r}")
        self.sees_whole_frame = True
        self.extent, self.most = extent, most
        self.frequencies = frequencies
        self.channels = nn.Linear(in_channels * (1 + 2 * frequencies), width)
        self.axes = nn.ModuleList([nn.Embedding(extent, width) for _ in range(spatial_dims)])
        self.anywhere = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList([EncoderLayer(width, heads, expansion, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, out_channels)
        self.empty = nn.Parameter(torch.zeros(out_channels))
        for axis in self.axes:
            nn.init.normal_(axis.weight, std=POSITION)  # type: ignore[arg-type]

    def compute(self, image: Tensor) -> Tensor:
        """Return (b, out_channels, *S) for `image` (b, in_channels, *S).

        Raises:
            ModelError: it is larger than `extent`.
            DataError: it has more cells above 0 than `most`.
        """
        if max(image.shape[2:]) > self.extent:
            raise ModelError(
                f"built for at most {self.extent} cells along an axis, found {max(image.shape[2:])}: set extent"
            )
        cells = occupied(image[:, : self.bands], self.most, "model")
        x = self._embed(image, cells)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return cells.scatter(self._encode(x, cells.mask), self.empty)
        number = cells.mask.sum(1)
        order, found = number.argsort(stable=True), []
        for rows in order.chunk(GROUPS):  # padded to their own longest list, not to that of the batch
            longest = max(int(number[rows[-1]]), 1)
            part = self._encode(x[rows, :longest], cells.mask[rows, :longest])
            found.append(F.pad(part, (0, 0, 0, x.shape[1] - longest)))
        return cells.scatter(torch.cat(found)[order.argsort()], self.empty)

    def _embed(self, image: Tensor, cells: Cells) -> Tensor:
        """Return the tokens of all cells above 0 (b, T, width)."""
        values = cells.gather(image)
        if self.frequencies:
            values = torch.cat([values, waves(values, self.frequencies)], dim=2)
        x: Tensor = self.channels(values)
        for axis, embedding in enumerate(self.axes):
            x = x + embedding(cells.coordinates()[..., axis])
        return x

    def _encode(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the outputs (b, T, out_channels) of tokens (b, T, width); `mask` is False in padding."""
        x = torch.cat([self.anywhere.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        counted = F.pad(mask, (1, 0), value=True)[:, None, None]
        for layer in self.layers:
            x = layer(x, counted)
        return self.output(self.norm(x[:, 1:]))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Attention among the tokens of an image, then a perceptron, each added to its input after a normalisation."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before_attention = nn.LayerNorm(width)
        self.parts = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.before_perceptron = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * width, width),
        )

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """Return new features of tokens.

        Args:
            x: (b, T, width).
            counted: (b, 1, 1, T) bool, False for tokens to which none attends.
        """
        split = self.parts(self.before_attention(x)).unflatten(2, (3, self.heads, -1))
        drop = self.dropout if self.training else 0.0
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind()
        found = attend(query, key, value, counted, drop)
        x = x + F.dropout(self.join(found.transpose(1, 2).flatten(2)), drop)
        return x + F.dropout(self.perceptron(self.before_perceptron(x)), drop)


def attend(query: Tensor, key: Tensor, value: Tensor, counted: Tensor, dropout: float = 0.0) -> Tensor:
    """Return what tokens find by attention (b, H, T, w), with H heads.

    Args:
        query: (b, H, T, w), as `key` and `value`.
        key: what queries are compared with.
        value: what they find.
        counted: (b, 1, 1, T) bool, False for tokens to which none attends.
        dropout: fraction of attention that is dropped.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, counted, dropout)
    with torch.autocast("cpu", enabled=False):  # where torch's gradient takes five times longer in bfloat16
        return F.scaled_dot_product_attention(query.float(), key.float(), value.float(), counted, dropout)
