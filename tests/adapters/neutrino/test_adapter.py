"""The neutrino adapters: sources of samples, defaults, bad input, and what an evaluation gives."""

import numpy as np
import pytest
import torch
import yaml

from oasis.adapters import EventPrediction
from oasis.adapters.neutrino import NeutrinoAdapter, NeutrinoIonsAdapter
from oasis.adapters.neutrino.metrics import COLUMNS
from oasis.adapters.neutrino.scene import EXIT_COLUMNS
from oasis.data.images import Images
from oasis.data.sample_files import write_samples
from oasis.data.samples import collate
from oasis.errors import ConfigError, DataError
from oasis.evaluation.event_table import evaluate, evaluate_maps
from oasis.evaluation.summary import summarise
from oasis.inference.predict import predict
from oasis.run import Run

SMALL = {"events": {"train": 8, "val": 24, "test": 8}}
DIRECTED = ("ke", "dx", "dy", "dz")
ADAPTERS = {1: NeutrinoAdapter, 2: NeutrinoIonsAdapter}


def setup_of(root, adapter=NeutrinoAdapter, **changes):
    """Set up a run whose adapter is taken from its file, which needs no installation."""
    name = f"{root / 'oasis/adapters/neutrino/adapter.py'}:{adapter.__name__}"
    return Run.from_values({"adapter": name, "run": "unused", "data": SMALL, **changes})


def test_both_configurations_by_default(root):
    for configuration, adapter in ADAPTERS.items():
        setup = setup_of(root, adapter)
        sample = setup.dataset("val")[0]
        assert sample.target.shape == (5 + configuration, 1, 7, 7, 7)
        assert sample.context.shape == (adapter.context, 7, 7, 7)
        batch = collate([setup.dataset("train")[index] for index in range(4)])
        separator = setup.new_separator((7, 7, 7)).eval()
        with torch.inference_mode():
            maps = separator(batch.image, batch.valid, batch.context).maps
        assert maps.shape == batch.target.shape
        torch.testing.assert_close(maps.sum(1), batch.image)  # charge is conserved


def test_weights_grow_with_the_number_of_particles(root):
    for configuration, adapter in ADAPTERS.items():
        loss = setup_of(root, adapter).loss()
        classes = 5 + configuration
        assert loss.table.shape == (2**classes,)
        for code, weight in enumerate(loss.table.tolist()):
            number = code.bit_count()
            assert weight == (1 if number < 2 else number + 1)


def test_the_order_of_protons_is_theirs_or_any(root):
    assert NeutrinoAdapter(SMALL).interchangeable == ()
    free = NeutrinoIonsAdapter({"order": "any"}).interchangeable
    assert free == (("proton_1", "proton_2", "proton_3", "proton_4"),)
    setup = setup_of(root, data={**SMALL, "order": "any"})
    batch = collate([setup.dataset("val")[index] for index in range(4)])
    swapped = batch.target[:, [0, 3, 1, 2, 5, 4]]
    assert setup.loss()(swapped, batch.target) == 0
    assert setup_of(root).loss()(swapped, batch.target) > 0


def test_an_evaluation_has_every_column_and_its_figures(root):
    setup = setup_of(root)
    table = evaluate(setup.new_separator((7, 7, 7)), setup.dataset("val"), setup.adapter, workers=0)
    assert len(table) == 24 * 6
    assert set(COLUMNS) <= set(table)
    assert table["nuclei_found"].notna().sum() == 24
    figures = setup.adapter.figures(table)
    assert set(figures) == {"multiplicity_maps", "multiplicity_set_head", "visible_energy", "nuclei"}
    for figure in figures.values():
        figure.canvas.draw()
    assert setup.adapter.figures(table.drop(columns="nuclei_found")) == {}
    assert summarise(table, setup.adapter.study).bins["events"].sum() == 24


