"""Region statistics against a loop over subsets of classes; 6 s."""

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.data.statistics import WIDTH, RegionStatistics, region_statistics
from oasis.errors import ConfigError, DataError, OasisError
from oasis.loss.overlap import OverlapLoss
from oasis.loss.weights import BalancedWeights
from oasis.regions import region_name

NAMES = ("a", "b", "c", "d")


class Drawn(SampleDataset):
    """Samples with many zeros, and NaN where they are not valid; every other one of another size."""

    def __init__(self, classes: int = 3, shape: tuple[int, ...] = (2, 5, 7), length: int = 6) -> None:
        self.classes = classes
        self.shape = shape
        self.length = length

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, epoch: int) -> Sample:
        rng = np.random.default_rng([index, epoch])
        shape = (self.shape[0], *(length + index % 2 for length in self.shape[1:]))
        maps = rng.exponential(size=(self.classes, *shape)) * (rng.random((self.classes, *shape)) < 0.4)
        valid = rng.random((1, *shape[1:])) < 0.8
        target = np.where(valid, maps, np.nan).astype(np.float32)
        return Sample(target.sum(axis=0), target, valid)


def brute(dataset: SampleDataset, indices: list[int], limits: list[float]) -> dict[int, list[float]]:
    """Return pixels, samples and the intensity of each class by code, one subset of classes at a time."""
    found = {}
    classes = range(len(limits))
    for size in range(len(limits) + 1):
        for subset in itertools.combinations(classes, size):
            row = [0.0] * (2 + len(limits))
            for index in indices:
                sample = dataset[index]
                mask = np.broadcast_to(sample.valid, sample.image.shape).copy()
                for one in classes:
                    above = sample.target[one] > limits[one]
                    mask &= above if one in subset else ~above
                row[0] += mask.sum()
                row[1] += mask.any()
                for one in classes:
                    row[2 + one] += sample.target[one][mask].sum(dtype=float)
            if row[0]:
                found[sum(2**one for one in subset)] = row
    return found


@pytest.mark.parametrize("shape", [(1, 40), (2, 5, 7), (1, 3, 4, 5)])
@pytest.mark.parametrize("limits", [[0.0, 0.0, 0.0], [0.3, 0.0, 1.5], [9.0]])
def test_statistics_are_those_of_a_loop_over_subsets(shape: tuple[int, ...], limits: list[float]) -> None:
    names = NAMES[: len(limits)]
    dataset = Drawn(len(limits), shape)
    statistics = region_statistics(dataset, names, dict(zip(names, limits, strict=True)))
    expected = brute(dataset, list(range(6)), limits)
    assert statistics.samples == 6
    assert statistics.codes.tolist() == sorted(expected, key=lambda code: (code.bit_count(), code))
    rows = np.column_stack([statistics.pixels, statistics.occurrences, statistics.intensity])
    np.testing.assert_allclose(rows, [expected[code] for code in statistics.codes.tolist()], rtol=1e-12)


def test_regions_are_those_of_the_loss_in_every_band() -> None:
    dataset = Drawn(3, (2, 5, 7), length=1)
    sample = dataset[0]
    codes = OverlapLoss(NAMES[:3], thresholds={"b": 0.5}, spatial_dims=2).regions(
        torch.from_numpy(sample.target)[None]
    )
    counted = torch.bincount(codes[0][torch.from_numpy(sample.valid).expand(2, 5, 7)], minlength=8)
    counts = region_statistics(dataset, NAMES[:3], {"b": 0.5}).counts
    assert counts == {code: pixels for code, pixels in enumerate(counted.tolist()) if pixels}


def test_balanced_weights_take_the_counts() -> None:
    statistics = region_statistics(Drawn(), NAMES[:3])
    table = BalancedWeights(rule="balanced").table(NAMES[:3], statistics.counts)
    mean = (table.numpy()[statistics.codes] * statistics.pixels).sum() / statistics.pixels.sum()
    assert mean == pytest.approx(1, rel=1e-6)


class Told(SampleDataset):
    """The intensity of sample i is 2^i, so that a sum tells which samples are in it."""

    def __len__(self) -> int:
        return 20

    def sample(self, index: int, epoch: int) -> Sample:
        target = np.full((1, 1, 1), 2.0**index, np.float32)
        return Sample(target[0], target, np.ones((1, 1), bool))


def test_samples_are_drawn_once_each_by_the_seed_whoever_prepares_them() -> None:
    def bits(samples: int | None, seed: int = 0, workers: int = 0) -> int:
        statistics = region_statistics(Told(), ("a",), samples=samples, workers=workers, seed=seed)
        assert statistics.samples == statistics.pixels.sum() == min(samples or 20, 20)
        return int(statistics.intensity.sum())

    assert bits(5).bit_count() == 5
    assert bits(5) == bits(5, workers=1)
    assert bits(5) != bits(5, seed=1)
    assert bits(None) == bits(99) == 2**20 - 1


