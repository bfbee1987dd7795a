"""Maps of a fit that knows everything but the fluxes: what the noise allows at best."""

import numpy as np
import torch
from torch import Tensor

from oasis.adapters.galaxy.singles import contributions, single_galaxies
from oasis.data.samples import Batch


class TrueShapes:
    r"""Fits the fluxes of all galaxies of a blend at once, with their true places and shapes.

    In every band the image is fitted as :math:`\sum_k a_k g_k` with the true maps :math:`g_k` and
    :math:`a_k \ge 0`, by least squares over the valid pixels. A deblender has to find shapes too, so that its
    errors are larger; only what it knows of galaxies in general can make up for that.

    Args:
        several: whether a map can contain several galaxies.

    Example:
        >>> target = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 2.0]]).view(1, 2, 1, 1, 3)
        >>> batch = Batch(target.sum(dim=1), target, torch.ones(1, 1, 1, 3, dtype=bool), [{}])
        >>> TrueShapes(several=False).maps(batch).flatten(2).round(decimals=4)
        tensor([[[3., 1., 0.],
                 [0., 2., 2.]]])
    """

    def __init__(self, several: bool) -> None:
        self.several = several

    def maps(self, batch: Batch) -> Tensor:
        """Return the fitted maps (b, N, B, H, W)."""
        fitted = torch.zeros_like(batch.target)
        for maps, sample in zip(fitted, batch.samples(), strict=True):
            galaxies = single_galaxies(sample, self.several)
            seen = galaxies.maps * sample.valid
            light = seen.sum(axis=(2, 3), dtype=float)
            found = [
                contributions(image[None], seen[:, band])[0]
                for band, image in enumerate(sample.image * sample.valid)
            ]
            scale = np.divide(np.transpose(found), light, out=np.zeros_like(light), where=light > 0)
            single = galaxies.maps * scale[..., None, None].astype(np.float32)
            maps.index_add_(0, torch.from_numpy(galaxies.labels), torch.from_numpy(single).to(maps))
        return fitted
