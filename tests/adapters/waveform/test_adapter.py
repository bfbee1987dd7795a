"""The waveform adapters: what they simulate, what they read, what they measure."""

import h5py
import numpy as np
import pytest
import torch

from oasis.adapters import EventPrediction
from oasis.adapters.waveform import PulsesAdapter, WaveformAdapter
from oasis.adapters.waveform.metrics import COLUMNS, arrival
from oasis.data.sample_files import write_samples
from oasis.errors import ConfigError, DataError, OasisError
from oasis.inference.predict import predict
from oasis.run import Run

COUNT = 200
SMALL = {"train": 4, "val": COUNT, "test": 4}


def samples_of(adapter, split="val"):
    dataset = adapter.dataset(split)
    return [dataset[index] for index in range(len(dataset))]


@pytest.fixture(scope="module")
def samples():
    return samples_of(WaveformAdapter({"events": SMALL}, seed=3))


@pytest.fixture(scope="module")
def pileup():
    return samples_of(PulsesAdapter({"events": SMALL}, seed=3))


def test_every_second_waveform_has_a_signal_pulse(samples):
    for index, sample in enumerate(samples):
        peak = sample.target[0].max()
        assert sample.meta["kind"] == ("background" if index % 2 else "signal")
        assert (peak > 0) == (index % 2 == 0)
        assert peak <= 50
        assert sample.image.shape == (1, 1024)
    peaks = np.array([sample.target[0].max() for sample in samples[::2]])
    assert (peaks > 0.49).all()
    assert np.median(np.log(peaks)) == pytest.approx(np.log(5), abs=0.6)  # uniform from log 0.5 to log 50


def test_maps_are_intensities(samples, pileup):
    for sample in (*samples, *pileup):
        assert sample.target.min() >= 0
        assert sample.valid.all()


def test_the_rest_of_an_image_is_noise_and_baseline(samples):
    """Its covariance is the adapter's: of the noise with 1 mV and of the baseline with 1 mV."""
    rest = np.stack([sample.image[0] - sample.target.sum(axis=0)[0] for sample in samples])
    expected = WaveformAdapter().noise().autocovariance
    assert expected[0] == pytest.approx(2)
    for lag in (0, 1, 50):
        means = (rest[:, : 1024 - lag] * rest[:, lag:]).mean(axis=1)
        assert abs(means.mean() - expected[lag]) < 4 * means.std() / np.sqrt(COUNT)
    assert rest.min() < -2


def test_the_background_has_slow_pulses_afterpulses_and_pickup(samples):
    counts = np.array([sample.meta["slow_pulses"] for sample in samples])
    assert counts.mean() == pytest.approx(1, abs=0.25)
    quiet = {"pulses": 0, "afterpulses": 0, "pickup": 0}
    for sample in samples_of(WaveformAdapter({"events": SMALL, "background": quiet}))[:20]:
        assert sample.target[1].max() == 0
    pickup = samples_of(WaveformAdapter({"events": SMALL, "background": {"pulses": 0, "pickup": 1}}))
    heights = [sample.target[1].max() for sample in pickup]
    assert max(heights) <= 3
    assert np.median(heights) > 0.5
    edges = {}
    for mean in (0, 4):
        background = {"pickup": 0, "pulses": 1, "afterpulses": mean}
        drawn = samples_of(WaveformAdapter({"events": SMALL, "background": background}))
        maps = [sample.target[1, 0] for sample in drawn if sample.target[1].any()]
        edges[mean] = np.mean([(np.diff(one) > 0.02 * one.max()).sum() for one in maps])
    assert edges[4] > edges[0] + 3  # samples on the leading edge of a pulse


