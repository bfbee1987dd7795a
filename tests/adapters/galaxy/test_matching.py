"""Matching of detections with galaxies against a search of all assignments."""

from itertools import combinations, permutations

import numpy as np
import pytest

from oasis.adapters.galaxy.baselines.matching import MATCH_PIXELS, centroids, match


def brute_force(found, wanted):
    """Every assignment of as many pairs as there can be: the shortest one, and only then what is near enough."""
    few, many = sorted((found, wanted), key=len)
    swapped = few is not found
    best = min(
        (
            [*zip(rows, columns, strict=True)]
            for rows in [range(len(few))]
            for columns in chosen(len(many), len(few))
        ),
        key=lambda pairs: sum(np.linalg.norm(few[a] - many[b]) for a, b in pairs),
    )
    owners = [-1] * len(found)
    for a, b in best:
        one, other = (b, a) if swapped else (a, b)
        if np.linalg.norm(found[one] - wanted[other]) < MATCH_PIXELS:
            owners[one] = other
    return owners


def chosen(many, few):
    return (order for group in combinations(range(many), few) for order in permutations(group))


@pytest.mark.parametrize("detections", [0, 1, 2, 4, 5])
def test_the_shortest_assignment_is_found_before_pairs_are_removed(detections):
    rng = np.random.default_rng(detections)
    for _ in range(40):
        found, wanted = rng.uniform(0, 12, (detections, 2)), rng.uniform(0, 12, (3, 2))
        assert match(found, wanted).tolist() == brute_force(found, wanted)


def test_the_limit_applies_after_the_assignment():
    found, wanted = np.array([[0.0, 4.0], [0.0, 9.5]]), np.array([[0.0, 0.0], [0.0, 5.0]])
    assert match(found, wanted).tolist() == [0, 1]
    wanted = np.array([[0.0, -1.5], [0.0, 5.0]])  # pairs within the limit first would leave the second match out
    assert match(found, wanted).tolist() == [-1, 1]


def test_positions_that_are_not_known_are_matched_with_nothing():
    found = np.array([[20.0, 20.0]])
    assert match(found, np.array([[np.nan, np.nan], [21.0, 20.0]])).tolist() == [1]
    assert match(found, np.empty((0, 2))).tolist() == [-1]
    assert match(np.empty((0, 2)), found).tolist() == []


def test_centroids_are_weighted_by_the_flux_of_all_bands():
    maps = np.zeros((2, 2, 5, 5))
    maps[0, 0, 1, 1], maps[0, 1, 3, 1] = 1, 3
    np.testing.assert_allclose(centroids(maps), [[2.5, 1], [np.nan, np.nan]])
