"""The examples on galaxies, in small, as anyone would run them; 10 s."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oasis.adapters.galaxy import GalaxiesAdapter
from oasis.adapters.galaxy.baselines import tuning
from oasis.errors import ConfigError
from oasis.evaluation.event_table import evaluate_maps
from oasis.run import Run

pytest.importorskip("galsim")
pytest.importorskip("sep")

DATA = {"library": {"simulated": 40, "population": {"size": 32, "pixel_scale": 0.524}}, "blend": {"size": 32}}


@pytest.fixture
def trained(tmp_path, request):
    """The folder of a run that has seen little, by default of the adapter galaxy."""
    setup = Run.from_values(
        {
            "adapter": getattr(request, "param", "galaxy"),
            "run": str(tmp_path / "one"),
            "data": {**DATA, "events": {"train": 32, "val": 60, "test": 40}},
            "model": {"base_channels": 4, "depth": 3},
            "training": {"epochs": 1, "workers": 0},
        }
    )
    setup.train()
    return setup.folder


@pytest.mark.parametrize("trained", ["galaxy", "galaxies"], indirect=True)
def test_networks_and_baselines_are_measured_on_the_same_blends(example, trained, monkeypatch, capsys, tmp_path):
    out = tmp_path / "comparison"
    arguments = [trained, "--split", "val", "--out", out, "--tune-on", 3, "--draws", 0]
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
    monkeypatch.setattr(tuning, "GRID", {"clean": (True, False)})
    module = example("galaxy/compare")
    module.main()
    printed = capsys.readouterr().out
    of_band, shares, colours, magnitudes = 4, 3, 2, 1
    for name in ("one", "input", "oracle mask", "true shapes", "SEP"):
        lines = [line for line in printed.splitlines() if line.startswith(f"{name:>20}")]
        assert len(lines) == 3 * of_band + shares + colours + magnitudes + 3 * (name != "one")
    assert re.search(r"SEP's catalogue: purity [01]\.\d+, completeness [01]\.\d+", printed)
    classes = len(Run(trained).adapter.classes)
    assert ("coverage of 90 % intervals" in printed) == (classes == 2)  # those of galaxies have no order
    tables = [module.pd.read_parquet(path) for path in out.glob("*.parquet")]
    assert [len(table) for table in tables] == [classes * 60] * 5
    assert {event.split("/")[0] for event in tables[0]["id"]} == {"val"}
    assert (out / "flux.png").stat().st_size > 0


@pytest.mark.parametrize("trained", ["galaxy"], indirect=True)
def test_runs_that_saw_the_tested_galaxies_are_refused(example, trained):
    module, first = example("galaxy/compare"), Run(trained)
    more = f"data.library.simulated={2 * first.adapter.options.library.simulated}"
    module.check_unseen("same", first, first, "test")
    module.check_unseen("other", Run(trained, [more, "seed=5"]), first, "test")
    with pytest.raises(ConfigError, match=r"more: trained on \d+ of the \d+ test galaxies: .* needs another seed"):
        module.check_unseen("more", Run(trained, [more]), first, "test")


def test_galaxies_of_one_kind_count_all_with_their_own_numbers(example):
    adapter = GalaxiesAdapter({**DATA, "events": {"test": 12}})
    dataset = adapter.dataset("test")
    table = evaluate_maps(lambda batch: batch.target, dataset, adapter, workers=0)
    rows = example("galaxy/compare").galaxies_of(table, adapter)
    there = rows[rows["intensity_true"] > 0]
    assert len(there) == sum(dataset[index].meta["galaxies"] for index in range(12))
    assert there["id"].is_unique
    assert there["galaxy"].notna().all()
    assert rows[rows["intensity_true"] == 0]["galaxy"].isna().all()
    numbers = {dataset[0].meta[f"{name}_galaxy"] for name in adapter.classes}
    assert {*there.loc[there["id"].str.startswith("test/0/"), "galaxy"]} == {n for n in numbers if n == n}


def test_fields_without_truth_are_drawn_on_the_grid_of_the_library(
    example, trained, monkeypatch, capsys, tmp_path
):
    (tmp_path / "fields").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(20, 60, (200, 200, 3), np.uint8)).save(tmp_path / "fields" / f"{name}.png")
    arguments = [trained, tmp_path / "fields", "--pixel-scale", 0.15, "--out", tmp_path / "fields.png"]
    monkeypatch.setattr(sys, "argv", ["fields", *map(str, arguments)])
    module = example("galaxy/fields")
    seen = []
    monkeypatch.setattr(module, "colours", lambda signal: seen.append(signal.shape) or signal[0])
    module.main()
    assert seen == [(3, 32, 32)] * 6  # image, target and neighbours
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["a", "b"]
    assert (tmp_path / "fields.png").stat().st_size > 0


def test_colours_run_from_the_sky_to_white(example):
    module = example("galaxy/fields")
    signal = np.array([-5.0, 0.0, 1000.0], np.float32)[:, None, None]  # g, r, z
    np.testing.assert_allclose(module.colours(signal)[0, 0], [1, 0, 0])


def test_the_middle_of_an_image_is_cut_where_it_is_larger(example):
    image = np.arange(36.0).reshape(1, 6, 6)
    np.testing.assert_array_equal(example("galaxy/fields").middle(image, (2, 8)), image[:, 2:4])


@pytest.mark.parametrize(("name", "galaxies"), [("galaxies", {2, 3, 4}), ("pairs", {2})])
def test_interchangeable_galaxies_are_in_the_ranges_of_their_files(name, galaxies):
    path = Path(__file__).parents[3] / f"examples/galaxy/{name}.yaml"
    dataset = Run.from_config(path, ["data.library.simulated=200"]).dataset("test")
    metas = [dataset[index].meta for index in range(60)]
    assert {meta["galaxies"] for meta in metas} == galaxies
    if name == "pairs":
        separations = [meta["neighbour_separation"] for meta in metas]
        assert 0.25 < min(separations) < 0.6  # centres are rounded to pixels
        assert 1.3 < max(separations) < 2.0
        assert 1 < max(abs(meta["neighbour_magnitude"]) for meta in metas) < 2.3
