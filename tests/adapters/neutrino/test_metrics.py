"""What is measured in maps: with the true maps for predictions it is right, and spoilt maps show."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import confusion_matrix, mean_poisson_deviance

from oasis.adapters.neutrino.figures import multiplicity_matrix
from oasis.adapters.neutrino.metrics import COLUMNS, FLOOR, Measurement, axis_of, calibrate, find_vertex
from oasis.adapters.neutrino.scene import CONFIGURATION_2, SimulatedScene, centres
from oasis.adapters.neutrino.simulation import Detector
from oasis.data.mixing import Mixer
from oasis.loss.distances import poisson_deviance

CLASSES = CONFIGURATION_2.classes
NUCLEI = CLASSES[1:]
ENERGIES = (1.0, 60.0)
COUNT = 250


def columns_of(prediction, sample):
    calibration = calibrate(CONFIGURATION_2, Detector(), ENERGIES)
    return Measurement(CLASSES, Detector(), calibration, least_charge=30.0).columns(prediction, sample)


@pytest.fixture(scope="module")
def samples():
    dataset = Mixer(SimulatedScene(CONFIGURATION_2, Detector(), ENERGIES), COUNT, 0, "test", fixed=True)
    return [dataset[index] for index in range(COUNT)]


@pytest.fixture(scope="module")
def perfect(samples):
    """The rows of the true maps."""
    rows = [columns_of(sample.target, sample) for sample in samples]
    return pd.DataFrame([row[name] | {"class": name} for row in rows for name in CLASSES])


def test_every_column_is_described(perfect):
    assert set(perfect) - {"class"} == set(COLUMNS)


def test_true_maps_have_no_error(perfect):
    assert not perfect[["error_shared", "error_alone"]].to_numpy().any()
    assert perfect["image_deviance"].max() == 0


def test_energies_from_charge(perfect):
    """Within some photon statistics: 60 MeV give 3,400 p.e. and 5 MeV 130."""
    nuclei = perfect[perfect["class"].isin(NUCLEI) & (perfect["contained"] == 1) & (perfect["ke_true"] > 5)]
    assert (nuclei["found"] == 1).all()
    error = nuclei["ke_charge"] - nuclei["ke_true"]
    for name in ("proton_1", "deuteron", "triton"):
        assert error[nuclei["class"] == name].median() == pytest.approx(0, abs=0.3)
        assert error[nuclei["class"] == name].abs().median() < 0.8


def test_energies_from_range(perfect):
    far = perfect[(perfect["class"] == "proton_1") & (perfect["contained"] == 1) & (perfect["ke_true"] > 40)]
    error = far["ke_range"] - far["ke_true"]
    assert error.median() == pytest.approx(0, abs=1.5)
    assert error.abs().median() < 4


def test_directions(perfect):
    protons = perfect[perfect["class"] == "proton_1"]
    assert protons[protons["ke_true"] > 50]["angle"].median() < 9
    short = perfect[(perfect["class"] != "muon") & (perfect["ke_true"] < 5)]["angle"].median()
    assert 60 < short < 120, "nothing is known of a track of less than 0.4 mm"


def test_the_vertex(perfect):
    error = perfect[perfect["class"] == "muon"]["vertex_error"]
    assert error.median() < 2.2
    assert error.quantile(0.9) < 5


def test_maps_know_the_visible_energy_better_than_their_sum(perfect):
    events = perfect[perfect["class"] == "muon"]
    maps, total = (
        events[name] - events["visible_energy_true"] for name in ("visible_energy", "visible_energy_sum")
    )
    assert total.mean() == pytest.approx(0, abs=4 * total.std() / np.sqrt(COUNT) + 0.5)
    assert maps.abs().median() < 0.4 * total.abs().median()
    assert maps.median() == pytest.approx(0, abs=0.5)


def test_charge_errors_in_shared_cubes_and_elsewhere(samples):
    """Against loops over cubes and classes."""
    rng = np.random.default_rng(0)
    sample = samples[3]
    shares = rng.dirichlet(np.ones(len(CLASSES)), size=(7, 7, 7)).transpose(3, 0, 1, 2)
    prediction = (shares * sample.image)[:, None].astype(np.float32)
    rows = columns_of(prediction, sample)
    true = sample.target[:, 0].astype(float)
    for label, name in enumerate(CLASSES):
        expected = dict.fromkeys(list(COLUMNS)[:5], 0.0)
        for cube in np.ndindex(7, 7, 7):
            number = sum(true[other][cube] > 0 for other in range(len(CLASSES)))
            where = "shared" if number > 1 else "alone"
            expected[f"charge_{where}"] += true[label][cube]
            expected[f"error_{where}"] += abs(prediction[label, 0][cube] - true[label][cube])
            if number > 1:
                even = true[:, *cube].sum() / number if true[label][cube] > 0 else 0
                expected["split_error_shared"] += abs(even - true[label][cube])
        assert {column: rows[name][column] for column in expected} == pytest.approx(expected)


def test_misses_and_inventions_are_counted(samples):
    """A map that is emptied is missed; charge in the map of a particle that is not there invents one."""
    there = [[np.isfinite(sample.meta[f"{name}_ke"]) for name in NUCLEI] for sample in samples]
    for sample, present in zip(samples[:40], there, strict=False):
        full = np.array(present) & (sample.target[1:].sum(axis=(1, 2, 3, 4)) >= 30)
        prediction = sample.target.copy()
        lost, gained = 1 + int(np.argmax(full)), 1 + int(np.argmin(present))
        prediction[lost] = 0
        if not all(present):
            prediction[gained, 0, 3, 3, 3] = 29.5
        rows = columns_of(prediction, sample)
        assert rows["muon"]["nuclei_true"] == sum(present)
        assert rows["muon"]["nuclei_found"] == full.sum() - full.any()
        assert rows[CLASSES[lost]]["found"] == 0
        assert np.isnan(rows[CLASSES[lost]]["ke_charge"])
        if not all(present):
            prediction[gained, 0, 3, 3, 3] = 30.5
            rows = columns_of(prediction, sample)
            assert rows["muon"]["nuclei_found"] == full.sum() - full.any() + 1
            assert rows[CLASSES[gained]]["found"] == 1
            assert np.isnan(rows[CLASSES[gained]]["ke_true"])
            assert rows[CLASSES[gained]]["ke_charge"] > 0


def test_the_multiplicity_matrix_counts_every_event():
    rng = np.random.default_rng(0)
    true, found = rng.integers(1, 6, 400), rng.integers(0, 7, 400)
    table = pd.DataFrame({"nuclei_true": true.astype(float), "nuclei_found": found.astype(float)})
    table = pd.concat([table, pd.DataFrame({"nuclei_true": [np.nan], "nuclei_found": [np.nan]})])
    matrix = multiplicity_matrix(table)
    np.testing.assert_array_equal(matrix, confusion_matrix(true, found, labels=range(7)))
    assert matrix.to_numpy().sum() == 400


def test_the_deviance_is_that_of_poisson():
    rng = np.random.default_rng(0)
    rate = rng.uniform(0.5, 50, 343)
    image = rng.poisson(rate).astype(float)
    found = poisson_deviance(torch.from_numpy(rate), torch.from_numpy(image), FLOOR).sum()
    assert float(found) == pytest.approx(343 * mean_poisson_deviance(image, rate))


def test_the_axis_of_a_line_of_cubes():
    charge = np.zeros((7, 7, 7))
    charge[3, 3, 3:6] = 100
    charge[3, 4, 4] = 1
    distance, axis = axis_of(charge, np.zeros(3))
    assert distance == pytest.approx(10, abs=0.1)
    assert axis == pytest.approx([0, 0, 1], abs=0.01)
    assert axis_of(charge[:, :, ::-1], np.zeros(3))[1] == pytest.approx([0, 0, -1], abs=0.01)
    assert axis_of(charge, centres()[3, 3, 6])[1] == pytest.approx([0, 0, -1], abs=0.01)


def test_the_vertex_of_a_muon_that_crosses_whole_cubes():
    """150 p.e. in each of three cubes: the muon came 30 mm before its exit."""
    charge = np.zeros((7, 7, 7))
    charge[4:, 3, 3] = 150
    meta = {"exit_x": 35.0, "exit_y": 0.0, "exit_z": 0.0, "exit_ke": 300.0}
    meta |= {"exit_dx": 1.0, "exit_dy": 0.0, "exit_dz": 0.0}
    assert find_vertex(charge, meta, Detector()) == pytest.approx([5, 0, 0], abs=0.15)
