"""The CCD adapter: what it simulates, its options, and the contract."""

import numpy as np
import pytest

from oasis.adapters.ccd.adapter import CcdAdapter
from oasis.adapters.ccd.depositing import deposit
from oasis.adapters.ccd.electrons import transport, until_exit
from oasis.adapters.ccd.options import CcdOptions
from oasis.adapters.ccd.scene import stamps
from oasis.adapters.ccd.sensor import Sensor
from oasis.adapters.ccd.sources import BACK, BULK, FRONT, Start, Window, isotropic, photon_electrons
from oasis.adapters.ccd.tracks import Deposits, Electrons, load_library, main
from oasis.data.mixing import keyed_rng
from oasis.errors import ConfigError, DataError
from oasis.instances.grouping import group
from oasis.testing import check_adapter

SMALL = {"events": {"train": 8, "val": 4, "test": 4}, "size": [64, 64]}
DAMIC = {"diffusion_um2": 803.25, "diffusion_per_um": 6.5e-4, "kernel": 13}


@pytest.fixture(scope="module")
def electrons():
    tracks = load_library()
    return Electrons(tracks, np.arange(len(tracks)))


def start_of(place, direction, energy, count, side=FRONT):
    return Start(
        *(np.tile(one, (count, 1)) for one in (place, direction)), np.full(count, energy), np.full(count, side)
    )


def deposited(start, electrons, sensor, seed=0):
    made = deposit(start, electrons, sensor, np.random.default_rng(seed))
    return np.bincount(made.owner, made.energy, len(start.energy))


@pytest.mark.parametrize(
    "options", [{}, {"merge_electrons": True, "training_rate": [1, 30], "gas": "both"}, {"sample": "diagnostic"}]
)
def test_the_contract_is_kept(options):
    check_adapter(CcdAdapter, {**SMALL, **options}, count=4)


def test_a_sensor_with_defects_keeps_the_contract():
    sensor = {"hot_columns": 50, "serial_hits": 500, "full_well_e": 20_000}
    check_adapter(CcdAdapter, {**SMALL, "sensor": sensor}, count=4)


@pytest.mark.parametrize(("charge", "counts"), [(30_000, [0, 0, 1]), (50_000, [1, 0, 1])])
def test_what_has_the_charge_of_a_delta_ray_joins_its_muon(charge, counts):
    adapter = CcdAdapter({"merge_electrons": True})
    maps = np.zeros((3, 1, 64, 64), np.float32)
    maps[2, 0, 5:60, 30:33] = 400
    maps[0, 0, 20:22, 33:38] = charge / 10
    found = group(maps, adapter.classes, adapter.limits, adapter.grouping)
    assert found.counts(3).tolist() == counts


def test_widths_of_charge_are_those_of_the_paper():
    widths = Sensor().sigma_um([10, 50, 100, 250, 500, 675])
    np.testing.assert_allclose(widths, [1.44, 3.26, 4.66, 7.62, 11.56, 14.28], atol=0.005)


def test_spots_of_x_rays_on_the_back_are_as_wide_as_measured():
    """Spots of 5.9 keV in the image of the DAMIC-M module have standard deviations of 1.41-1.48 pixels."""
    sensor, rng = Sensor.parse({**DAMIC, "kernel": 15}, where="sensor"), np.random.default_rng(0)
    count = 200
    depth = 675 - rng.exponential(27, count)  # 27 um: attenuation length at 5.9 keV
    places = rng.uniform(300, 315, (count, 2))
    made = Deposits(np.arange(count), np.column_stack([places, depth]), np.full(count, 5.9))
    charge = sensor.pairs(made.energy, rng)
    image = np.zeros((41, 41))
    rows = np.arange(41)
    widths = []
    for one in stamps(made, charge, sensor, (41, 41)):
        image[:] = 0
        (top, left), (_, h, w) = one.origin, one.values.shape
        image[top : top + h, left : left + w] = one.values[0]
        profile = image.sum(axis=1)
        mean = np.average(rows, weights=profile)
        widths.append(np.average((rows - mean) ** 2, weights=profile))
    assert (
        1.41 < np.sqrt(np.mean(widths)) < 1.48
    )  # in the image, so with the width of a pixel, as they were measured


def test_charge_in_the_image_is_that_of_the_deposits(electrons):
    sensor, rng = Sensor(), np.random.default_rng(0)
    places = np.column_stack([rng.uniform(3000, 6000, (100, 2)), np.full(100, 300.0)])
    start = Start(places, isotropic(100, rng), rng.uniform(50, 500, 100), np.full(100, BULK))
    made = deposit(start, electrons, sensor, rng)
    found = stamps(made, sensor.pairs(made.energy, rng), sensor, (600, 600))
    total = sum(float(one.values.sum()) for one in found)
    assert total == pytest.approx(made.energy.sum() * 1e3 / 3.6, rel=0.01)
    assert [one.owner for one in found] == sorted({*made.owner.tolist()})


