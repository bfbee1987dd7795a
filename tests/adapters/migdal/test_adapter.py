"""The MIGDAL adapter: its events look as they should, and every source of them is read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import ks_2samp

from oasis.adapters.migdal import MigdalAdapter, tracks
from oasis.adapters.migdal.scene import PRESENT_ADU, bounding_box, random_rotation
from oasis.data.mixing import keyed_rng
from oasis.data.sample_files import write_samples
from oasis.errors import ConfigError, DataError
from oasis.run import Run

FRAMES = Path(__file__).parents[4] / "shared" / "data" / "migdal" / "frames.npz"
COUNT = 120


@pytest.fixture(scope="module")
def samples():
    dataset = MigdalAdapter({"events": {"val": COUNT}}, seed=3).dataset("val")
    return [dataset[index] for index in range(COUNT)]


def test_every_second_event_is_a_hybrid(samples):
    for index, sample in enumerate(samples):
        hybrid = index % 2 == 0
        assert sample.meta["kind"] == ("hybrid" if hybrid else "NR")
        assert np.isfinite(sample.meta["ER_energy"]) == hybrid
        assert (sample.target[0].sum() > 0) == hybrid
        assert sample.target[1].sum() > 0
        assert sample.image.shape == (1, 96, 96)


def test_the_image_is_the_sum_of_the_maps_and_noise(samples):
    rest = np.concatenate([sample.image.ravel() - sample.target.sum(axis=0).ravel() for sample in samples])
    empty = np.concatenate([sample.target.sum(axis=0).ravel() == 0 for sample in samples])
    assert rest[empty].min() == 0
    assert np.sqrt((rest[empty] ** 2).mean()) == pytest.approx(7.6 / np.sqrt(2), rel=0.03)
    bright = np.concatenate([sample.target[1].ravel() > 100 for sample in samples])
    assert rest[bright].mean() == pytest.approx(0, abs=0.3)
    assert rest[bright].std() == pytest.approx(7.6, rel=0.03)


def test_light_follows_energy(samples):
    """The mean light is that of the field: 1,925 ADU per keV on average, 3,100 at the centre."""
    hybrids = samples[::2]
    whole = [sample for sample in hybrids if sample.meta["ER_energy"] < 8]
    light = np.array([sample.target[0].sum() / sample.meta["ER_energy"] for sample in whole])
    assert 1500 < light.mean() < 2900
    energy = np.array([sample.meta["NR_energy"] for sample in samples])
    assert energy.min() >= 15
    light = np.array([sample.target[1].sum() for sample in samples]) / energy
    assert 1.26 * 1500 < light.mean() < 1.26 * 2900


def test_electrons_of_four_kev_have_the_light_of_those_of_the_authors():
    """7,700 ADU is the mean in their notebook."""
    scene = MigdalAdapter({"energies": (3.6, 4.4)}).scene("test")
    light = [scene.place(2 * index, keyed_rng(0, "test", index))[0][1].values.sum() for index in range(600)]
    assert np.mean(light) == pytest.approx(7700, rel=0.05)


@pytest.mark.parametrize(("side", "cut"), [(96, 0.3), (160, 0.02)])
def test_windows_hold_both_tracks(side, cut, monkeypatch):
    """All electrons below 9 keV are whole, and at 12-15 keV most of them, in larger windows nearly all."""
    scene = MigdalAdapter({"evaluation_size": (side, side)}).scene("test")
    monkeypatch.setattr(scene, "_light", lambda *_: np.zeros((side, side), np.float32))
    events = [scene.place(2 * index, keyed_rng(0, "test", index))[1] for index in range(800)]
    energy, outside = (np.array([event[name] for event in events]) for name in ("ER_energy", "ER_outside"))
    assert (outside[energy < 6] == 0).mean() > 0.99
    assert (outside[energy < 9] > 0.02).mean() < 0.02
    assert (outside[energy > 12] > 0.02).mean() == pytest.approx(cut, abs=0.05)


def test_the_place_of_a_recoil_does_not_tell_whether_there_is_an_electron():
    scene = MigdalAdapter({"energies": (9, 15)}).scene("test")
    rows = {0: [], 1: []}
    for index in range(600):
        _, meta = scene.place(index, keyed_rng(0, "test", index))
        rows[index % 2].append(meta["vertex_row"])
    assert ks_2samp(*rows.values()).pvalue > 1e-3


def test_what_only_trains_is_not_in_the_test_split():
    shares = {"surroundings": 0.5, "empty": 0.25, "alone": 0.25}
    adapter = MigdalAdapter({**shares, "events": {"train": 80, "test": 40}})
    train, test = (
        [dataset[index] for index in range(len(dataset))] for dataset in map(adapter.dataset, ("train", "test"))
    )
    empty = [sample for sample in train if sample.meta["kind"] == "empty"]
    alone = [sample for sample in train if sample.meta["kind"] == "ER"]
    whole = [sample for sample in train if sample.valid.all() and sample.meta["kind"] != "empty"]
    assert 8 <= len(empty) <= 34
    assert 8 <= len(alone) <= 34
    assert 15 <= len(whole) <= 45
    for sample in alone:
        assert sample.target[0].any()
        assert not sample.target[1].any()
    for sample in empty:
        assert sample.valid.all()
        assert not sample.target.any()
        assert 0 < sample.image.mean() < 10
    assert all(sample.meta["kind"] in ("hybrid", "NR") and not sample.valid.all() for sample in test)


def test_a_box_has_its_margin(samples):
    loose = MigdalAdapter({"events": {"val": 4}, "box_margin": 5}, seed=3).dataset("val")
    for index in range(4):
        box = np.pad(samples[index].valid[0], 5)
        expected = ndimage.maximum_filter(box, 11)[5:-5, 5:-5]
        np.testing.assert_array_equal(loose[index].valid[0], expected)


def test_recoils_follow_a_measured_spectrum():
    spectrum = {"edges": [60, 100, 200, 400], "counts": [4, 2, 2]}
    scene = MigdalAdapter({"recoil_spectrum": spectrum}).scene("test")
    energy = scene.recoils.table["ionisation"][scene.recoil_indices]
    shares, _ = np.histogram(energy, [15, 60, 100, 200, 400, 660], weights=scene.recoil_shares)
    np.testing.assert_allclose(shares, [0, 0.5, 0.25, 0.25, 0], atol=1e-9)
    with pytest.raises(ConfigError, match="no recoil lies in a bin with counts"):
        MigdalAdapter({"recoil_spectrum": {"edges": [700, 800], "counts": [1]}}).scene("test")
    for wrong in (
        {"edges": [1, 2], "counts": [1, 1]},
        {"edges": [2, 1], "counts": [1]},
        {"edges": [1, 2], "counts": [0]},
    ):
        with pytest.raises(ConfigError, match="recoil_spectrum"):
            MigdalAdapter({"recoil_spectrum": wrong})


def test_both_tracks_begin_at_the_vertex(samples):
    """The light of a slow electron surrounds the vertex, and the recoil shines there."""
    for sample in samples[::2]:
        if sample.meta["ER_energy"] > 5:
            continue
        rows, cols = np.nonzero(sample.target[0, 0] > 0)
        light = sample.target[0, 0][rows, cols]
        row, col = sample.meta["vertex_row"], sample.meta["vertex_col"]
        assert np.hypot(np.average(rows, weights=light) - row, np.average(cols, weights=light) - col) < 25
        assert sample.target[1, 0][round(row), round(col)] > PRESENT_ADU


def test_the_box_bounds_both_tracks(samples):
    for sample in samples:
        tracks = (sample.target[0, 0] > 0) | (sample.target[1, 0] > PRESENT_ADU)
        np.testing.assert_array_equal(sample.valid[0], bounding_box(tracks))


def test_noise_is_not_taken_for_a_nuclear_recoil():
    """With presence "> 0" after the 1 ADU cut nearly every pixel of a 4-5 keV electron counts as overlap.

    The same measure gave 93.5 % and, with a blob above 25 ADU, 77 % in the simulation behind these targets.
    """
    dataset = MigdalAdapter({"events": {"val": 160}, "energies": (4.0, 5.0)}, seed=5).dataset("val")
    above_zero, blob = [], []
    for index in range(0, 160, 2):
        sample = dataset[index]
        electron, recoil = sample.target[0] > 0, sample.target[1]
        measured = sample.image - sample.target[0] > 1
        above_zero.append((electron & measured).sum() / electron.sum())
        blob.append((electron & (recoil > PRESENT_ADU)).sum() / electron.sum())
    assert np.mean(above_zero) > 0.88
    assert 0.6 < np.mean(blob) < 0.85


def test_splits_share_no_track():
    adapter = MigdalAdapter()
    indices = {split: adapter.dataset(split).scene for split in ("train", "val", "test")}
    for kind in ("electron_indices", "recoil_indices"):
        used = np.concatenate([getattr(scene, kind) for scene in indices.values()])
        assert len(used) == len(set(used))


def test_training_events_are_new_in_every_epoch_and_others_are_not():
    adapter = MigdalAdapter({"events": {"train": 4, "test": 4}})
    train, test = adapter.dataset("train"), adapter.dataset("test")
    assert not np.array_equal(train[(0, 1)].image, train[(1, 1)].image)
    assert np.array_equal(test[(0, 1)].image, test[(1, 1)].image)


def test_the_whole_field():
    sample = MigdalAdapter({"size": (288, 512), "events": {"test": 2}}).dataset("test")[0]
    assert sample.image.shape == (1, 288, 512)
    assert sample.meta["window_row"] == 0


def test_rotations_are_uniform():
    rng = np.random.default_rng(0)
    turned = np.array([random_rotation(rng) for _ in range(4000)])
    np.testing.assert_allclose(
        turned @ turned.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (4000, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(turned), 1)
    assert np.abs(turned.mean(axis=0)).max() < 0.03
    assert np.abs((turned**2).mean(axis=0) - 1 / 3).max() < 0.02


@pytest.mark.skipif(not FRAMES.exists(), reason="the measured frames are not here")
def test_measured_recoils_take_the_place_of_simulated_ones():
    adapter = MigdalAdapter({"recoils": str(FRAMES), "restore_noise": True, "events": {"train": 20}})
    dataset = adapter.dataset("train")
    for index in range(20):
        sample = dataset[index]
        recoil = sample.target[1, 0]
        assert recoil.max() >= 400
        inside = recoil > 0
        np.testing.assert_allclose(sample.image[0][inside], (recoil + sample.target[0, 0])[inside], rtol=1e-6)
        assert 0 < sample.image[0][~inside & (sample.target[0, 0] == 0)].std() < 8
        row, col = sample.meta["vertex_row"], sample.meta["vertex_col"]
        assert recoil[round(row), round(col)] == recoil.max()


def test_files_take_the_place_of_the_simulation(tmp_path, samples):
    write_samples(tmp_path / "val.h5", samples[:4], ("ER", "NR"), "ADU")
    write_samples(tmp_path / "other.h5", samples[:4], ("NR", "ER"), "ADU")
    dataset = MigdalAdapter({"files": {"val": str(tmp_path / "val.h5")}}).dataset("val")
    assert len(dataset) == 4
    np.testing.assert_array_equal(dataset[2].image, samples[2].image)
    for name, message in (("other.h5", "contains the classes"), ("nowhere.h5", "no such file")):
        with pytest.raises(DataError, match=message):
            MigdalAdapter({"files": {"val": str(tmp_path / name)}}).dataset("val")


def test_a_split_without_events_is_refused():
    with pytest.raises(ConfigError, match=r"data.events.val: expected at least 1"):
        MigdalAdapter({"events": {"val": 0}}).dataset("val")


def test_prepare_takes_raw_and_binned_frames():
    adapter = MigdalAdapter()
    raw = np.random.default_rng(0).poisson(100, (2, 1152, 2048)).astype(np.uint16)
    dark = np.full((1152, 2048), 100.0)
    images = adapter.as_images(raw, dark)
    assert images.shape == (2, 1, 288, 512)
    assert images.min() == 0
    assert 0 < images.mean() < 20
    assert adapter.as_images(np.full((288, 512), -3.0)).max() == 0
    with pytest.raises(DataError, match="dark frame has shape"):
        adapter.as_images(raw, dark[:100])


def test_the_overlap_weighted_loss_sees_the_electron_under_the_recoil(samples):
    """The defaults are the paper's weights: (5, 1) per class, (3, 1, 6) per region."""
    setup = Run.from_values({"adapter": "migdal", "run": "unused"})
    loss = setup.loss()
    target = torch.from_numpy(samples[0].target)[None]
    codes = loss.regions(target)
    electron, recoil = target[:, 0] > 0, target[:, 1] > PRESENT_ADU
    weights = loss.table[codes]
    assert (weights[electron & recoil] == 6).all()
    assert (weights[electron & ~recoil] == 3).all()
    assert (weights[~electron] == 1).all()
    assert loss.class_weights.tolist() == [5, 1]