def test_pulses_come_in_order_any_number_of_them(pileup):
    counts = np.array([sample.meta["pulses"] for sample in pileup])
    assert np.bincount(counts, minlength=4).min() > COUNT / 8
    for sample, count in zip(pileup, counts, strict=True):
        assert ((sample.target.max(axis=(1, 2)) > 0) == (np.arange(3) < count)).all()
        arrivals = [arrival(one[0]) for one in sample.target[:count]]
        assert (np.diff(arrivals) >= 0).all()
        assert all(0.1 * 1023 <= one <= 0.85 * 1023 for one in arrivals)
    gaps = [
        np.diff([4 * arrival(one[0]) for one in sample.target[: int(n)]])
        for sample, n in zip(pileup, counts, strict=True)
    ]
    assert np.concatenate(gaps).mean() == pytest.approx(150, rel=0.25)


@pytest.mark.parametrize("kind", [WaveformAdapter, PulsesAdapter])
def test_splits_and_epochs_differ_and_repeat(kind):
    adapter = kind({"events": {"train": 4, "val": 4, "test": 4}})
    train, val, test = (adapter.dataset(split) for split in ("train", "val", "test"))
    assert not np.array_equal(train[(0, 2)].image, train[(1, 2)].image)
    assert np.array_equal(test[(0, 2)].image, test[(1, 2)].image)
    assert not np.array_equal(val[2].image, test[2].image)
    assert np.array_equal(kind({"events": {"test": 4}}).dataset("test")[2].image, test[2].image)


def test_a_true_map_is_measured_without_error(samples):
    adapter = WaveformAdapter()
    for sample in samples[:20]:
        (row,) = adapter.event_rows(EventPrediction(sample.target), sample).values()
        there = sample.meta["kind"] == "signal"
        assert row["amplitude_true"] == row["amplitude_predicted"]
        assert (row["snr"] == pytest.approx(row["amplitude_true"])) == there
        assert row["detected"] == (row["amplitude_true"] >= 3)
        if there:
            assert row["amplitude_percent"] == 0
            assert row["matched_snr"] > row["snr"]
        if there and row["detected"]:
            assert row["arrival_error"] == 0


def test_separations_are_measured_between_true_pulses(pileup):
    adapter = PulsesAdapter()
    for sample in pileup[:30]:
        rows = adapter.event_rows(EventPrediction(sample.target), sample)
        apart = np.array([row["separation"] for row in rows.values()])
        assert (np.isnan(apart) == (np.arange(3) >= sample.meta["pulses"])).all() or sample.meta["pulses"] == 1
        if sample.meta["pulses"] == 2:
            arrivals = [row["arrival_true"] for row in rows.values()]
            assert apart[0] == apart[1] == pytest.approx(arrivals[1] - arrivals[0])


@pytest.mark.parametrize("most", [2, 4])
def test_the_number_of_classes_is_an_option(most):
    setup = Run.from_values(
        {"adapter": "pulses", "run": "x", "data": {"pulses": most}, "model": {"base_channels": 4}}
    )
    names = tuple(f"pulse_{number}" for number in range(1, most + 1))
    assert setup.adapter.classes == setup.new_separator().classes == names
    assert setup.dataset("val")[0].target.shape == (most, 1, 1024)
    assert setup.loss().groups == [list(range(most))]
    assert PulsesAdapter().classes == ("pulse_1", "pulse_2", "pulse_3")
    assert setup.adapter.study.what == f"pulse_1 to {names[-1]}"


def test_the_order_of_pulse_maps_does_not_count(pileup):
    setup = Run.from_values({"adapter": "pulses", "run": "x"})
    loss = setup.loss()
    target = torch.from_numpy(np.stack([sample.target for sample in pileup[:8]]))
    prediction = target + 0.1 * torch.rand(target.shape, generator=torch.manual_seed(0))
    torch.testing.assert_close(loss(prediction[:, [2, 0, 1]], target), loss(prediction, target))