def test_points_outside_of_a_window_do_not_change_what_is_inside(electrons):
    sensor, rng = Sensor(), np.random.default_rng(1)
    places = np.column_stack([rng.uniform(0, 960, (60, 2)), rng.uniform(0, 675, 60)])
    start = Start(places, isotropic(60, rng), rng.uniform(50, 500, 60), np.full(60, BULK))
    made = deposit(start, electrons, sensor, rng)
    charge = sensor.pairs(made.energy, rng)
    whole, part = np.zeros((64, 64)), np.zeros((40, 40))
    moved = made._replace(points=made.points - [15 * 16, 15 * 8, 0])  # columns, rows
    for image, deposits in ((whole, made), (part, moved)):
        for one in stamps(deposits, charge, sensor, image.shape):
            (top, left), (_, h, w) = one.origin, one.values.shape
            image[top : top + h, left : left + w] += one.values[0]
    np.testing.assert_allclose(part, whole[8:48, 16:56], atol=0.05)
    assert part.sum() > 1e5


def test_electrons_of_lower_energy_are_parts_of_tracks(electrons):
    """Their backscatter is that of whole tracks of this energy: .152 at 100 keV."""
    sensor = Sensor(thickness_um=9000, diffusion_per_um=0, front_dead_um=0)
    start = start_of([0, 0, 0], [0, 0, 1], 100.0, 3000)
    total = deposited(start, electrons, sensor)
    assert total.max() == pytest.approx(100)
    assert (total < 99.9).mean() == pytest.approx(0.152, abs=0.03)


def test_energy_is_deposited_or_leaves(electrons):
    sensor, rng = Sensor(), np.random.default_rng(3)
    start = start_of([0, 0, 675 / 2], [0, 0, 1], 30.0, 200, BULK)
    np.testing.assert_allclose(deposited(start, electrons, sensor), 30.0, rtol=1e-6)
    energy = rng.uniform(5, 900, 500)
    tracks = electrons.take(electrons.choose(energy, rng), energy, isotropic(500, rng), rng.uniform(0, 6, 500))
    np.testing.assert_allclose(np.bincount(tracks.owner, tracks.energy), energy, rtol=1e-6)


def test_a_dead_layer_takes_energy(electrons):
    """As much as in tracks that are followed in small steps, by electrons of 30 keV that range 10 um."""
    found = deposited(start_of([0, 0, -2.0], [0, 0, 1], 30.0, 3000), electrons, Sensor())
    made = transport(np.full(3000, 30.0), np.random.default_rng(5))
    owner, depth = np.repeat(np.arange(3000), np.diff(made.offsets)), made.points[:, 2] - 2
    inside = until_exit(owner, depth, -2, 675) & (depth > 0)
    expected = np.bincount(owner[inside], made.intensity[inside], 3000)
    assert found.mean() == pytest.approx(expected.mean(), abs=1)
    assert np.quantile(found, [0.5, 0.9]) == pytest.approx(np.quantile(expected, [0.5, 0.9]), abs=1)
    assert np.quantile(found, 0.9) < 27


def test_electrons_from_the_back_are_those_from_the_front_upside_down(electrons):
    sensor = Sensor(back_dead_um=2.0)
    front = start_of([0, 0, -2.0], [0, 0, 1], 200.0, 400)
    back = start_of([0, 0, 677.0], [0, 0, -1], 200.0, 400, BACK)
    depths = [deposit(one, electrons, sensor, np.random.default_rng(0)).points[:, 2] for one in (front, back)]
    assert depths[0].mean() == pytest.approx(675 - depths[1].mean(), rel=0.1)


def test_photons_interact_at_depths_of_an_exponential():
    sensor, rng = Sensor(), np.random.default_rng(0)
    count = 40_000
    for side in (FRONT, BACK):
        found, _ = photon_electrons(np.zeros((count, 2)), np.full(count, 30.97), np.full(count, side), sensor, rng)
        cosine = (np.arange(2000) + 0.5) / 2000
        expected = -np.expm1(-0.1887 / cosine).mean()  # 0.1887: attenuation in 675 um
        assert len(found.energy) / count == pytest.approx(expected, abs=0.02)
        assert found.place[:, 2].min() >= 0
        assert found.place[:, 2].max() <= 675
        assert (found.place[:, 2].mean() < 337) == (side == FRONT)
        assert (found.energy == 30.97).mean() == pytest.approx(1.0505 / 1.2, abs=0.02)


def test_rates_are_those_of_the_options():
    """Per 1024 x 1536 pixels and exposure: 40 electrons of decays, fewer if they leave nothing, and 15 muons."""
    adapter = CcdAdapter({"evaluation_size": [384, 384], "rate": 10})
    scene = adapter.scene("test")
    counts, rates = np.zeros(4), []
    for index in range(12):
        placed, meta = scene.place(index, keyed_rng(0, "test", index))
        counts += [sum(one.name == name for one in placed) for name in adapter.classes]
        rates.append(meta["rate"])
    expected = np.array([40, 40 * 0.0747, 1.5, 15]) * 384**2 / (1024 * 1536) * 10 * 12
    found = dict(zip(adapter.classes, counts, strict=True))
    assert rates == pytest.approx([10] * 12)
    assert found["beta"] == pytest.approx(
        expected[0], rel=0.2
    )  # those from outside that reach in, less what is lost
    assert found["ce"] == pytest.approx(expected[1], rel=0.6)
    assert 0.3 * expected[2] < found["photon"] < 3 * expected[2]
    assert found["muon"] == pytest.approx(expected[3], rel=0.5)  # longer than they are far apart


