"""Libraries of components: packed, saved, loaded and refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from oasis.data.components import Component, Components
from oasis.errors import DataError


def make_component(points: int, seed: int = 0, dims: int = 2, bands: int | None = None) -> Component:
    rng = np.random.default_rng(seed)
    intensity = rng.random((points,) if bands is None else (points, bands), np.float32)
    return Component(
        rng.random((points, dims), np.float32), intensity, {"energy": seed + 0.25, "charge": float(points)}
    )


def assert_same(one: Component, other: Component) -> None:
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.intensity, other.intensity)
    assert one.points.dtype == other.points.dtype == np.float32
    assert one.meta == other.meta


@pytest.mark.parametrize("counts", [[3], [2, 0, 5, 1], [0, 0]])
@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("bands", [None, 2])
def test_packed_saved_and_loaded_components_are_the_same(
    tmp_path: Path, counts: list[int], dims: int, bands: int | None
) -> None:
    components = [make_component(points, seed, dims, bands) for seed, points in enumerate(counts)]
    with h5py.File(tmp_path / "library.h5", "w") as file:
        Components.pack(components).save(file.create_group("tracks"))
    with h5py.File(tmp_path / "library.h5") as file:
        loaded = Components.load(file["tracks"])
    assert len(loaded) == len(counts)
    for one, other in zip(components, loaded, strict=True):
        assert_same(one, other)
    assert_same(loaded[-1], components[-1])
    with pytest.raises(IndexError):
        loaded[len(counts)]


def test_half_precision_is_kept_in_the_file_and_given_as_float32(tmp_path: Path) -> None:
    library = Components(
        np.array([0, 2]), np.ones((2, 3), np.float16), np.full(2, 0.1, np.float16), {"energy": np.array([5.9])}
    )
    with h5py.File(tmp_path / "library.h5", "w") as file:
        library.save(file)
        loaded = Components.load(file)
    assert loaded.points.dtype == loaded.intensity.dtype == np.float16
    assert loaded[0].intensity.dtype == np.float32


def test_a_quantity_may_be_named_by_its_unit(tmp_path: Path) -> None:
    library = Components.pack([Component(np.ones((1, 2), np.float32), np.ones(1, np.float32), {"dE/dx": 2.5})])
    with h5py.File(tmp_path / "library.h5", "w") as file:
        library.save(file)
        assert Components.load(file)[0].meta == {"dE/dx": 2.5}


@pytest.mark.parametrize(
    ("offsets", "points", "rows", "words"),
    [
        ([0, 3], 2, 1, "3 but there are 2 points"),
        ([0, 1], 1, 2, "'energy' has 2 rows for 1"),
        ([0, 3, 2], 2, 2, "offsets"),
        ([1, 2], 2, 1, "offsets"),
        ([], 0, 0, "offsets"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(offsets: list[int], points: int, rows: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Components(np.array(offsets, int), np.ones((points, 2)), np.ones(points), {"energy": np.ones(rows)})


@pytest.mark.parametrize("broken", ["no points", "points is a group", "too short", "rows", "empty"])
def test_a_group_that_is_no_library_is_refused_by_its_place(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "library.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("tracks")
        if broken != "empty":
            Components.pack([make_component(4)]).save(group)
        if broken in ("no points", "points is a group", "too short"):
            del group["points"]
        if broken == "points is a group":
            group.create_group("points")
        if broken == "too short":
            group["points"] = np.ones((3, 2))
        if broken == "rows":
            group["table/flux"] = np.ones(2)
        with pytest.raises(DataError) as caught:
            Components.load(group)
    assert f"{path}:/tracks" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_library_needs_components() -> None:
    with pytest.raises(DataError, match="at least one"):
        Components.pack([])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Component(np.ones((1, 2), np.float32), np.ones(1, np.float32), {"energy": 1.0}), "charge"),
        (Component(np.ones((1, 2), np.float32), np.ones(1, np.float32), {"energy": 1, "charge": 1, "x": 1}), "x"),
        (make_component(2, dims=3), "3"),
        (make_component(2, bands=2), "2"),
    ],
)
def test_components_that_differ_are_refused_rather_than_cut_to_fit(other: Component, words: str) -> None:
    with pytest.raises(DataError, match=f"component 1 .*{words}"):
        Components.pack([make_component(2), other])
