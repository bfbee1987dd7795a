"""The authors' files and their evaluation, against the equations written out in numpy.

The files are synthetic, in the format of the real ones; most have small images. Takes about 5 s.
"""

import copy
import math
import os

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset

from oasis.adapters.migdal import reference
from oasis.adapters.migdal.frames import nuclear_blob
from oasis.adapters.migdal.reference import ReferenceFrames, ReferenceTensors, convert, reference_evaluation
from oasis.data.sample_files import SampleFile
from oasis.data.samples import collate
from oasis.errors import ConfigError, DataError

SMALL = (40, 56)
ENERGIES = [3.5, 3.6, 4.0, 4.4, 4.5, 5.0, 5.1, 5.9, 6.0, 14.2, 14.9, 15.0, 15.1, 4.2, 4.8, 5.5, 8.0, 8.1, 8.4]
BOX = (8, 31, 12, 43)  # rows and columns, first and last


def recoil(rng, shape):
    """A nuclear recoil in the noise of a frame, negatives removed."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(0, 7.6, shape)
    centre = np.array(shape) / 2 + rng.uniform(-4, 4, 2)
    for step in (-4, 0, 4):
        image += rng.uniform(100, 900) * np.exp(-((row - centre[0]) ** 2 + (col - centre[1] - step) ** 2) / 18)
    return np.clip(image, 0, None).astype(np.float32)


def electron(rng, shape, energy, count=80):
    points = rng.normal(np.array(shape) / 2, 5, (count, 2))
    row, col = np.clip(points, 0, np.array(shape) - 1).astype(np.int64).T
    return {"ER_col": col, "ER_row": row, "ER_intensity": rng.exponential(1925 * energy / count, count)}


def hybrid_frame(energies=ENERGIES, shape=SMALL, seed=0):
    rng = np.random.default_rng(seed)
    row, col = (np.ravel(axis) for axis in np.mgrid[BOX[0] : BOX[1] + 1, BOX[2] : BOX[3] + 1])
    rows = [
        {
            "NRim": recoil(rng, shape),
            **electron(rng, shape, energy),
            "row": row,
            "col": col,
            "ER_truth_energy": energy,
            "NR_camera_energy": float(rng.uniform(60, 200)),
        }
        for energy in energies
    ]
    if len(rows) > 3:  # an electron outside the image, and none at all
        rows[1]["ER_row"] = rows[1]["ER_row"] + 1000
        rows[2] |= {name: rows[2][name][:0] for name in reference.ER_COLUMNS}
    return pd.DataFrame(rows)


def recoil_frame(count=18, shape=SMALL, seed=1):
    rng = np.random.default_rng(seed)
    limits = dict(zip(reference.BOX_COLUMNS, BOX, strict=True))
    rows = [
        {"im": recoil(rng, shape), **limits, "NR_camera_energy": float(rng.uniform(60, 200))} for _ in range(count)
    ]
    return pd.DataFrame(rows)


def scaled_event(row, shape):
    """What the reference stores of an event, written from its equations."""
    image = np.array(row["NRim"] if "NRim" in row else row["im"], np.float64)
    image[image <= 1] = 0
    er = np.zeros(shape)
    if "ER_col" in row:
        inside = (row["ER_row"] < shape[0]) & (row["ER_col"] < shape[1])
        np.add.at(er, (row["ER_row"][inside], row["ER_col"][inside]), row["ER_intensity"][inside])
        er[er <= 1] = 0
    mixture = image + er
    ordered = np.sort(mixture.ravel())
    place = 0.99 * (ordered.size - 1)
    low = math.floor(place)
    s = max(ordered[low] + (place - low) * (ordered[low + 1] - ordered[low]), 1e-12)
    y = np.log10(1 + mixture / s)
    t = np.log10(1 + np.stack([er, image]) / s)
    valid = np.zeros(shape, np.float32)
    valid[BOX[0] : BOX[1] + 1, BOX[2] : BOX[3] + 1] = 1
    return {
        "input": (y / y.max()).astype(np.float32),
        "target": (t / t.max()).astype(np.float32),
        "valid": valid,
        "s": float(s),
        "ymax10": float(y.max()),
        "tmax": float(t.max()),
    }


def as_tensors(event):
    return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in event.items()}


def as_tuple(event):
    return tuple(as_tensors(event)[name] for name in ("input", "target", "s", "ymax10", "tmax", "valid"))


def write_tree(root, frames, shape=SMALL, form=as_tensors):
    for kind, frame in frames.items():
        folder = root / "test" / kind
        folder.mkdir(parents=True)
        for number, (_, row) in enumerate(frame.iterrows()):
            torch.save(form(scaled_event(row, shape)), folder / f"{number}.pt")
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The two data frames as pickles, and the tree of tensors made from them."""
    root = tmp_path_factory.mktemp("files")
    frames = {"hybrid": hybrid_frame(), "NR": recoil_frame()}
    for kind, frame in frames.items():
        frame.to_pickle(root / f"{kind}.pkl")
    write_tree(root / "tensors", frames)
    return root


