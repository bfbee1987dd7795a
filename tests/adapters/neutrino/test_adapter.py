"""The neutrino adapters: sources of samples, defaults, bad input, and what an evaluation gives."""

import numpy as np
import pytest
import torch
import yaml

from oasis.adapters.neutrino import NeutrinoAdapter, NeutrinoIonsAdapter
from oasis.adapters.neutrino.metrics import COLUMNS
from oasis.config import build
from oasis.data.samples import collate
from oasis.data.storage import write_samples
from oasis.errors import ConfigError, DataError
from oasis.evaluation import evaluate, evaluate_maps, summarise

SMALL = {"events": {"train": 8, "val": 24, "test": 8}}
ADAPTERS = {1: NeutrinoAdapter, 2: NeutrinoIonsAdapter}


def setup_of(root, adapter=NeutrinoAdapter, **changes):
    """Set up a run whose adapter is taken from its file, which needs no installation."""
    name = f"{root / 'oasis/adapters/neutrino/adapter.py'}:{adapter.__name__}"
    return build({"adapter": name, "run": "unused", "data": SMALL, **changes})


def test_both_configurations_by_default(root):
    for configuration, adapter in ADAPTERS.items():
        setup = setup_of(root, adapter)
        sample = setup.dataset("val")[0]
        assert sample.target.shape == (5 + configuration, 1, 7, 7, 7)
        assert sample.context.shape == (adapter.context, 7, 7, 7)
        batch = collate([setup.dataset("train")[index] for index in range(4)])
        separator = setup.separator((7, 7, 7)).eval()
        with torch.inference_mode():
            maps = separator.maps(batch.image, batch.valid, batch.context)
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
    table = evaluate(setup.separator((7, 7, 7)), setup.dataset("val"), setup.adapter, workers=0)
    assert len(table) == 24 * 6
    assert set(COLUMNS) <= set(table)
    assert table["nuclei_found"].notna().sum() == 24
    figures = setup.adapter.figures(table)
    assert set(figures) == {"multiplicity", "visible_energy", "nuclei"}
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
    adapter.figures(table)["multiplicity"].canvas.draw()


def test_splits_differ_and_follow_the_seed():
    images = [NeutrinoAdapter(SMALL, seed).dataset(split)[0].image for seed in (0, 1) for split in ("val", "test")]
    assert len({image.tobytes() for image in images}) == 4
    assert len(NeutrinoAdapter().dataset("train")) == 20_000


def test_files_take_the_place_of_the_simulation(tmp_path):
    adapter = NeutrinoAdapter(SMALL)
    samples = [adapter.dataset("val")[index] for index in range(3)]
    write_samples(tmp_path / "val.h5", samples, adapter.classes, adapter.unit)
    dataset = NeutrinoAdapter({"files": {"val": str(tmp_path / "val.h5")}}).dataset("val")
    assert len(dataset) == 3
    np.testing.assert_array_equal(dataset[1].image, samples[1].image)
    np.testing.assert_array_equal(dataset[1].context, samples[1].context)
    assert adapter.event_rows(samples[1].target[:, ::-1].copy(), dataset[1])["muon"]["nuclei_true"] > 0
    with pytest.raises(DataError, match=r"val.h5: holds the classes \['muon', .*, expected \['muon', 'proton_1'"):
        NeutrinoIonsAdapter({"files": {"val": str(tmp_path / "val.h5")}}).dataset("val")
    larger = samples[0].replace(
        image=np.ones((1, 9, 9, 9), np.float32),
        target=np.ones((6, 1, 9, 9, 9), np.float32),
        valid=np.ones((1, 9, 9, 9), bool),
        context=None,
    )
    write_samples(tmp_path / "large.h5", [larger], adapter.classes)
    with pytest.raises(DataError, match=r"large.h5: an image of 9 x 9 x 9 cubes, but the model's volume has 7"):
        NeutrinoAdapter({"files": {"val": str(tmp_path / "large.h5")}}).dataset("val")


def test_images_of_other_programs():
    adapter = NeutrinoAdapter()
    counts = np.arange(343).reshape(7, 7, 7)
    assert adapter.prepare(counts).shape == (1, 1, 7, 7, 7)
    assert adapter.prepare(np.stack([counts, counts])).shape == (2, 1, 7, 7, 7)
    with pytest.raises(
        DataError, match=r"^an image of 9 x 9 x 9 cubes, but the model's volume has 7 on each axis"
    ):
        adapter.prepare(np.ones((9, 9, 9)))


def test_an_empty_image_has_nothing_to_separate(root):
    setup = setup_of(root)
    context = setup.dataset("val")[0].context
    with pytest.raises(DataError, match="image 0 is all zero"):
        setup.separator((7, 7, 7)).separate(np.zeros((7, 7, 7)), context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energies": [0, 60]}, r"data.energies: expected two rising energies above 0 and up to 80 MeV"),
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
    with pytest.raises(DataError, match=r"dataset_p_metadata.pkl: cannot be read: No such file"):
        NeutrinoAdapter({"release": "nowhere"}).dataset("train")


def test_the_quickstart_is_a_run(root):
    values = yaml.safe_load((root / "examples/neutrino/quickstart.yaml").read_text())
    assert values.pop("adapter") == "neutrino"
    data = values.pop("data")
    values.pop("run")
    setup = setup_of(root, data=data, **values)
    assert setup.config.head.background is False
    assert len(setup.dataset("train")) == 20_000
