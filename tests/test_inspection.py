"""What an inspector says of single images is what `evaluate` and `predict` say of them."""

import numpy as np
import pandas as pd
import pytest

from oasis.errors import ConfigError, DataError
from oasis.run import Run

pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture
def run(toy_values):
    """A run with presence and grouped maps, with weights as they are drawn."""
    values = {
        **toy_values,
        "head": {"presence": True},
        "grouping": {"dot": {"method": "components"}},
        "calibration": {"strata": None},
    }
    run = Run.from_values(values)
    run.save()
    run.new_separator(trained_size=(24, 20)).save(run.folder)
    return run


def numeric(table):
    return table.select_dtypes("number").reset_index(drop=True)


def test_an_event_is_that_of_the_event_table(run):
    found = run.inspector().event(3)
    rows = run.measure(run.dataset("test"), workers=0)
    rows = rows[rows["id"] == found.table["id"].iloc[0]]
    pd.testing.assert_frame_equal(numeric(found.table), numeric(rows), rtol=1e-4)
    sample = run.dataset("test")[3]
    np.testing.assert_array_equal(found.image, sample.image)
    np.testing.assert_array_equal(found.target, sample.target)
    assert found.maps.shape == found.presence.shape == sample.target.shape
    assert 0 <= found.presence.min() <= found.presence.max() <= 1
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2, 3)), found.table["intensity_predicted"], rtol=1e-4)
    assert len(found.instances) > 0
    assert len(found.true_instances) == len(sample.instances)


def test_an_image_of_a_file_is_that_of_predict(run, tmp_path):
    images = np.random.default_rng(0).exponential(9, (3, 24, 20)).astype(np.float32)
    path = tmp_path / "frames.npy"
    np.save(path, images)
    inspector = run.inspector()
    assert inspector.images(path) == 3
    found = inspector.image(path, 2)
    predicted = run.predict(path, tmp_path / "maps.h5")
    rows = predicted.objects[predicted.objects["frame"] == 2]
    pd.testing.assert_frame_equal(numeric(found.table), numeric(rows), rtol=1e-4)
    assert len(found.instances) == (predicted.instances["frame"] == 2).sum()
    assert found.target is None
    np.testing.assert_array_equal(found.image[0], images[2])


def test_a_calibrated_run_has_intervals(run, tmp_path):
    values = {**run.config.model_dump(mode="json"), "data": {"val": 60}}
    run = Run.from_values(values)
    run.calibrate("val", workers=0)
    table = run.inspector().event(0).table
    assert (table["intensity_low"] <= table["intensity_high"]).all()
    np.save(tmp_path / "one.npy", np.ones((24, 20), np.float32))
    assert "intensity_low" in run.inspector().image(tmp_path / "one.npy").table


def test_what_cannot_be_shown_is_one_error(run, tmp_path):
    inspector = run.inspector()
    with pytest.raises(ConfigError, match="event 7 in test: expected 0 to 6"):
        inspector.event(7)
    np.save(tmp_path / "one.npy", np.full((24, 20), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN"):
        inspector.image(tmp_path / "one.npy")
    with pytest.raises(DataError, match="no image 1: expected 0 to 0"):
        inspector.image(tmp_path / "one.npy", 1)
    with pytest.raises(DataError):
        inspector.image(tmp_path / "missing.npy")
    with pytest.raises(ConfigError, match="shown whole"):
        run.inspector("tiles")