def test_the_spectrum_of_training_electrons_falls_as_asked():
    adapter = MigdalAdapter({"spectral_index": 2.0})
    scene, flat = adapter.dataset("train").scene, adapter.dataset("test").scene
    energy = scene.electrons.table["energy"][scene.electron_indices]
    low, high = (scene.electron_shares[(energy >= edge) & (energy < 2 * edge)].sum() for edge in (3.5, 7))
    assert low / high == pytest.approx(2, rel=0.1)  # of the integral of E^-2 over an octave, beside the next
    assert np.ptp(flat.electron_shares) == 0


def test_what_is_visible_is_what_was_valid(samples):
    """The boxes of the tracks found without the truth hold the light of the one box that knows it."""
    visible = MigdalAdapter().visible(np.stack([sample.image for sample in samples]))
    assert visible.shape == (COUNT, 1, 96, 96)
    assert visible.dtype == bool
    shares = []
    for sample, seen in zip(samples, visible, strict=True):
        light = np.where(sample.valid, sample.target, 0).sum()
        shares.append(np.where(seen, sample.target, 0).sum() / light)
    assert np.median(shares) > 0.99
    assert min(shares) > 0.9


def test_what_lies_between_two_tracks_is_background():
    frame = np.random.default_rng(0).normal(0, 5, (1, 1, 288, 512)).astype(np.float32)
    frame[..., 40:46, 30:50] += 500
    frame[..., 250:256, 460:480] += 500
    (seen,) = MigdalAdapter().visible(frame)[0]
    assert seen[36:50, 26:54].all()
    assert seen[246:260, 456:484].all()
    assert seen.sum() == 2 * 14 * 28


