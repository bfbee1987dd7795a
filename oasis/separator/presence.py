r"""The presence head: whether a class is present in each pixel and anywhere in the image.

The truth is `oasis.regions.present`: the map is above the threshold of its class. The logits of pixels are
channels of the backbone's output; that of the image is computed from where they are high and, if the backbone
provides them, from the features of its encoder there. Empty surroundings do not count, so that the same object has
the same presence in a larger image.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.loss.ratio import Ratio
from oasis.separator.objects import kinds_of
from oasis.separator.prediction import Presence

WIDTH = 32  # hidden features for the logit of the image
EPSILON = 1e-12
BINS = 1000  # of a histogram of probabilities
POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class PresenceHead(nn.Module):
    """A head that predicts presence from the logits of pixels and the features of the encoder.

    Args:
        classes: the N class names.
        features: number F of channels of the encoder's features; 0 if the backbone provides none.
        stride: how much coarser than the image these are.
        interchangeable: groups of interchangeable classes, which share their weights.
        weight: the weight of its loss relative to that of the maps.

    Example:
        >>> head = PresenceHead(("a", "b"), features=0)
        >>> presence = head(torch.zeros(3, 2, 1, 8, 8), None)
        >>> presence.image.shape
        torch.Size([3, 2])
    """

    kinds: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        features: int,
        stride: int = 1,
        interchangeable: Sequence[Sequence[str]] = (),
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.stride = weight, stride
        self.register_buffer("kinds", torch.tensor(kinds_of(classes, interchangeable)), persistent=False)
        self.kind = nn.Embedding(len(classes), WIDTH)
        self.of_pixels = nn.Linear(2, WIDTH)
        self.of_likely = nn.Linear(2 * features, WIDTH) if features else None
        self.image = nn.Sequential(nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))

    def forward(self, pixels: Tensor, encoded: Tensor | None) -> Presence:
        """Return the logits of presence.

        Args:
            pixels: (b, N, B, *S) logits, from the backbone.
            encoded: (b, F, *s) the encoder's features, or None.
        """
        with torch.autocast(pixels.device.type, enabled=False):
            logits = pixels.float().amax(2)
            chance = torch.sigmoid(logits).square()  # whose sum over empty surroundings is close to none
            pooled = [logits.flatten(2).amax(2), chance.flatten(2).sum(2).log1p()]
            hidden = self.of_pixels(torch.stack(pooled, dim=2)) + self.kind(self.kinds)
            if self.of_likely is not None and encoded is not None:
                hidden = hidden + self.of_likely(self._where_likely(encoded.float(), chance))
            return Presence(pixels.float(), self.image(hidden).squeeze(2))

    def _where_likely(self, encoded: Tensor, chance: Tensor) -> Tensor:
        """Return the features (b, N, 2 F) of where a class may be: mean and maximum, weighted by its chance."""
        size = encoded.shape[2:]
        coarse = POOLS[len(size)](chance, self.stride, ceil_mode=True, count_include_pad=False)
        if coarse.shape[2:] != size:
            coarse = F.interpolate(coarse, size, mode="nearest")
        weights = coarse.flatten(2)
        weights = weights / weights.sum(2, keepdim=True).clamp_min(EPSILON)
        flat = encoded.flatten(2)
        most = (
            flat.unsqueeze(1) * (weights / weights.amax(2, keepdim=True).clamp_min(EPSILON)).unsqueeze(2)
        ).amax(3)
        return torch.cat([weights @ flat.transpose(1, 2), most], dim=2)

    def ratios(
        self, presence: Presence, there: Tensor, weights: Tensor, class_weights: Tensor
    ) -> dict[str, Ratio]:
        r"""Return the binary cross entropies of pixels and images, as ratios that can be summed over processes.

        .. math:: \frac{\sum_c \sum_p w_c W_p \mathrm{BCE}(\hat m_{c,p}, m_{c,p})}{\sum_c \sum_p w_c W_p}, \qquad
                  \frac{1}{N} \sum_c \mathrm{BCE}(\hat m_c, \max_p m_{c,p})

        Args:
            presence: predictions in the order of the true maps.
            there: (b, N, B, *S) bool, where each class is present.
            weights: (b, B, *S) weight of every pixel, 0 where it is not valid.
            class_weights: (N,) weight of every class.
        """
        counted = (weights > 0).unsqueeze(1)
        truth = (there & counted).float()
        entropy = F.binary_cross_entropy_with_logits(presence.pixels, truth, reduction="none")
        per_class = (torch.where(counted, entropy, 0) * weights.unsqueeze(1)).flatten(2).sum(2)
        of_pixels = Ratio((per_class * class_weights).sum(1), weights.flatten(1).sum(1) * class_weights.sum())
        anywhere = truth.flatten(2).amax(2)
        of_image = F.binary_cross_entropy_with_logits(presence.image, anywhere, reduction="none").sum(1)
        return {"pixels": of_pixels, "image": Ratio(of_image, torch.full_like(of_image, anywhere.shape[1]))}


def chances_of_absent(presence: Presence, there: Tensor) -> Tensor:
    """Return for each class the histogram (N, BINS) of its probability in the images that are without it.

    Histograms of batches and of processes can be added.

    Args:
        presence: predictions in the order of the true maps.
        there: (b, N) bool, whether each class is present in the image.
    """
    bins = (presence.image.sigmoid() * BINS).long().clamp_max(BINS - 1)
    found = torch.zeros(there.shape[1], BINS, dtype=torch.float64, device=there.device)
    return found.scatter_add_(1, bins.T, (~there).T.double())


def limits_for(histograms: Tensor, share: float) -> list[float]:
    """Return for each class the probability that at most a share of the images without it exceed; 0 for no image.

    Args:
        histograms: (N, BINS) from `chances_of_absent`.
        share: the largest accepted share.

    Example:
        >>> presence = Presence(torch.zeros(0), torch.tensor([[0.1], [0.3], [0.5], [0.8]]).logit())
        >>> limits_for(chances_of_absent(presence, torch.zeros(4, 1, dtype=torch.bool)), share=0.25)
        [0.501]
    """
    above = histograms.flip(1).cumsum(1).flip(1)  # images with the probability of a bin or more
    accepted = above <= share * histograms.sum(1, keepdim=True)
    first = torch.where(accepted.any(1), accepted.double().argmax(1), BINS - 1)
    return [float(one) / BINS for one in first.tolist()]