def test_true_maps_need_no_separator():
    adapter = NeutrinoIonsAdapter(SMALL)
    table = evaluate_maps(lambda batch: batch.target, adapter.dataset("val"), adapter, workers=0)
    muons = table[table["class"] == "muon"]
    assert (muons["nuclei_true"] == muons["nuclei"]).all()
    assert not table["error_shared"].any()
    np.testing.assert_allclose(table["charge_shared"], table["overlap_intensity_true"])
    adapter.figures(table)["multiplicity_maps"].canvas.draw()


def test_splits_differ_and_follow_the_seed():
    images = [NeutrinoAdapter(SMALL, seed).dataset(split)[0].image for seed in (0, 1) for split in ("val", "test")]
    assert len({image.tobytes() for image in images}) == 4
    assert len(NeutrinoAdapter().dataset("train")) == 20_000


def test_the_cubes_of_the_public_data_set_are_its_own(tmp_path):
    adapter = NeutrinoAdapter({"release": str(tmp_path), "detector": {"cube_mm": 10.27}})
    with pytest.raises(ConfigError, match=r"data.detector.cube_mm: 10.27 mm, but the cubes"):
        adapter.dataset("val")


def test_files_take_the_place_of_the_simulation(tmp_path):
    adapter = NeutrinoAdapter(SMALL)
    samples = [adapter.dataset("val")[index] for index in range(3)]
    write_samples(tmp_path / "val.h5", samples, adapter.classes, adapter.unit)
    dataset = NeutrinoAdapter({"files": {"val": str(tmp_path / "val.h5")}}).dataset("val")
    assert len(dataset) == 3
    np.testing.assert_array_equal(dataset[1].image, samples[1].image)
    np.testing.assert_array_equal(dataset[1].context, samples[1].context)
    assert (
        adapter.event_rows(EventPrediction(samples[1].target[:, ::-1].copy()), dataset[1])["muon"]["nuclei_true"]
        > 0
    )
    with pytest.raises(
        DataError, match=r"val.h5: contains the classes \['muon', .*, expected \['muon', 'proton_1'"
    ):
        NeutrinoIonsAdapter({"files": {"val": str(tmp_path / "val.h5")}}).dataset("val")
    larger = samples[0].replace(
        image=np.ones((1, 9, 9, 9), np.float32),
        target=np.ones((6, 1, 9, 9, 9), np.float32),
        valid=np.ones((1, 9, 9, 9), bool),
        context=None,
        instances=None,
    )
    write_samples(tmp_path / "large.h5", [larger], adapter.classes)
    with pytest.raises(
        DataError, match=r"large.h5: contains images of 9 x 9 x 9 pixels, expected 7 x 7 x 7: crop"
    ):
        NeutrinoAdapter({"files": {"val": str(tmp_path / "large.h5")}}).dataset("val")


def test_images_of_other_programs(tmp_path):
    adapter = NeutrinoAdapter()
    counts, exits = np.arange(343).reshape(7, 7, 7), np.ones((2, 7))
    np.savez(tmp_path / "one.npz", image=counts, exit=exits[:1])
    np.savez(tmp_path / "two.npz", image=np.stack([counts, counts]), exit=exits)
    np.savez(tmp_path / "large.npz", image=np.ones((9, 9, 9)), exit=exits[:1])
    assert adapter.read(tmp_path / "one.npz").image.shape == (1, 1, 7, 7, 7)
    assert adapter.read(tmp_path / "two.npz").image.shape == (2, 1, 7, 7, 7)
    with pytest.raises(DataError, match="an image of 9 x 9 x 9 cubes, but the model's volume has 7 on each axis"):
        adapter.read(tmp_path / "large.npz")