def test_measured_pulses_and_traces_take_the_place_of_simulated_ones(tmp_path):
    rng = np.random.default_rng(0)
    template = np.zeros((1, 60))
    template[0, 10:40] = 3.0
    np.savetxt(tmp_path / "pulse.csv", template, delimiter=",")
    traces = rng.normal(0, 2, (30, 1500)) + 1000 * np.arange(30)[:, None]
    np.save(tmp_path / "traces.npy", traces)
    adapter = WaveformAdapter(
        {
            "events": {"train": 60, "val": 10, "test": 10},
            "signal": {"templates": str(tmp_path / "pulse.csv")},
            "noise": {"traces": str(tmp_path / "traces.npy")},
        }
    )
    used = {split: set() for split in ("train", "val", "test")}
    for split, levels in used.items():
        for sample in samples_of(adapter, split):
            signal = sample.target[0, 0]
            if signal.any():
                assert (signal > 0.999 * signal.max()).sum() in (29, 30)
                assert (signal > 0).sum() in (30, 31)
            levels.add(round(float(np.median(sample.image - sample.target.sum(axis=0))) / 1000))
    assert used["train"].isdisjoint(used["val"] | used["test"])
    assert used["val"].isdisjoint(used["test"])
    assert adapter.noise().rms == pytest.approx(2, rel=0.02)


def test_the_mean_pulse_has_a_peak_of_1(tmp_path):
    pulses = np.zeros((2, 30))
    pulses[0, 3:5], pulses[1, 3:5] = [2, 1], [2, 4]
    np.save(tmp_path / "pulses.npy", pulses)
    measured = WaveformAdapter({"signal": {"templates": str(tmp_path / "pulses.npy")}}).scene("train").signal
    times = np.array([12.0, 16.0, 14.0, -4.0])  # samples 3 and 4, between them, and before
    np.testing.assert_allclose(measured.mean(times), [1, 1, 1, 0])
    analytic = WaveformAdapter().scene("train").signal
    assert analytic.mean(np.array([analytic.options.shape.peak_ns]))[0] == pytest.approx(1)


def test_many_templates_are_divided_among_the_splits(tmp_path):
    pulses = np.zeros((20, 30))
    pulses[:, 5] = 1
    pulses[:, 6] = np.arange(20) / 40
    np.save(tmp_path / "pulses.npy", pulses)
    adapter = WaveformAdapter({"signal": {"templates": str(tmp_path / "pulses.npy")}})
    parts = [adapter.scene(split).signal.templates[:, 6] for split in ("train", "val", "test")]
    assert sorted(np.concatenate(parts)) == pytest.approx(np.arange(20) / 40)
    assert [len(part) for part in parts] == [14, 2, 4]


def test_files_take_the_place_of_the_simulation(tmp_path, samples, pileup):
    write_samples(tmp_path / "val.h5", samples[:4], WaveformAdapter.classes, "mV")
    write_samples(tmp_path / "other.h5", pileup[:4], PulsesAdapter().classes, "mV")
    dataset = WaveformAdapter({"files": {"val": str(tmp_path / "val.h5")}}).dataset("val")
    np.testing.assert_array_equal(dataset[2].image, samples[2].image)
    for options, message in (
        ({"files": {"val": str(tmp_path / "other.h5")}}, "contains the classes"),
        ({"files": {"val": str(tmp_path / "none.h5")}}, "no such file"),
        (
            {"files": {"val": str(tmp_path / "val.h5")}, "samples": 512},
            "contains images of 1024 pixels, expected 512",
        ),
    ):
        with pytest.raises(DataError, match=message):
            WaveformAdapter(options).dataset("val")