def test_the_table_has_a_row_per_region_and_its_shares() -> None:
    statistics = RegionStatistics(
        NAMES[:2],
        samples=3,
        codes=np.array([0, 1, 3]),
        pixels=np.array([60, 30, 10]),
        occurrences=np.array([3, 2, 1]),
        intensity=np.array([[0, 0], [6.0, 0], [2.0, 5.0]]),
    )
    table = statistics.table()
    assert table["region"].tolist() == ["background", "a", "a&b"]
    assert table["classes"].tolist() == [0, 1, 2]
    assert table["share"].tolist() == [0.6, 0.3, 0.1]
    assert table["overlap_share"].isna().tolist() == [True, True, False]
    assert table["overlap_share"][2] == 1
    assert table["intensity_a"].tolist() == [0, 6, 2]
    assert statistics.text("ADU").splitlines() == [
        "3 samples with 100 valid pixels in 3 of 4 regions",
        "intensity in ADU: a 8.0000, b 5.0000",
        "region      pixels  % of pixels  % of overlap  samples  % of a  % of b",
        "background      60        60.00                      3    0.00    0.00",
        "a               30        30.00                      2   75.00    0.00",
        "a&b             10        10.00        100.00        1   25.00  100.00",
    ]
    assert statistics.text(rows=1).splitlines()[2:] == [
        "region      pixels  % of pixels  % of overlap  samples  % of a  % of b",
        "background      60        60.00                      3    0.00    0.00",
        "2 more regions, with 40.00 % of the pixels, are not shown",
    ]


def many(classes: int) -> RegionStatistics:
    codes = np.arange(2**classes)
    return RegionStatistics(
        tuple(f"galaxy_{number}" for number in range(classes)),
        samples=12_345,
        codes=codes,
        pixels=10_000_000 >> codes,
        occurrences=np.minimum(codes + 1, 12_345),
        intensity=np.tile(np.where(codes, 1e6, 0.0)[:, None], classes),
    )


def test_text_is_as_wide_as_a_terminal_and_says_what_it_leaves_out() -> None:
    lines = many(4).text("nanomaggies").splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "% of galaxy_3" not in lines[2]
    assert lines[-1] == "each class's share of the intensity is too wide to be shown"
    pixels = sum(10_000_000 // 2**code for code in range(16))
    assert lines[0] == f"12,345 samples with {pixels:,} valid pixels in 16 of 16 regions"
    assert any("<0.01" in line for line in lines)
    long = many(7).text("nanomaggies", rows=4)
    assert long.splitlines()[-1] == "124 more regions, with 6.25 % of the pixels, are not shown"
    assert "galaxy_6 127,000,000" in " ".join(long.split())
    assert max(map(len, long.splitlines())) <= WIDTH


def test_classes_that_never_occur_and_data_without_valid_pixels_are_no_trouble() -> None:
    class Dark(Drawn):
        def sample(self, index: int, epoch: int) -> Sample:
            sample = super().sample(index, epoch)
            return sample.replace(valid=np.zeros_like(sample.valid))

    assert region_statistics(Dark(), NAMES[:3]).counts == {}
    assert (
        region_statistics(Dark(), NAMES[:3]).text().startswith("6 samples with 0 valid pixels in 0 of 8 regions")
    )
    absent = region_statistics(Drawn(), NAMES[:3], 1e9)
    assert absent.counts == {0: absent.pixels.sum()}
    silent = RegionStatistics(("a",), 1, np.array([0]), np.array([5]), np.array([1]), np.zeros((1, 1)))
    assert silent.text().splitlines()[-1].split() == ["background", "5", "100.00", "1"]


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Drawn(length=0), {}, "the data set is empty: it has no regions"),
        (Drawn(), {"samples": 0}, "samples: expected at least 1, found 0"),
        (Drawn(classes=2), {}, "a sample has 2 maps, expected one for each of ['a', 'b', 'c']"),
        (Drawn(), {"thresholds": {"x": 1}}, "thresholds: unknown class 'x'; known: a, b, c"),
    ],
)
def test_what_cannot_be_counted_is_named(dataset: SampleDataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OasisError) as caught:
        region_statistics(dataset, NAMES[:3], **options)
    assert str(caught.value) == message
    assert isinstance(caught.value, ConfigError | DataError)


def test_only_regions_that_occur_are_held() -> None:
    names = [f"galaxy_{number}" for number in range(20)]
    statistics = region_statistics(Drawn(20, (1, 6, 6), length=2), names)
    assert len(statistics.codes) <= 36 + 49
    assert len(statistics.text().splitlines()) < 40
    assert statistics.table()["region"][0] == region_name(int(statistics.codes[0]), names)


def test_no_module_imports_pandas_before_it_is_needed() -> None:
    code = "import sys, oasis.loss.weights, oasis.data.statistics; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