def test_tensors_are_in_the_order_of_their_numbers(files):
    data = ReferenceTensors(files / "tensors", "test", shape=SMALL)
    assert [data[i].meta["id"] for i in (0, 2, 10, 18, 19)] == [
        "hybrid/0",
        "hybrid/2",
        "hybrid/10",
        "hybrid/18",
        "NR/0",
    ]
    assert len(data) == 19 + 18
    only = ReferenceTensors(files / "tensors", "test", kinds=("NR",), shape=SMALL)
    assert {only[i].meta["kind"] for i in range(len(only))} == {"NR"}
    assert collate([data[0], data[19], data[(1, 20)]]).target.shape == (3, 2, 1, *SMALL)


def test_corrected_tensors_recover_the_intensities(files):
    data = ReferenceTensors(files / "tensors", "test", shape=SMALL)
    frame = hybrid_frame()
    for index in (0, 1, 2, 7):
        row, sample = frame.iloc[index], data[index]
        recoil_map = np.where(row["NRim"] > 1, row["NRim"], 0)
        er = np.zeros(SMALL)
        inside = row["ER_row"] < SMALL[0]
        np.add.at(er, (row["ER_row"][inside], row["ER_col"][inside]), row["ER_intensity"][inside])
        er[er <= 1] = 0
        np.testing.assert_allclose(sample.image[0], recoil_map + er, rtol=2e-6, atol=1e-5)
        np.testing.assert_allclose(sample.target[0, 0], er, rtol=2e-6, atol=1e-5)
        blob = nuclear_blob(recoil_map)
        assert 0 < blob.sum() < blob.size / 2
        np.testing.assert_allclose(sample.target[1, 0][blob], recoil_map[blob], rtol=2e-6, atol=1e-5)
        assert not sample.target[1, 0][~blob].any()
        assert sample.valid.dtype == bool
        assert sample.valid.sum() == 24 * 32
        assert sample.valid[0, 8, 12]
        assert sample.valid[0, 31, 43]
        event = scaled_event(row, SMALL)
        assert {name: sample.meta[name] for name in ("s", "ymax10", "tmax")} == {
            name: pytest.approx(event[name], rel=1e-12) for name in ("s", "ymax10", "tmax")
        }


def test_frames_and_tensors_are_the_same_events(files):
    for protocol in ("corrected", "reference"):
        for kind in ("hybrid", "NR"):
            tensors = ReferenceTensors(files / "tensors", "test", (kind,), protocol, SMALL)
            frames = ReferenceFrames(files / f"{kind}.pkl", protocol, SMALL)
            assert len(frames) == len(tensors)
            for index in range(len(frames)):
                one, other = frames[index], tensors[index]
                np.testing.assert_allclose(one.image, other.image, rtol=2e-6, atol=1e-5)
                np.testing.assert_allclose(one.target, other.target, rtol=2e-6, atol=1e-5)
                np.testing.assert_array_equal(one.valid, other.valid)
                assert one.meta["id"] == other.meta["id"] == f"{kind}/{index}"
                assert one.image.dtype == one.target.dtype == np.float32


def test_reference_samples_have_the_truth_inverted_with_the_peak_of_the_image(files):
    data = ReferenceTensors(files / "tensors", "test", protocol="reference", shape=SMALL)
    event = scaled_event(hybrid_frame().iloc[4], SMALL)
    expected = event["s"] * (10 ** (event["target"].astype(float) * event["ymax10"]) - 1)
    assert event["ymax10"] > event["tmax"]
    np.testing.assert_allclose(data[4].target[:, 0], expected, rtol=2e-6, atol=1e-5)
    assert (data[4].target[1] > 0).mean() > 0.3, "the noise counts as nuclear recoil"


