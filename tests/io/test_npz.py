"""Archives that grow on the disk, against those that numpy writes at once."""

import os

import numpy as np
import pytest

from oasis.io.npz import create_npz


def test_rows_that_are_appended_give_the_arrays_that_numpy_would_have_saved(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "maps/a b": rng.normal(size=(7, 1, 4, 5)).astype(np.float32),
        "frame": np.arange(7),
        "mask": rng.integers(0, 2, (7, 3)).astype(bool),
        "flipped": rng.normal(size=(7, 3, 2))[:, ::-1],
        "source": np.array(["a.npy"] * 3 + ["a longer name.npy"] * 4),
    }
    with create_npz(tmp_path / "grown.npz", {"unit": "ADU", "empty": ""}) as file:
        for part in (slice(0, 1), slice(1, 3), slice(3, 7)):
            for name, values in arrays.items():
                file.append(name, values[part])
        assert os.listdir(tmp_path) == [], "the rows are in files without names"
    with np.load(tmp_path / "grown.npz") as found:
        assert sorted(found.files) == sorted([*arrays, "unit", "empty"])
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[name], values)
            assert found[name].dtype == values.dtype
        assert str(found["unit"]) == "ADU"
        assert str(found["empty"]) == ""


@pytest.mark.parametrize("rows", [np.zeros((1, 3)), np.zeros((1, 2), np.float32)])
def test_rows_of_another_kind_are_refused(tmp_path, rows):
    with create_npz(tmp_path / "a.npz", {}) as file:
        file.append("a", np.zeros((1, 2)))
        with pytest.raises(ValueError, match=r"rows of float.. .* appended to rows of float64 \(2,\)"):
            file.append("a", rows)
