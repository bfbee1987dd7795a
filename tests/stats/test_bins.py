"""One rule for all bins: closed below, open above, a value at the last edge in none."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oasis.stats.bins import Bin, bin_numbers, bins_of

EDGES = [-1.0, 0.0, 0.5, np.inf]


def test_bins_against_pandas():
    values = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 1e300, -2.0, np.nan, np.inf, -np.inf])
    expected = pd.cut(values, EDGES, right=False, labels=False)
    for number, one in enumerate(bins_of(EDGES)):
        assert one.contains(values).tolist() == (expected == number).tolist()
    assert np.isnan(expected[-3:]).all()


@given(st.lists(st.floats(-10, 10), min_size=2, unique=True).map(sorted), st.floats(-11, 11))
def test_every_value_between_the_edges_is_in_the_bin_of_its_number(edges, value):
    inside = [one.contains(value) for one in bins_of(edges)]
    number = int(bin_numbers(value, edges))
    assert sum(inside) == (edges[0] <= value < edges[-1])
    assert not any(inside) or inside.index(True) == number - 1


def test_a_value_in_single_precision_at_an_edge_is_in_the_bin_above():
    assert Bin(3.6, 4.4).contains(np.array([3.6, 4.4], np.float32)).tolist() == [True, False]


@pytest.mark.parametrize(("edges", "name", "centre"), [((4, 5.5), "4-5.5", 4.75), ((0.0, 1.0), "0-1", 0.5)])
def test_names_and_centres(edges, name, centre):
    (one,) = bins_of(edges)
    assert (one.name, one.centre) == (name, centre)
