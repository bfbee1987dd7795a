"""Damaged and hostile files of samples, of both formats: one line that names the file, whoever reads it."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.data.instances import Instances
from oasis.data.loading import EpochSampler, make_loader
from oasis.data.sample_files import SampleFile, write_samples
from oasis.data.samples import Sample, collate_instances
from oasis.errors import DataError

CLASSES = ("ER", "NR")
OLD = Path(__file__).parent / "files" / "samples_1.h5"  # written by the first version
Damage = Callable[[h5py.File], None]


def make_samples(count: int = 5, dense: bool = False) -> list[Sample]:
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        values = rng.random((3, 1, 8, 6), np.float32) * (rng.random((3, 1, 8, 6)) < (1 if dense else 0.2))
        lit = [np.flatnonzero(one) for one in values]
        found = Instances.pack(
            (1, 8, 6),
            [0, 1, 1],
            lit,
            [one.ravel()[where] for one, where in zip(values, lit, strict=True)],
            [{"energy": 1.0 + number}, {"energy": 2.0, "angle": 0.5}, {}][: len(values)],
        )
        target = found.sums(2)
        meta = {"id": f"é/{number}", "energy": number / 2, "n": number, "hybrid": number % 2 == 0, "dE/dx": 1.5}
        samples.append(Sample(target.sum(axis=0), target, rng.random((1, 8, 6)) < 0.8, meta, values[:, 0], found))
    return samples


def assert_same(one: Sample, other: Sample) -> None:
    for name in ("image", "target", "valid", "context"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.meta == other.meta
    mine, theirs = one.instances, other.instances
    assert mine is not None
    assert theirs is not None
    for name in ("labels", "offsets", "pixels", "values"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    for name in mine.table.keys() | theirs.table.keys():
        nothing = np.full(len(mine), np.nan)
        np.testing.assert_array_equal(mine.table.get(name, nothing), theirs.table.get(name, nothing))


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("count", [1, 5, 130])
def test_instances_are_kept(tmp_path: Path, count: int, dense: bool) -> None:
    samples = make_samples(count, dense)
    write_samples(tmp_path / "samples.h5", samples, CLASSES, "ADU")
    file = SampleFile(tmp_path / "samples.h5")
    for number, sample in enumerate(samples):
        assert_same(file[number], sample)


def test_a_sample_may_have_no_instance_and_a_file_none_at_all(tmp_path: Path) -> None:
    samples = make_samples(3)
    nothing = Instances.pack((1, 8, 6), [], [], [])
    empty = [sample.replace(instances=nothing) for sample in samples]
    for number, some in enumerate(([empty[0], *samples[1:]], empty, [*samples[:2], empty[2]])):
        write_samples(tmp_path / f"{number}.h5", some, CLASSES)
        file = SampleFile(tmp_path / f"{number}.h5")
        for place, sample in enumerate(some):
            assert_same(file[place], sample)
    write_samples(tmp_path / "none.h5", [sample.replace(instances=None) for sample in samples], CLASSES)
    assert SampleFile(tmp_path / "none.h5")[0].instances is None


def test_files_of_the_first_format_are_read_without_instances() -> None:
    file = SampleFile(OLD)
    assert (file.classes, file.unit, file.shape, len(file)) == (CLASSES, "ADU", (1, 8, 6), 5)
    assert file.attributes == {"seed": 0}
    sample = file[3]
    assert sample.meta == {"id": "val/3", "kind": "é", "energy": 3.5, "n": 3, "hybrid": False, "dE/dx": 7.5}
    assert sample.instances is None
    assert sample.target.sum() == pytest.approx(12.569267)
    assert sample.image.sum() == pytest.approx(3.9304285)
    assert sample.valid.sum() == 33
    assert sample.context is not None
    assert sample.context.tolist() == np.full((2, 8, 6), 3).tolist()
    assert isinstance(sample.meta["hybrid"], bool)


# Damage


def attribute(name: str, value: Any) -> Damage:
    return lambda file: file.attrs.__setitem__(name, value)


def without_attribute(name: str) -> Damage:
    return lambda file: file.attrs.__delitem__(name)


def without(name: str) -> Damage:
    return lambda file: file.__delitem__(name)


def replaced(name: str, change: Callable[[Any], Any]) -> Damage:
    def damage(file: h5py.File) -> None:
        values = change(file[name][()])
        del file[name]
        file[name] = values

    return damage


def changed(name: str, place: Any, value: Any) -> Damage:
    return lambda file: file[name].__setitem__(place, value)


def renamed(name: str) -> Damage:
    return lambda file: file.move(name, name + "_")


def as_group(name: str) -> Damage:
    def damage(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return damage


def column(name: str, kind: Any) -> Callable[[Any], Any]:
    """A change of the type of a column of a table."""

    def change(rows: Any) -> Any:
        dtype = [(each, kind if each == name else rows.dtype[each]) for each in rows.dtype.names]
        return np.zeros(len(rows), dtype)

    return change


ATTRIBUTES = [
    *(without_attribute(name) for name in ("format", "classes", "unit", "shape", "count", "attributes")),
    *(
        attribute("classes", value)
        for value in ("[", '"ER"', "[1, 2]", "[]", '["ER", "ER"]', '["ER"', 5, "[" * 99_999)
    ),
    *(attribute("classes", json.dumps(value)) for value in (["ER", "XX"], ["E&R", "NR"], ["", "NR"], {"ER": 1})),
    *(attribute("unit", value) for value in (1.5, [1, 2], h5py.Empty("f4"), np.bytes_(b"\xff"))),
    *(
        attribute("shape", value)
        for value in (8, "1x8x6", [1, 8], [1, 8, 6, 1], [0, 8, 6], [-1, 8, 6], [1.0, 8, 6])
    ),
    *(attribute("shape", value) for value in ([1, 10**9, 10**9], [1, 8, 7], h5py.Empty("i8"))),
    *(attribute("count", value) for value in (0, -1, 4, 6, 2**62, 5.0, "5", [5, 5], h5py.Empty("i8"))),
    *(attribute("attributes", value) for value in ("[]", "{", 1, "null", "{" * 99_999)),
    *(attribute("format", value) for value in ("oasis-samples-9", 1, h5py.Empty("f4"), [1, 2])),
]
EITHER = [
    *(without(name) for name in ("image", "target", "target/NR", "valid", "target/ER/offsets", "image/values")),
    *(renamed(name) for name in ("image", "target", "target/ER", "valid")),
    *(as_group(name) for name in ("valid", "target/ER/indices", "context")),
    *(replaced(name, lambda _: h5py.Empty("f4")) for name in ("valid", "target/ER/values", "target/ER/offsets")),
    *(replaced(name, lambda values: values[:-1]) for name in ("valid", "target/ER/offsets", "target/ER/values")),
    *(replaced(name, lambda values: values.astype("S8")) for name in ("target/ER/values", "target/ER/offsets")),
    *(replaced(name, lambda values: values.astype(complex)) for name in ("target/ER/values", "context")),
    *(replaced(name, lambda values: values.astype(float)) for name in ("target/ER/indices", "target/ER/offsets")),
    replaced("valid", lambda values: values.astype(np.float32)),
    replaced("valid", lambda values: values.ravel()),
    replaced("context", lambda values: values[:, :, :-1]),
    replaced("target/ER/indices", lambda values: -1 - values.astype(int)),
    replaced("target/ER/indices", lambda values: values + 1000),
    changed("target/ER/offsets", 0, 1),
    changed("target/ER/offsets", 2, 10**6),
    changed("target/ER/offsets", 2, -1),
    changed("target/ER/values", slice(None), -1.0),
    changed("target/ER/values", slice(None), np.inf),
    changed("target/ER/values", slice(None), np.nan),
    lambda file: file["target/ER"].attrs.__setitem__("layout", "striped"),
    lambda file: file["target/ER"].attrs.__setitem__("layout", 3),
    lambda file: file["target/ER"].attrs.__delitem__("layout"),
    lambda file: file["target/ER"].attrs.__setitem__("layout", "dense"),
]
NEW = [
    without("meta"),
    renamed("meta"),
    as_group("meta"),
    replaced("meta", lambda rows: rows[:-1]),
    replaced("meta", lambda rows: rows["energy"]),
    replaced("meta", column("energy", complex)),
    replaced("meta", column("energy", (float, 3))),
    replaced("meta", column("energy", [("a", float)])),
    replaced("meta", lambda rows: h5py.Empty("f4")),
    replaced(
        "meta",
        lambda rows: rows.astype(
            [
                ("iou", rows.dtype[name]) if name == "energy" else (name, rows.dtype[name])
                for name in rows.dtype.names
            ]
        ),
    ),
    *(without(f"instances/{name}") for name in ("offsets", "starts", "labels", "pixels", "values")),
    *(
        replaced(f"instances/{name}", lambda values: values[:-1])
        for name in ("offsets", "starts", "labels", "pixels", "table")
    ),
    *(
        replaced(f"instances/{name}", lambda values: values.astype(complex))
        for name in ("offsets", "labels", "values")
    ),
    lambda file: (file.__delitem__("instances"), file.__setitem__("instances", 1.0)),
    changed("instances/offsets", 1, 10**6),
    changed("instances/offsets", 1, -3),
    changed("instances/starts", 1, 10**6),
    changed("instances/starts", 3, -10),
    changed("instances/labels", slice(None), 2),
    changed("instances/pixels", slice(None), 10**6),
    changed("instances/pixels", slice(None), 0),
    changed("instances/values", slice(None), np.nan),
    changed("instances/values", slice(None), -1),
    replaced("instances/table", column("energy", "S4")),
]
BEFORE = [
    replaced("meta/energy", lambda values: values[:-1]),
    replaced("meta/energy", lambda values: values.astype(complex)),
    replaced("meta/energy", lambda values: np.zeros((5, 2))),
    replaced("meta/energy", lambda values: h5py.Empty("f8")),
    lambda file: file.move("meta/energy", "meta/class"),
    lambda file: (file.__delitem__("meta"), file.__setitem__("meta", 1.0)),
    replaced("image/values", lambda values: values.astype(complex)),
    replaced("image/values", lambda values: values[:, :, :-1]),
    changed("image/values", (slice(None), 0), np.inf),
]


def read_all(path: Path) -> None:
    file = SampleFile(path)
    for index in range(len(file)):
        file[index].instances  # noqa: B018 - read it


def assert_one_line(caught: pytest.ExceptionInfo[DataError], path: Path) -> None:
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 400
    assert type(caught.value) is DataError


@pytest.mark.parametrize(
    ("source", "damage"),
    [
        *[
            pytest.param(source, each, id=f"{source}-{i}")
            for i, each in enumerate(ATTRIBUTES)
            for source in ("old", "new")
        ],
        *[pytest.param("new", each, id=f"new-either-{i}") for i, each in enumerate(EITHER)],
        *[pytest.param("new", each, id=f"new-only-{i}") for i, each in enumerate(NEW)],
        *[pytest.param("old", each, id=f"old-only-{i}") for i, each in enumerate(BEFORE)],
    ],
)
def test_damage_is_one_line_that_names_the_file(tmp_path: Path, source: str, damage: Damage) -> None:
    path = tmp_path / "samples.h5"
    if source == "old":
        shutil.copy(OLD, path)
    else:
        write_samples(path, make_samples(), CLASSES, "ADU")
    read_all(path)
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(DataError) as caught:
        read_all(path)
    assert_one_line(caught, path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "samples.h5"
    write_samples(path, make_samples(), CLASSES, "ADU")
    return path.read_bytes()


def refusal(path: Path) -> str:
    try:
        read_all(path)
    except DataError as error:
        return str(error)
    return ""


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_changed_bytes_are_read_or_refused_in_one_line(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.h5"
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    error = refusal(path)
    assert "\n" not in error
    assert not error or str(path) in error


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_report_damage_in_one_line(tmp_path: Path, method: str, start_method: Any) -> None:
    start_method(method)
    path = tmp_path / "samples.h5"
    write_samples(path, make_samples(), CLASSES)
    with h5py.File(path, "a") as file:
        changed("target/ER/values", slice(None), -1.0)(file)
    loader = make_loader(SampleFile(path), EpochSampler(5, shuffle=False), 2, workers=1)
    with pytest.raises(DataError, match=r"sample 0: the target of 'ER' has -1\.0") as caught:
        list(loader)
    assert_one_line(caught, path)


def test_worker_processes_hand_on_instances_where_they_are_asked_for(tmp_path: Path) -> None:
    samples = make_samples()
    write_samples(tmp_path / "samples.h5", samples, CLASSES)
    file = SampleFile(tmp_path / "samples.h5")
    loader = partial(make_loader, file, EpochSampler(5, shuffle=False), 2, workers=1)
    assert all(batch.instances is None for batch in loader())
    read = [sample for batch in loader(collate=collate_instances) for sample in batch.samples()]
    for one, other in zip(read, samples, strict=True):
        assert_same(one, other)


# What is refused where it is written


def changed_sample(**changes: Any) -> list[Sample]:
    first, second = make_samples(2)
    return [first, second.replace(**changes)]


def valid_everywhere(target: Any) -> list[Sample]:
    return changed_sample(target=target, valid=np.ones((1, 8, 6), bool))


ID: dict[str, Any] = dict(make_samples(1)[0].meta)


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({**ID, "class": "ER"}, "'class': the name of a column"),
        ({**ID, "iou": 1.0}, "'iou'"),
        ({**ID, "intensity_true": 1.0}, "'intensity_true'"),
        ({**ID, "energy": None}, "None is of type NoneType"),
        ({**ID, "energy": [1, 2]}, "list"),
        ({**ID, "energy": {"keV": 5}}, "dict"),
        ({**ID, "energy": np.ones(2)}, "ndarray"),
        ({**ID, "energy": 1j}, "complex"),
        ({**ID, "energy": b"5"}, "bytes"),
        ({**ID, "energy": "5"}, "text in some"),
        ({**ID, "n": 2**63}, "64 bits"),
        ({**ID, "id": "a\0"}, "cannot be stored"),
        ({**ID, "id": "\ud800"}, "cannot be stored"),
        ({}, "no 'id'"),
        ({key: value for key, value in ID.items() if key != "id"}, "no 'id'"),
    ],
)
def test_metadata_that_no_event_table_can_have_are_refused(tmp_path: Path, meta: Any, words: str) -> None:
    path = tmp_path / "samples.h5"
    first = make_samples(1)[0]
    with pytest.raises(DataError, match=words) as caught:
        write_samples(path, [first, first.replace(meta=meta)], CLASSES)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def test_samples_of_one_id_are_refused(tmp_path: Path) -> None:
    first, second = make_samples(2)
    with pytest.raises(DataError, match=r"samples 0 and 2 both have the id .* give every sample an id of its own"):
        write_samples(tmp_path / "samples.h5", [first, second, first], CLASSES)
    assert not (tmp_path / "samples.h5").exists()


@pytest.mark.parametrize("names", [{"": 1.0}, {"a\0b": 1.0}, {5: 1.0}, {"\udfff": 1.0}])
def test_names_that_are_no_text_are_refused(tmp_path: Path, names: dict[Any, float]) -> None:
    samples = [sample.replace(meta={"id": "x", **names}) for sample in make_samples(2)]
    with pytest.raises(DataError, match="expected a non-empty text as name"):
        write_samples(tmp_path / "samples.h5", samples, CLASSES)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_targets_below_zero_or_not_finite_are_refused_where_they_count(tmp_path: Path, value: float) -> None:
    path = tmp_path / "samples.h5"
    target = make_samples(2)[1].target.copy()
    target[1, 0, 2, 3] = value
    with pytest.raises(DataError, match=rf"{path}: sample 1: the target of 'NR' has {value} in 1 valid"):
        write_samples(path, valid_everywhere(target), CLASSES)
    valid = np.ones((1, 8, 6), bool)
    valid[0, 2, 3] = False
    write_samples(path, [sample.replace(valid=valid) for sample in valid_everywhere(target)], CLASSES)
    np.testing.assert_array_equal(SampleFile(path)[1].target, target)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_images_that_are_not_finite_are_refused_where_they_count(tmp_path: Path, value: float) -> None:
    image = np.full((1, 8, 6), value, np.float32)
    with pytest.raises(DataError, match="sample 1: the image has"):
        write_samples(tmp_path / "samples.h5", changed_sample(image=image), CLASSES)


@pytest.mark.parametrize(
    "classes", [("ER", "ER"), ("ER", ""), ("ER", "a/b"), ("ER", "/"), ("ER", "."), ("ER", ".."), ("ER", "E&R")]
)
def test_class_names_that_cannot_be_stored_are_refused(tmp_path: Path, classes: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match=re.escape(repr(classes[1]))) as caught:
        write_samples(tmp_path / "samples.h5", make_samples(1), classes)
    assert type(caught.value).__module__ == "oasis.errors"
    assert not list(tmp_path.iterdir())


def test_samples_with_and_without_instances_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample 1: some samples have instances"):
        write_samples(tmp_path / "samples.h5", changed_sample(instances=None), CLASSES)


def test_instances_of_a_class_that_is_not_there_are_refused(tmp_path: Path) -> None:
    found = Instances.pack((1, 8, 6), [2], [[0]], [[1]])
    with pytest.raises(DataError, match="class 2"):
        write_samples(tmp_path / "samples.h5", changed_sample(instances=found), CLASSES)