def test_energies_are_kept(files):
    frame = hybrid_frame()
    sample = ReferenceFrames(files / "hybrid.pkl", shape=SMALL)[5]
    assert sample.meta == {
        "id": "hybrid/5",
        "kind": "hybrid",
        "ER_energy": 5.0,
        "NR_energy": frame["NR_camera_energy"][5],
    }
    assert ReferenceFrames(files / "NR.pkl", shape=SMALL)[5].meta["ER_energy"] == 0


def test_the_frame_is_left_as_it_is(monkeypatch, tmp_path):
    frame = hybrid_frame()
    before = copy.deepcopy(frame["NRim"].to_list())
    assert (np.array(before) == 0).any()
    assert ((np.array(before) > 0) & (np.array(before) <= 1)).any()
    monkeypatch.setattr(reference, "read_dataframe", lambda path: frame)
    for protocol in ("corrected", "reference"):
        data = ReferenceFrames(tmp_path / "hybrid.pkl", protocol, SMALL)
        for index in range(len(data)):
            sample = data[index]
            assert not ((sample.image > 0) & (sample.image <= 1)).any() or protocol == "reference"
            sample.image[:] = -1
            sample.target[:] = -1
    np.testing.assert_array_equal(np.array(before), np.array(frame["NRim"].to_list()))


def test_an_older_tuple_is_the_same_event(files, tmp_path):
    write_tree(tmp_path, {"hybrid": hybrid_frame()[:3]}, form=as_tuple)
    old = ReferenceTensors(tmp_path, "test", ("hybrid",), shape=SMALL)
    new = ReferenceTensors(files / "tensors", "test", ("hybrid",), shape=SMALL)
    for index in range(3):
        np.testing.assert_array_equal(old[index].image, new[index].image)
        np.testing.assert_array_equal(old[index].target, new[index].target)
        assert old[index].meta == new[index].meta


def test_an_axis_of_one_band_is_accepted(files, tmp_path):
    event = as_tensors(scaled_event(hybrid_frame().iloc[0], SMALL))
    event |= {"input": event["input"][None], "valid": event["valid"][None]}
    (tmp_path / "test/hybrid").mkdir(parents=True)
    torch.save(event, tmp_path / "test/hybrid/0.pt")
    sample = ReferenceTensors(tmp_path, "test", ("hybrid",), shape=SMALL)[0]
    expected = ReferenceTensors(files / "tensors", "test", shape=SMALL)[0]
    np.testing.assert_array_equal(sample.image, expected.image)


@pytest.mark.parametrize("order", ["limits", "union"])
def test_a_hybrid_box_may_come_from_limits(order, files, tmp_path):
    frame = hybrid_frame().drop(columns=["row", "col"])
    rowmin, rowmax, colmin, colmax = BOX
    limits = {"rowmin": rowmin, "rowmax": rowmax, "colmin": colmin, "colmax": colmax}
    if order == "union":
        limits = {f"ER_{name}": value for name, value in limits.items()} | {
            "NR_rowmin": rowmin + 3,
            "NR_rowmax": rowmax - 3,
            "NR_colmin": colmin + 3,
            "NR_colmax": colmax - 3,
        }
        limits["ER_colmin"], limits["NR_colmin"] = limits["NR_colmin"], limits["ER_colmin"]
    frame.assign(**limits).to_pickle(tmp_path / "hybrid.pkl")
    sample = ReferenceFrames(tmp_path / "hybrid.pkl", shape=SMALL)[0]
    expected = ReferenceFrames(files / "hybrid.pkl", shape=SMALL)[0]
    np.testing.assert_array_equal(sample.valid, expected.valid)


def test_the_pixels_of_a_hybrid_go_before_limits(files, tmp_path):
    hybrid_frame()[:1].assign(rowmin=0, rowmax=1, colmin=0, colmax=1).to_pickle(tmp_path / "hybrid.pkl")
    sample = ReferenceFrames(tmp_path / "hybrid.pkl", shape=SMALL)[0]
    expected = ReferenceFrames(files / "hybrid.pkl", shape=SMALL)[0]
    np.testing.assert_array_equal(sample.valid, expected.valid)


def test_a_box_beyond_the_border_ends_there(tmp_path):
    frame = recoil_frame(1).assign(rowmin=-2, rowmax=3, colmin=50, colmax=60)
    frame.to_pickle(tmp_path / "NR.pkl")
    valid = ReferenceFrames(tmp_path / "NR.pkl", shape=SMALL)[0].valid
    assert valid.sum() == valid[0, :4, 50:].sum() == 4 * 6


