"""Region weights that are learned during training."""

import math

import torch
from torch import Tensor, nn

from oasis.loss.symmetry import mean_over_swaps
from oasis.loss.weights import LearnedWeights


class LearnedTable(nn.Module):
    r"""The weights of the rule `learned`, which rise in regions with large errors and fall in others.

    Gradient descent on the weights would do the reverse: a weighted mean is smallest with all weight on the
    easiest region. So the weights ascend, as in self-adaptive weights (McClenny and Braga-Neto, arXiv 2009.04544)
    and group DRO (Sagawa et al., arXiv 1911.08731), in steps of

    .. math:: W_R \leftarrow \mathrm{clip}\left( \lambda W_R e^{\Delta_R} \right), \qquad
              \Delta_R = \min\left( \mathrm{rate} \left( m_R / \bar m - 1 \right), 1 \right)

    `m_R` is the mean error of a region. The overall mean counts each region with pixels once, so that the
    background, with most of the pixels and small errors, does not set the scale. Weights are clipped to their
    initial value divided and multiplied by `limit`; lambda keeps the mean weight of the step's pixels constant,
    including the clipping. Regions without pixels keep their weight. The buffers are in the state dict: a run
    resumes exactly.

    Args:
        rule: `rate` and `limit`.
        start: (2^N,) the initial weights.
        representative: (2^N,) from `representatives`: regions with the same representative share their weight, so
            that swapping interchangeable classes still changes nothing.

    Example:
        >>> learned = LearnedTable(LearnedWeights(rule="learned", rate=0.1), torch.ones(4))
        >>> learned.update(errors=torch.tensor([1.0, 6.0, 0.0, 0.0]), pixels=torch.tensor([2.0, 2.0, 0.0, 0.0]))
        >>> learned.table
        tensor([0.9287, 1.0713, 1.0000, 1.0000])
    """

    start: Tensor
    growth: Tensor
    representative: Tensor | None

    def __init__(self, rule: LearnedWeights, start: Tensor, representative: Tensor | None = None) -> None:
        super().__init__()
        self.rate = rule.rate
        self.bound = math.log(rule.limit)
        self.register_buffer("start", start.double())
        self.register_buffer("growth", torch.zeros_like(self.start))  # log of the weight over its start
        self.register_buffer("representative", representative, persistent=False)

    @property
    def table(self) -> Tensor:
        """The weight of every region (2^N,) float32, by code."""
        return (self.start * self.growth.exp()).float()

    @torch.no_grad()
    def update(self, errors: Tensor, pixels: Tensor) -> None:
        """Update the weights after one step; an error that is not finite changes nothing.

        Args:
            errors: (2^N,) absolute errors of every region, summed over all processes.
            pixels: (2^N,) number of pixels of every region.
        """
        errors, pixels = errors.double(), pixels.double()
        if self.representative is not None:
            errors, pixels = (mean_over_swaps(sums, self.representative) for sums in (errors, pixels))
        seen = pixels * self.start > 0
        means = torch.where(seen, errors / pixels, 0)
        average = means.sum() / seen.sum()
        learns = seen & (average > 0) & average.isfinite()
        excess = torch.where(learns, means / average - 1, 0)
        grown = self.growth + (self.rate * excess).clamp(max=1)
        grown = (grown + self._log_factor(grown, pixels)).clamp(-self.bound, self.bound)
        self.growth.copy_(torch.where(learns, grown, self.growth))

    def _log_factor(self, grown: Tensor, pixels: Tensor) -> Tensor:
        """Return the log of the factor that keeps the mean weight constant when weights are clipped after it.

        The summed weight is piecewise linear in the factor, with kinks where a weight leaves its lower bound or
        reaches its upper one.
        """
        mass = pixels * self.start
        rise = mass * grown.exp()
        edges, order = torch.cat([-self.bound - grown, self.bound - grown]).exp().sort()
        slopes = torch.cat([rise, -rise])[order].cumsum(0)[:-1]
        steps = (slopes * edges.diff()).clamp_min(0)
        heights = torch.cat([steps.new_zeros(1), steps.cumsum(0)]) + mass.sum() * math.exp(-self.bound)
        wanted = (mass * self.growth.exp()).sum()
        below = (torch.searchsorted(heights, wanted) - 1).clamp(0, len(steps) - 1)
        share = ((wanted - heights[below]) / steps[below].clamp_min(1e-300)).clamp(0, 1)
        return torch.lerp(edges[below], edges[below + 1], share).log()