def test_an_image_without_tracks_is_visible_everywhere():
    noise = np.random.default_rng(0).normal(0, 5, (2, 1, 40, 40)).astype(np.float32)
    assert MigdalAdapter().visible(noise).all()


def test_tracks_may_come_from_a_library_of_ones_own(tmp_path):
    path = tmp_path / "tracks.h5"
    tracks.main([str(path), "--seed", "1", "--electrons", "30", "--recoils", "30"])
    adapter = MigdalAdapter({"tracks": str(path), "events": {"val": 20}})
    numbers = {int(sample.meta["NR_track"]) for sample in map(adapter.dataset("val").__getitem__, range(20))}
    assert max(numbers) < 30
    with pytest.raises(DataError, match=r"nowhere\.h5: no such file"):
        MigdalAdapter({"tracks": str(tmp_path / "nowhere.h5")}).dataset("val")


def test_regions_of_interest_are_boxes_of_tracks():
    adapter = MigdalAdapter()
    whole = MigdalAdapter({"size": (288, 512), "events": {"test": 6}}, seed=2).dataset("test")
    held, area = [], []
    for index in range(6):
        sample = whole[index]
        seen = np.zeros(sample.image.shape[1:], bool)
        for box in adapter.regions_of_interest(sample.image):
            assert not seen[box].any()  # boxes that would overlap are one
            seen[box] = True
        held.append(sample.target[1, 0][seen].sum() / sample.target[1].sum())
        area.append(seen.mean())
    assert np.median(held) > 0.98
    assert max(area) < 0.1
    assert adapter.regions_of_interest(np.zeros_like(sample.image)) == []
