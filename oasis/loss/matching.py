"""Matching: the assignment of predicted to true maps of interchangeable classes.

Source: permutation-invariant training, Kolbaek et al. 2017, arXiv:1703.06284.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from oasis.loss.distances import Distance, absolute

EXHAUSTIVE = 4  # size of a group up to which all orders are tried


def pairwise_cost(
    prediction: Tensor, target: Tensor, weights: Tensor | None = None, distance: Distance = absolute
) -> Tensor:
    r"""Return the cost of assigning predicted map i to true map j.

    .. math:: C_{ij} = \sum_p W_p\, d(\hat I_{i,p}, I_{j,p})

    Args:
        prediction: (b, G, ...).
        target: (b, G, ...).
        weights: (b, ...) weight of every pixel, 1 if None; pixels of weight 0 do not count, even if they are NaN.
        distance: distance per pixel.

    Returns:
        (b, G, G), predicted by true.

    Example:
        >>> pairwise_cost(torch.tensor([[[1.0], [5.0]]]), torch.tensor([[[4.0], [1.0]]]))
        tensor([[[3., 0.],
                 [1., 4.]]])
    """
    if weights is not None:
        counted = (weights > 0).unsqueeze(1)
        prediction, target = torch.where(counted, prediction, 0), torch.where(counted, target, 0)
    columns = []
    for member in range(target.shape[1]):
        errors = distance(prediction, target[:, member : member + 1].expand_as(prediction))
        columns.append((errors if weights is None else errors * weights.unsqueeze(1)).flatten(2).sum(2))
    return torch.stack(columns, dim=2)


def best_order(cost: Tensor) -> Tensor:
    """Return the assignment of predicted to true maps with the smallest total cost.

    All orders are tried for up to four maps; for more, the Hungarian method finds the best one.

    Args:
        cost: (b, G, G), predicted by true.

    Returns:
        (b, G) int64: entry j is the predicted map that belongs to true map j.

    Example:
        >>> best_order(torch.tensor([[[3.0, 0.0], [1.0, 4.0]]]))
        tensor([[1, 0]])
    """
    members = cost.shape[1]
    if members <= EXHAUSTIVE:
        orders = torch.tensor(list(permutations(range(members))), device=cost.device)
        totals = cost[:, orders, torch.arange(members, device=cost.device)].sum(2)
        return orders[totals.argmin(1)]
    from scipy.optimize import linear_sum_assignment

    orders_found = [linear_sum_assignment(one.T)[1] for one in cost.detach().double().cpu().numpy()]
    return torch.from_numpy(np.array(orders_found)).to(cost.device).view(-1, members)


def matching_order(
    prediction: Tensor,
    target: Tensor,
    groups: Sequence[Sequence[int]],
    weights: Tensor | None = None,
    distance: Distance = absolute,
) -> Tensor:
    """Return the order in which the maps of every group fit the target best: entry j is assigned to true map j.

    Args:
        prediction: (b, N, ...).
        target: (b, N, ...).
        groups: groups of indices of interchangeable classes.
        weights: (b, ...), as for `pairwise_cost`.
        distance: distance per pixel.

    Returns:
        (b, N) int64.

    Example:
        >>> target = torch.tensor([[[4.0], [1.0], [9.0]]])
        >>> matching_order(target[:, [1, 0, 2]], target, groups=[(0, 1)])
        tensor([[1, 0, 2]])
    """
    order = torch.arange(prediction.shape[1], device=prediction.device).repeat(len(prediction), 1)
    for group in groups:
        members = torch.tensor(group, device=prediction.device)
        with torch.no_grad():
            cost = pairwise_cost(prediction[:, members], target[:, members], weights, distance)
            order[:, members] = members[best_order(cost)]
    return order


def align(
    prediction: Tensor,
    target: Tensor,
    groups: Sequence[Sequence[int]],
    weights: Tensor | None = None,
    distance: Distance = absolute,
) -> Tensor:
    """Return the predicted maps (b, N, ...) in their `matching_order`, which takes the same arguments.

    Example:
        >>> target = torch.tensor([[[4.0], [1.0], [9.0]]])
        >>> align(target[:, [1, 0, 2]], target, groups=[(0, 1)]).flatten()
        tensor([4., 1., 9.])
    """
    if not groups:
        return prediction
    return reorder(prediction, matching_order(prediction, target, groups, weights, distance))


def reorder(values: Tensor, order: Tensor) -> Tensor:
    """Return values (b, N, ...) in an order (b, N) such as that of `matching_order`.

    Example:
        >>> reorder(torch.tensor([[4.0, 1.0]]), torch.tensor([[1, 0]]))
        tensor([[1., 4.]])
    """
    return values[torch.arange(len(values), device=values.device).unsqueeze(1), order]
