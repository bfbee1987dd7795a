"""Maps without a deblender: the image itself, and an ideal mask that splits its pixels among the classes."""

import torch
from torch import Tensor

from oasis.data.samples import Batch


def input_maps(batch: Batch) -> Tensor:
    """Return the image itself as the map of every class: the result without any deblending."""
    return batch.image.unsqueeze(1).expand_as(batch.target)


def oracle_mask_maps(batch: Batch) -> Tensor:
    """Return the image split among the classes: each pixel is assigned to the class that is truly brightest there.

    No segmentation into disjoint masks can do better. Pixels without any true flux are assigned to no class.

    Example:
        >>> target = torch.tensor([3.0, 1.0, 0.0, 1.0, 2.0, 0.0]).view(1, 2, 1, 1, 3)
        >>> image = target.sum(dim=1) + 0.5
        >>> oracle_mask_maps(Batch(image, target, torch.ones(1, 1, 1, 3, dtype=bool), [{}])).flatten(1)
        tensor([[4.5000, 0.0000, 0.0000, 0.0000, 3.5000, 0.0000]])
    """
    brightest = batch.target.max(dim=1, keepdim=True)
    classes = torch.arange(batch.target.shape[1], device=batch.target.device).view(1, -1, 1, 1, 1)
    mine = (brightest.indices == classes) & (brightest.values > 0)
    return torch.where(mine, batch.image.unsqueeze(1), 0)