class Network(nn.Module):
    """A fixed network whose maps resemble the truth, so that every figure is far from 0."""

    def __init__(self):
        super().__init__()
        self.blur = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            self.blur.weight.copy_(torch.tensor([0.03, 0.08])[:, None, None, None].expand(2, 1, 3, 3))

    def forward(self, image):
        assert not self.training
        assert image.shape[1:] == (1, *SMALL)
        return nn.functional.softplus(10 * self.blur(image) - 2.6) / 10


def expected_evaluation(frames):
    """The equations of the reference in numpy, event by event and batch by batch, in float64."""
    network = Network().eval()
    events = {kind: [scaled_event(row, SMALL) for _, row in frame.iterrows()] for kind, frame in frames.items()}
    losses, pred, truth = {}, {}, {}
    for kind, group in events.items():
        with torch.no_grad():
            maps = [network(torch.from_numpy(e["input"])[None, None])[0].double().numpy() for e in group]
        batches = [slice(start, start + 16) for start in range(0, len(group), 16)]
        losses[kind] = np.mean([batch_loss(maps[part], group[part]) for part in batches], axis=0)
        pred[kind] = np.array([adu(m, e) for m, e in zip(maps, group, strict=True)])
        truth[kind] = np.array([adu(e["target"].astype(float), e) for e in group])
    return losses, pred, truth


def adu(scaled, event):
    """Sums of intensity in the box, (2,): both prediction and truth with the peak of the image."""
    return (event["s"] * (10 ** (scaled * event["ymax10"]) - 1) * event["valid"]).sum((1, 2))


def batch_loss(maps, events):
    class_weights = np.array([5.0, 1.0])[:, None, None]
    error = weight = steps = edges = 0.0
    for prediction, event in zip(maps, events, strict=True):
        valid, target = event["valid"].astype(float), event["target"].astype(float)
        er, nr = target > 0
        region = np.select([er & nr, er, nr], [6.0, 3.0, 1.0], 1.0) * valid
        error += (class_weights * region * abs(prediction - target)).sum()
        weight += (class_weights * region).sum()
        for axis in (0, 1):
            pair = np.take(valid, range(1, valid.shape[axis]), axis) * np.take(
                valid, range(valid.shape[axis] - 1), axis
            )
            steps += (abs(np.diff(prediction, axis=axis + 1)) * pair).sum()
            edges += pair.sum()
    return error / weight + 0.01 * steps / edges, error / weight, steps / edges


@pytest.mark.parametrize("source", ["frames", "tensors"])
def test_the_evaluation_is_that_of_the_reference(source, files):
    frames = {"hybrid": hybrid_frame(), "NR": recoil_frame()}
    if source == "frames":
        data = ConcatDataset([ReferenceFrames(files / f"{kind}.pkl", "reference", SMALL) for kind in frames])
    else:
        data = ReferenceTensors(files / "tensors", "test", protocol="reference", shape=SMALL)
    model = Network().train()
    found = reference_evaluation(model, data)
    assert model.training
    losses, pred, truth = expected_evaluation(frames)
    for kind, expected in losses.items():
        assert list(found["loss"][kind].values()) == pytest.approx(list(expected), rel=1e-5)
        events = found["events"][found["events"]["kind"] == kind]
        assert list(events["id"]) == [f"{kind}/{number}" for number in range(len(events))]
        np.testing.assert_allclose(events[["ER_pred", "NR_pred"]], pred[kind], rtol=1e-5)
        np.testing.assert_allclose(events[["ER_truth", "NR_truth"]], truth[kind], rtol=1e-5)
    with np.errstate(divide="ignore"):
        error = 100 * (pred["hybrid"] - truth["hybrid"])[:, 0] / truth["hybrid"][:, 0]
    assert np.isinf(error[1:3]).all(), "two events have no electron in the image"
    assert found["bias"] == pytest.approx(np.median(error), rel=1e-5)
    figures = [found["threshold"], found["false_positive_rate"]]
    if source == "tensors":
        assert np.isnan([*figures, *found["median"]]).all()
        return
    threshold = truth["hybrid"][[1, 2, 3, 13], 0].mean()
    rate = (pred["NR"][:, 0] > threshold).mean()
    assert 0 < rate < 1
    assert figures == pytest.approx([threshold, rate], rel=1e-5)
    bins = {0: [3, 4, 5, 13, 14], 1: [6, 7, 8, 15], 3: [16], 4: [17, 18], 10: [9, 10, 11]}
    for place in range(11):
        values = [found[name][place] for name in ("lower", "median", "upper")]
        if place in bins:
            assert values == pytest.approx(np.quantile(error[bins[place]], (0.25, 0.5, 0.75)), rel=1e-4)
        else:
            assert np.isnan(values).all()