def test_recorded_waveforms_become_millivolts():
    adapter = WaveformAdapter({"read": {"mv_per_unit": -0.5, "baseline_samples": 20}})
    counts = np.full((3, 100), 800, dtype=np.uint16)
    counts[1, 50] = 700
    counts[2, 0] = 0
    images = adapter.as_images(counts)
    assert images.shape == (3, 1, 100)
    assert images[1, 0, 50] == 50
    assert images[2, 0, 50] == 0
    assert np.abs(images[0]).max() == 0
    assert WaveformAdapter().as_images(np.ones(100)).shape == (1, 1, 100)
    with pytest.raises(DataError, match="waveforms of 3 samples, expected at least 20"):
        adapter.as_images(counts.T)
    with pytest.raises(DataError, match="does not contain images"):
        adapter.as_images(np.ones((2, 3, 100)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"events": {"val": 0}}, r"data.events.val: expected at least 1"),
        ({"events": {"train": -1}}, r"data.events.train: .*greater than or equal to 0"),
        ({"signal": {"amplitude": [5, 1]}}, r"data.signal.amplitude: expected the lower bound first"),
        ({"background": {"amplitude": [0, 1]}}, r"data.background.amplitude.0: Input should be greater than 0"),
        ({"arrival": [0.5, 2]}, r"data.arrival.1: Input should be less than"),
        ({"read": {"mv_per_unit": 0}}, r"data.read.mv_per_unit: expected a factor other than 0"),
        ({"signal": {"shape": {"rize_ns": 1}}}, r"data.signal.shape.rize_ns: unknown key; did you mean 'rise_ns'"),
        ({"samples": 4}, r"data.samples"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        WaveformAdapter(options).dataset("val")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 2000)), "data.noise.traces: .*3 components are too few"),
        (np.ones((30, 1000)), "traces of 1000 samples are shorter than a waveform, data.samples: 1024"),
        (np.full((30, 2000), np.nan), "60000 values are NaN or infinite"),
    ],
)
def test_traces_that_cannot_be_used_are_refused(tmp_path, values, message):
    path = tmp_path / "traces.npy"
    np.save(path, values)
    with pytest.raises(OasisError, match=message):
        WaveformAdapter({"noise": {"traces": str(path)}}).dataset("val")


def test_figures_are_drawn_of_an_event_table():
    for name in ("waveform", "pulses"):
        data, model = {"events": {"val": 12}}, {"base_channels": 4}
        setup = Run.from_values({"adapter": name, "run": "x", "data": data, "model": model})
        table = setup.measure(setup.dataset("val"), setup.new_separator(), workers=0)
        assert set(setup.adapter.figures(table)) == {"pulses"}
        assert set(COLUMNS) - {"separation"} <= set(table)
        assert ("separation" in table) == (name == "pulses")


def test_waveforms_of_every_kind_of_file_are_separated(tmp_path, samples):
    setup = Run.from_values(
        {
            "adapter": "waveform",
            "run": str(tmp_path / "run"),
            "model": {"base_channels": 4},
        }
    )
    separator = setup.new_separator()
    stack = np.concatenate([sample.image for sample in samples[:3]])
    folder = tmp_path / "waveforms"
    folder.mkdir()
    np.save(folder / "a.npy", stack)
    np.savez(folder / "b.npz", image=stack)
    np.savetxt(folder / "c.csv", stack, delimiter=",", fmt="%.9g")
    with h5py.File(folder / "d.h5", "w") as file:
        file["image"] = stack
    report = predict(separator, setup.adapter, folder, tmp_path / "maps.npz")
    assert report.images == 12
    assert not report.failed
    with np.load(tmp_path / "maps.npz") as maps:
        signal = maps["signal"]
    assert signal.shape == (12, 1, 1024)
    for part in np.split(signal, 4)[1:]:
        np.testing.assert_allclose(part, signal[:3], rtol=1e-4, atol=1e-4)
    bad = np.where(np.arange(1024) == 7, np.nan, stack)
    np.save(folder / "a.npy", bad)
    (folder / "c.csv").write_text("1,2,3\n")
    report = predict(separator, setup.adapter, folder, tmp_path / "maps.npz")
    assert report.images == 6
    assert "left out 3 of 3 frames: 0, 1, 2" in str(report.failed[folder / "a.npy"])
    assert "waveforms of 3 samples" in str(report.failed[folder / "c.csv"])


@pytest.mark.parametrize("name", ["quickstart", "pulses"])
def test_the_examples_are_configurations(root, name):
    setup = Run.from_config(root / f"examples/waveform/{name}.yaml")
    assert setup.dataset("val")[0].target.shape == (len(setup.adapter.classes), 1, 1024)