def test_measured_images_come_with_the_muons_exit(root, tmp_path):
    setup = setup_of(root)
    samples = [setup.dataset("val")[index] for index in range(3)]
    exits = np.array([[float(sample.meta[name]) for name in EXIT_COLUMNS] for sample in samples])
    images = np.stack([sample.image[0] for sample in samples])
    np.savez(tmp_path / "events.npz", image=images, exit=exits)
    found = setup.adapter.read(tmp_path / "events.npz").context
    np.testing.assert_allclose(found, np.stack([sample.context for sample in samples]), atol=1e-6)
    separator = setup.new_separator((7, 7, 7))
    report = predict(separator, setup.adapter, tmp_path / "events.npz", tmp_path / "maps.h5")
    assert {"presence_predicted", "ke_predicted", "vertex_z_predicted"} <= set(report.objects)
    table = evaluate(separator, setup.dataset("val"), setup.adapter, workers=0)
    np.testing.assert_allclose(report.objects["ke_predicted"], table["ke_predicted"][: 3 * 6], rtol=0.02, atol=0.2)
    np.savez(tmp_path / "events.npz", image=images)
    with pytest.raises(
        DataError, match=r"events.npz: needs, in addition to the images, an array exit \(events, 7\)"
    ):
        predict(separator, setup.adapter, tmp_path / "events.npz", tmp_path / "maps.h5")
    np.savez(tmp_path / "events.npz", image=images, exit=exits[:2])
    with pytest.raises(
        DataError, match=r"events.npz: a context of shape \(2, 8, 7, 7, 7\) does not fit .*\(3, 1, 7"
    ):
        predict(separator, setup.adapter, tmp_path / "events.npz", tmp_path / "maps.h5")


def test_a_context_that_is_not_read_is_missed_and_not_made_up(root, tmp_path, monkeypatch):
    setup = setup_of(root)
    np.savez(tmp_path / "events.npz", image=setup.dataset("val")[0].image)
    image = setup.dataset("val")[0].image[None]
    monkeypatch.setattr(setup.adapter, "read", lambda path, key, dark: Images(image))
    with pytest.raises(DataError, match=r"events.npz: a context of 0 channels, expected 8"):
        predict(setup.new_separator((7, 7, 7)), setup.adapter, tmp_path / "events.npz", tmp_path / "maps.h5")


def test_fits_need_no_truth_and_do_not_depend_on_their_batch(root, tmp_path):
    quick = {"method": "adam", "steps": 8, "starts": 2, "restarts": 0, "add": False}
    setup = setup_of(root, data={**SMALL, "refinement": quick})
    separator, dataset = setup.new_separator((7, 7, 7)), setup.dataset("val")
    table = evaluate(separator, dataset, setup.adapter, batch_size=24, workers=0, refine=True)
    muons = table[table["class"] == "muon"]
    assert (muons["deviance_refined"] <= muons["deviance_predicted"]).all()
    assert muons["deviance_refined"].median() < muons["deviance_predicted"].median()
    exists = (table["presence_predicted"] > 0.5) & (table["class"] != "muon")
    assert (table["ke_refined"].notna() == exists).all()
    assert {"angle_refined", "vertex_error_refined", "visible_energy_refined"} <= set(table)
    samples = [dataset[index] for index in range(3)]
    exits = [[float(sample.meta[name]) for name in EXIT_COLUMNS] for sample in samples]
    np.savez(tmp_path / "events.npz", image=np.stack([sample.image[0] for sample in samples]), exit=exits)
    source, out = tmp_path / "events.npz", tmp_path / "maps.h5"
    alone = predict(separator, setup.adapter, source, out, refine=True).objects
    np.testing.assert_allclose(alone["vertex_x_refined"], table["vertex_x_refined"][: 3 * 6], atol=0.3)
    again = predict(separator, setup.adapter, source, out, refine=True).objects
    np.testing.assert_array_equal(again["ke_refined"], alone["ke_refined"])


def test_a_fit_begins_at_predicted_numbers(root):
    setup = setup_of(root, objects=None)
    with pytest.raises(ConfigError, match="refine: the fit starts from predicted particles"):
        evaluate(setup.new_separator((7, 7, 7)), setup.dataset("val"), setup.adapter, workers=0, refine=True)