def test_energies_in_float32_fall_into_the_same_bins(files, tmp_path):
    frame = hybrid_frame().astype({"ER_truth_energy": np.float32})
    frame.to_pickle(tmp_path / "hybrid.pkl")
    narrow = reference_evaluation(Network(), ReferenceFrames(tmp_path / "hybrid.pkl", "reference", SMALL))
    wide = reference_evaluation(Network(), ReferenceFrames(files / "hybrid.pkl", "reference", SMALL))
    np.testing.assert_array_equal(narrow["median"], wide["median"])
    assert narrow["threshold"] == wide["threshold"]
    assert math.isnan(wide["false_positive_rate"])


def test_the_evaluation_wants_its_protocol(files):
    with pytest.raises(DataError, match="protocol 'reference'"):
        reference_evaluation(Network(), ReferenceFrames(files / "hybrid.pkl", shape=SMALL))
    with pytest.raises(DataError, match="no samples"):
        reference_evaluation(Network(), [])


def same_samples(converted, data):
    assert len(converted) == len(data)
    assert converted.classes == ("ER", "NR")
    assert converted.unit == "ADU"
    for index in range(len(data)):
        one, other = converted[index], data[index]
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.target, other.target)
        np.testing.assert_array_equal(one.valid, other.valid)
        assert one.meta == other.meta


def test_a_data_frame_of_full_size_is_converted(tmp_path):
    frame = hybrid_frame([4.0, 5.9], shape=(288, 512))
    frame.to_pickle(tmp_path / "hybrid.pkl.gz")
    assert convert(tmp_path / "hybrid.pkl.gz", tmp_path / "out.h5") == 2
    converted = SampleFile(tmp_path / "out.h5")
    same_samples(converted, ReferenceFrames(tmp_path / "hybrid.pkl.gz"))
    assert converted.attributes == {"source": "hybrid.pkl.gz", "protocol": "corrected"}


def test_a_tree_of_full_size_is_converted(tmp_path):
    frames = {"hybrid": hybrid_frame([4.0], shape=(288, 512)), "NR": recoil_frame(1, shape=(288, 512))}
    write_tree(tmp_path, frames, shape=(288, 512))
    assert convert(tmp_path / "test", tmp_path / "out.h5") == 2
    same_samples(SampleFile(tmp_path / "out.h5"), ReferenceTensors(tmp_path, "test"))
    with pytest.raises(DataError, match="name one split"):
        convert(tmp_path, tmp_path / "out.h5")
    with pytest.raises(DataError, match="no such file"):
        convert(tmp_path / "none.pkl", tmp_path / "out.h5")


def one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"target": torch.ones(2, 39, 56)}, ("'target' has shape (2, 39, 56)", "expected (2, 40, 56)")),
        ({"valid": None}, ("'valid' is NoneType", "expected a tensor")),
        ({"s": 0.0}, ("'s' is 0.0", "a number above 0")),
        ({"tmax": math.nan}, ("'tmax' is nan",)),
        ({"ymax10": "2"}, ("'ymax10' is '2'",)),
        ({"input": torch.full(SMALL, torch.nan)}, ("'input'", "not finite")),
        ({"input": torch.ones(3)}, ("'input' has shape (3,)",)),
    ],
)
def test_wrong_tensors_give_one_line(change, parts, tmp_path):
    event = as_tensors(scaled_event(hybrid_frame().iloc[0], SMALL)) | change
    path = tmp_path / "test/hybrid/0.pt"
    path.parent.mkdir(parents=True)
    torch.save(event, path)
    with pytest.raises(DataError) as caught:
        ReferenceTensors(tmp_path, "test", ("hybrid",), shape=SMALL)[0]
    one_line(caught, path, *parts)


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), "text", {"input": 3}])
def test_other_contents_give_one_line(content, tmp_path):
    path = tmp_path / "test/hybrid/0.pt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    with pytest.raises(DataError, match="expected a") as caught:
        ReferenceTensors(tmp_path, "test", ("hybrid",), shape=SMALL)[0]
    one_line(caught, path)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x80\x02.", None])
