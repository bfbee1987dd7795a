"""Energies, distances and cuts of the tracks of a region, against the truth of simulated frames."""

import numpy as np
import pandas as pd
import pytest

from oasis.adapters.migdal import MigdalAdapter
from oasis.adapters.migdal.candidates import EnergyScale, light_yield
from oasis.adapters.migdal.detector import Detector
from oasis.errors import DataError
from oasis.inference.options import WindowOptions
from oasis.run import Run

FIELD = Detector().shape
WHOLE = (slice(0, FIELD[0]), slice(0, FIELD[1]))


def test_energies_of_true_maps_are_those_of_the_tracks() -> None:
    options = {"size": FIELD, "events": {"test": 40}, "energy_scale": {"uncertainty": 0.05}}
    adapter = MigdalAdapter(options, seed=1)
    ratios = []
    for index in range(0, 40, 2):
        sample = adapter.dataset("test")[index]
        found = adapter.region_columns(sample.target, WHOLE, FIELD)
        ratios.append(found["energy_kev"] / [sample.meta["ER_energy"], sample.meta["NR_energy"]])
        np.testing.assert_allclose(found["energy_kev_high"] - found["energy_kev"], 0.098 * found["energy_kev"])
    ratios = np.array(ratios)
    assert np.median(ratios, axis=0) == pytest.approx(1, abs=0.08)
    np.testing.assert_allclose(ratios[:, 0] / ratios[:, 1], 1, atol=0.4)  # they share the gain of the event


def test_a_candidate_has_a_bright_recoil_and_a_near_electron() -> None:
    adapter = MigdalAdapter({"energy_scale": {"adu_per_kev": 1000.0}})

    def region(kevee: float, apart: int, adapter: MigdalAdapter = adapter) -> dict:
        maps = np.zeros((2, 1, 40, 80), np.float32)
        yields = adapter.options.detector.vignetting(np.array([110, 110]), np.array([110, 110 + apart]))
        maps[1, 0, 10, 10], maps[0, 0, 10, 10 + apart] = yields * (1260 * kevee, 5000.0)
        return adapter.region_columns(maps, (slice(100, 140), slice(100, 180)), FIELD)

    near = region(61, 38)  # 5.94 mm
    assert near["energy_kev"] == pytest.approx([5, 61], rel=1e-5)
    assert near["distance_mm"] == pytest.approx(38 * 0.15625)
    assert near["candidate"].tolist() == [1, 1]
    assert region(59, 38)["candidate"].tolist() == [0, 0]
    assert region(61, 39)["candidate"].tolist() == [0, 0]
    stricter = MigdalAdapter({"energy_scale": {"adu_per_kev": 1000.0, "electron_kev": 5.1}})
    assert region(61, 38, stricter)["candidate"].tolist() == [0, 0]
    alone = region(0, 5)
    assert np.isnan(alone["distance_mm"]).all()
    assert not alone["candidate"].any()


@pytest.mark.parametrize("degrees", [-89, -60, 0, 45, 90])
def test_an_axis_is_that_of_the_light(degrees) -> None:
    rows, cols = np.indices((60, 60)) - 30
    turn = np.radians(degrees)
    along, across = cols * np.cos(turn) + rows * np.sin(turn), rows * np.cos(turn) - cols * np.sin(turn)
    maps = np.zeros((2, 1, 60, 60), np.float32)
    maps[0, 0] = np.exp(-((along / 8) ** 2 + (across / 2) ** 2) / 2)
    flat = MigdalAdapter({"detector": {"vignetting_mm": 1e9}})
    electron, recoil = flat.region_columns(maps, (slice(100, 160),) * 2, FIELD)["axis_deg"]
    assert np.abs((electron - degrees + 90) % 180 - 90) < 0.1
    assert np.isnan(recoil)


def test_a_window_whose_place_in_the_field_is_not_known_has_no_energies() -> None:
    assert MigdalAdapter().region_columns(np.ones((2, 1, 8, 8)), (slice(0, 8),) * 2, (96, 96)) == {}


def test_a_measured_light_yield_is_interpolated(tmp_path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("0.8,0.9\n1.1,1.2\n")
    found = light_yield(EnergyScale(vignetting=str(path)), Detector(shape=(4, 8)))
    assert found.shape == (4, 8)
    assert [found[0, 0], found[0, -1], found[-1, 0], found[-1, -1]] == pytest.approx([0.8, 0.9, 1.1, 1.2])
    assert found.mean() == pytest.approx(1)


@pytest.mark.parametrize("content", [None, "", "a,b", "0.5,0.0", "1,nan"])
def test_other_files_are_refused_in_one_line(tmp_path, content) -> None:
    path = tmp_path / "map.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"map\.csv"):
        light_yield(EnergyScale(vignetting=str(path)), Detector())


def test_the_table_of_regions_has_the_columns(tmp_path) -> None:
    run = Run.from_values(
        {
            "adapter": "migdal",
            "run": str(tmp_path / "run"),
            "data": {"events": {"train": 4, "val": 2, "test": 2}},
            "model": {"name": "unet", "base_channels": 8, "depth": 2, "norm": "batch"},
            "training": {"epochs": 1, "workers": 0},
        }
    )
    run.train()
    frames = MigdalAdapter({"size": FIELD, "events": {"test": 1}}).dataset("test")
    np.save(tmp_path / "frames.npy", frames[0].image)
    run.predict(tmp_path / "frames.npy", tmp_path / "maps.h5", window=WindowOptions(kind="regions"))
    table = pd.read_csv(tmp_path / "maps.csv")
    assert {"energy_kev", "energy_kev_low", "energy_kev_high", "axis_deg", "distance_mm", "candidate"} <= set(
        table
    )
    assert (table.groupby("region")["candidate"].nunique() == 1).all()


@pytest.mark.parametrize("change", [lambda table: 100 * table, lambda table: 1 / table, lambda table: table / 1.6])
def test_light_yields_that_are_not_relative_to_the_centre_are_refused(tmp_path, change) -> None:
    detector = Detector()
    rows, cols = (np.linspace(0, side - 1, 9) for side in detector.shape)
    table = detector.vignetting(rows[:, None], cols).astype(float)
    np.savetxt(tmp_path / "right.csv", table, delimiter=",")
    right = light_yield(EnergyScale(vignetting=str(tmp_path / "right.csv")), detector)
    assert right[144, 256] == pytest.approx(1, rel=0.05)
    np.savetxt(tmp_path / "wrong.csv", change(table), delimiter=",")
    with pytest.raises(DataError, match=r"wrong\.csv: the light yield (in the middle of the field is|reaches)"):
        light_yield(EnergyScale(vignetting=str(tmp_path / "wrong.csv")), detector)