def test_directions_are_not_turned(root):
    with pytest.raises(ConfigError, match="augmentation: the context or truth of these samples"):
        setup_of(root, augmentation={})
    setup = setup_of(root)
    with pytest.raises(ConfigError, match="intensity_spread: the context contains directions"):
        evaluate(setup.new_separator(), setup.dataset("val"), setup.adapter, workers=0, spread=True)


def test_numbers_of_the_set_head_are_measured():
    adapter = NeutrinoAdapter(SMALL)
    sample = next(one for one in adapter.dataset("val") if one.meta["nuclei"] == 2)
    truth = {name: [float(sample.meta[f"{label}_{name}"]) for label in adapter.classes] for name in DIRECTED}
    truth |= {f"vertex_{axis}": [float(sample.meta[f"vertex_{axis}"])] * 6 for axis in "xyz"}
    numbers = {f"{name}_predicted": np.array(values) for name, values in truth.items()}
    numbers["presence_predicted"] = np.array([np.nan, 0.9, 0.9, 0.1, 0.1, 0.1])
    rows = adapter.event_rows(EventPrediction(sample.target, numbers), sample)
    energy = sample.meta["proton_1_ke"] + sample.meta["proton_2_ke"]
    expected = {"nuclei_predicted": 2, "visible_energy_predicted": energy, "vertex_error_predicted": 0}
    assert {name: rows["muon"][name] for name in expected} == pytest.approx(expected)
    assert [rows[f"proton_{rank}"]["found_predicted"] for rank in (1, 2, 3)] == [1, 1, 0]
    assert [rows[f"proton_{rank}"]["angle_predicted"] for rank in (1, 2)] == pytest.approx([0, 0], abs=1e-3)
    assert np.isnan(rows["proton_3"]["angle_predicted"])
    numbers["presence_predicted"][2] = 0.4
    numbers["vertex_z_predicted"] = numbers["vertex_z_predicted"] + 3
    numbers["dx_predicted"], numbers["dy_predicted"] = -numbers["dy_predicted"], numbers["dx_predicted"]
    rows = adapter.event_rows(EventPrediction(sample.target, numbers), sample)
    assert rows["muon"]["nuclei_predicted"] == 1
    assert rows["muon"]["visible_energy_predicted"] == sample.meta["proton_1_ke"]
    assert rows["muon"]["vertex_error_predicted"] == pytest.approx(3)
    cosine = sample.meta["proton_1_dz"] ** 2  # turned by 90 degrees about z
    assert np.cos(np.radians(rows["proton_1"]["angle_predicted"])) == pytest.approx(cosine)
    assert np.isnan(rows["proton_2"]["angle_predicted"])


def test_an_empty_image_has_empty_maps(root):
    setup = setup_of(root)
    context = setup.dataset("val")[0].context
    maps = setup.new_separator((7, 7, 7)).separate(np.zeros((7, 7, 7)), context)
    assert not any(values.any() for values in maps.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energies": [0, 60]}, r"data.energies: expected two increasing energies above 0 and up to 80 MeV"),
        ({"energies": [30, 20]}, "data.energies"),
        ({"energies": [1, 200]}, "data.energies"),
        ({"order": "size"}, "data.order"),
        ({"least_charge": 0}, "data.least_charge"),
        ({"detector": {"birk": 1}}, r"data.detector.birk: unknown key; did you mean 'birks'"),
        ({"events": {"val": 0}}, "data.events.val"),
    ],
)
def test_bad_options_give_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        NeutrinoAdapter(options)
    assert "\n" not in str(caught.value)


def test_a_release_that_is_not_there():
    with pytest.raises(DataError, match=r"dataset_p_metadata.pkl: no such file"):
        NeutrinoAdapter({"release": "nowhere"}).dataset("train")


def test_the_quickstart_is_a_run(root):
    values = yaml.safe_load((root / "examples/neutrino/quickstart.yaml").read_text())
    assert values.pop("adapter") == "neutrino"
    data = values.pop("data")
    values.pop("run")
    setup = setup_of(root, data=data, **values)
    assert setup.config.head.background is False
    assert len(setup.dataset("train")) == 20_000