def test_damaged_tensors_give_one_line(data, files, tmp_path):
    path = tmp_path / "test/hybrid/0.pt"
    path.parent.mkdir(parents=True)
    whole = (files / "tensors/test/hybrid/0.pt").read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if data is None else data)
    with pytest.raises(DataError, match="damaged, or not a file of tensors") as caught:
        ReferenceTensors(tmp_path, "test", ("hybrid",), shape=SMALL)[0]
    one_line(caught, path)


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_tensors_that_run_code_are_refused(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "test/hybrid/0.pt"
    path.parent.mkdir(parents=True)
    torch.save({"input": torch.ones(SMALL), "s": Evil(f"touch {canary}")}, path)
    torch.load(path, weights_only=False)
    assert canary.exists()
    canary.unlink()
    with pytest.raises(DataError) as caught:
        ReferenceTensors(tmp_path, "test", ("hybrid",), shape=SMALL)[0]
    one_line(caught, path, f"refused the global '{os.system.__module__}.system'", "nothing was run")
    assert not canary.exists()


def test_missing_and_empty_folders_give_one_line(tmp_path):
    (tmp_path / "test/hybrid").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        ReferenceTensors(tmp_path, "test", ("hybrid",))
    one_line(caught, tmp_path / "test/hybrid", "contains no .pt files")
    with pytest.raises(DataError) as caught:
        ReferenceTensors(tmp_path, "test", ("NR",))
    one_line(caught, tmp_path / "test/NR", "no such folder", "ROOT/SPLIT/KIND/N.pt")
    with pytest.raises(ConfigError, match="did you mean 'reference'"):
        ReferenceTensors(tmp_path, "test", protocol="referenc")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda f: f.drop(columns="NRim"), ("no column NRim or im", "found ER_col")),
        (lambda f: f.drop(columns="ER_row"), ("has ER_col, ER_intensity but not ER_row",)),
        (lambda f: f.drop(columns="row"), ("has no box", "row and col")),
        (lambda f: f[:0], ("contains no events",)),
    ],
)
def test_missing_columns_give_one_line(change, parts, tmp_path):
    path = tmp_path / "hybrid.pkl"
    change(hybrid_frame()[:2]).to_pickle(path)
    with pytest.raises(DataError) as caught:
        ReferenceFrames(path, shape=SMALL)
    one_line(caught, path, *parts)


@pytest.mark.parametrize(
    ("column", "cell", "parts"),
    [
        ("NRim", np.ones((3, 4)), ("shape (3, 4)", "expected (40, 56)")),
        ("NRim", np.full(SMALL, np.nan), ("not finite",)),
        ("NRim", None, ("NoneType", "expected numbers")),
        ("ER_col", np.ones(3), ("shapes (3,), (80,), (80,)", "three of one length")),
        ("ER_intensity", ["a"] * 80, ("list", "expected numbers")),
        ("ER_intensity", [[1], [2, 3]], ("a ragged list",)),
        ("row", np.array([], int), ("found nothing",)),
        ("row", np.array([50, 60]), ("a box outside the image", "row, col")),
        ("ER_truth_energy", np.ones(2), ("2 numbers", "expected one")),
    ],
)
def test_wrong_cells_are_named(column, cell, parts, tmp_path):
    path = tmp_path / "hybrid.pkl"
    frame = hybrid_frame()[:2].astype({"ER_truth_energy": object})
    cells = frame[column].to_list()
    cells[1] = cell
    frame[column] = pd.Series(cells, dtype=object)
    frame.to_pickle(path)
    data = ReferenceFrames(path, shape=SMALL)
    data[0]
    with pytest.raises(DataError) as caught:
        data[1]
    one_line(caught, path, "row 1, column", column, *parts)


def test_energies_that_are_absent_are_nan(tmp_path):
    hybrid_frame()[:1].assign(ER_truth_energy=np.nan).to_pickle(tmp_path / "hybrid.pkl")
    assert math.isnan(ReferenceFrames(tmp_path / "hybrid.pkl", shape=SMALL)[0].meta["ER_energy"])
    hybrid_frame()[:1].drop(columns=["ER_truth_energy", "NR_camera_energy"]).to_pickle(tmp_path / "hybrid.pkl")
    meta = ReferenceFrames(tmp_path / "hybrid.pkl", shape=SMALL)[0].meta
    assert math.isnan(meta["ER_energy"])
    assert math.isnan(meta["NR_energy"])