def test_training_rates_are_drawn():
    adapter = CcdAdapter({**SMALL, "training_rate": [2, 20]})
    train, val = (adapter.dataset(split) for split in ("train", "val"))
    rates = [train[index].meta["rate"] for index in range(8)]
    assert min(rates) > 2
    assert max(rates) < 20
    assert len({*rates}) == 8
    assert [val[index].meta["rate"] for index in range(4)] == pytest.approx([10] * 4)


def test_photons_are_more_frequent_in_training_alone():
    def photons(split, **options):
        scene = CcdAdapter({**SMALL, "size": [256, 256], "rate": 30, **options}).scene(split)
        placed = [scene.place(index, np.random.default_rng(index))[0] for index in range(20)]
        return sum(one.name == "photon" for each in placed for one in each)

    usual = photons("train")
    assert photons("train", training_photons=10) == pytest.approx(10 * usual, rel=0.4)
    assert photons("val", training_photons=10) == photons("val")


def test_splits_share_no_track():
    adapter = CcdAdapter(SMALL)
    used = [set(adapter.scene(split).electrons.number.tolist()) for split in ("train", "val", "test")]
    assert sum(map(len, used)) == len(load_library())
    assert all(
        one.isdisjoint(other) for one, other in ((used[0], used[1]), (used[0], used[2]), (used[1], used[2]))
    )


def test_noise_is_that_of_the_sensor():
    adapter = CcdAdapter({**SMALL, "decays": 0, "muons": 0.001, "sensor": {"dark_e": 1.0, "read_e": 1.0}})
    image = np.stack(
        [one.image for one in map(adapter.dataset("test").__getitem__, range(4)) if not one.target.any()]
    )
    assert image.mean() == pytest.approx(1.0, abs=0.1)
    assert image.std() == pytest.approx(2**0.5, rel=0.05)
    assert adapter.options.sensor.noise_e == pytest.approx(2**0.5)


def test_saturated_pixels_are_not_valid():
    adapter = CcdAdapter({**SMALL, "rate": 100, "sensor": {"full_well_e": 3000}})
    sample = adapter.dataset("test")[0]
    assert sample.image.max() == 3000
    assert not sample.valid.all()
    assert (sample.image[~sample.valid] == 3000).all()


def test_defects_belong_to_no_class():
    clean, defects = (
        CcdAdapter({**SMALL, "sensor": sensor}).dataset("test")[0]
        for sensor in ({}, {"hot_columns": 100, "serial_hits": 3000})
    )
    np.testing.assert_array_equal(clean.target, defects.target)
    assert defects.image.sum() > clean.image.sum() + 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "data.rate"),
        ({"rate": float("nan")}, "data.rate"),
        ({"training_rate": [5, 1]}, "lower bound first"),
        ({"size": [2000, 64]}, "larger than the sensor"),
        ({"size": [5, 64]}, "smaller than the square of 7 pixels"),
        ({"sensor": {"kernel": 8}}, "expected an odd number"),
        ({"sensor": {"diffusion_per_um": 2e-3}}, "width of charge diverges"),
        ({"sensor": {"pair_ev": 0}}, "pair_ev"),
        ({"gas": "top"}, "data.gas"),
        ({"diagnostic_kev": [100, 2000]}, "data.diagnostic_kev"),
        ({"read": {"adu_per_electron": 0}}, "expected a gain other than 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CcdAdapter({**SMALL, **options})


def test_a_scene_without_objects_is_refused():
    with pytest.raises(ConfigError, match="no class is present"):
        CcdAdapter({**SMALL, "decays": 0, "muons": 0}).dataset("train")


def test_a_library_is_written_and_read(tmp_path):
    main([str(tmp_path / "own.h5"), "--tracks", "30", "--seed", "3"])
    adapter = CcdAdapter({**SMALL, "tracks": str(tmp_path / "own.h5")})
    assert len(adapter.scene("train").electrons.energy) == 21
    assert adapter.dataset("train")[0].target.any()
    (tmp_path / "text.h5").write_text("tracks")
    with pytest.raises(DataError, match=r"python -m oasis\.adapters\.ccd\.tracks"):
        load_library(tmp_path / "text.h5")


def test_the_window_knows_what_reaches_it():
    window = Window((10, 20), Sensor())
    places = np.array([[150.0, 75.0], [-500.0, 75.0], [-500.0, 75.0], [150.0, 1000.0]])
    reach = np.array([0.0, 0.0, 600.0, 0.0])
    assert window.reached(places, places, reach).tolist() == [True, False, True, False]
    assert CcdOptions().window("test") == (128, 128)
