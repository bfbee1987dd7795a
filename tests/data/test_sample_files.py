"""Files of samples: they hold what was written, appear whole or not at all, and refuse what they are not.

A disk that runs full is had by limiting the size of files in a process of its own, where HDF5 fails for real.
"""

import errno
import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from oasis.data.sample_files import SampleFile, write_samples
from oasis.data.samples import Sample, collate
from oasis.errors import DataError
from oasis.io.files import replace_when_whole

CLASSES = ("ER", "NR")


def make_samples(
    count: int, shape: tuple[int, ...] = (1, 6, 5), image: float = 0.1, target: float = 0.1, empty: int = 0
) -> list[Sample]:
    """Return samples whose maps are occupied to the given shares, the first `empty` ones not at all."""
    rng = np.random.default_rng(0)

    def draw(number: int, share: float, *lead: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        maps = rng.normal(size=(*lead, *shape)) * (rng.random((*lead, *shape)) < share) * (number >= empty)
        return np.asarray(maps, np.float32)

    return [
        Sample(
            draw(number, image),
            np.abs(draw(number, target, 2)),
            rng.random((1, *shape[1:])) < 0.5,
            {"id": f"é/{number}", "energy": number / 3, "count": number, "hybrid": number % 2 == 0},
        )
        for number in range(count)
    ]


def assert_same(one: Sample, other: Sample) -> None:
    for name in ("image", "target", "valid"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert one.meta == other.meta


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(make_samples(150), id="sparse"),
        pytest.param(make_samples(150, image=1), id="dense image"),
        pytest.param(make_samples(3, image=1, target=1), id="dense"),
        pytest.param(make_samples(130, image=0, target=0), id="empty"),
        pytest.param(make_samples(70, image=1, empty=66), id="empty at first"),
        pytest.param(make_samples(64, (3, 11)), id="1D in bands"),
        pytest.param(make_samples(65, (2, 3, 4, 5), image=1), id="3D in bands"),
    ],
)
def test_a_file_holds_what_was_written(tmp_path: Path, samples: list[Sample]) -> None:
    path = tmp_path / "new" / "samples.h5"
    assert write_samples(path, iter(samples), CLASSES, "ADU", {"run": 7, "dark": None}) == len(samples)
    file = SampleFile(path)
    assert (file.classes, file.unit, file.shape) == (CLASSES, "ADU", samples[0].image.shape)
    assert file.attributes == {"run": 7, "dark": None}
    assert len(file) == len(samples)
    for number, sample in enumerate(samples):
        assert_same(file[number], sample)
    assert_same(file[3, -1], samples[-1])
    with pytest.raises(IndexError):
        file[len(samples)]
    assert [entry.name for entry in path.parent.iterdir()] == ["samples.h5"]


def test_samples_are_written_while_they_come(tmp_path: Path) -> None:
    seen: list[weakref.ref[Sample]] = []
    alive = []

    def stream() -> Iterator[Sample]:
        for number in range(300):
            sample = make_samples(1)[0].replace(meta={"id": number})
            seen.append(weakref.ref(sample))
            alive.append(sum(one() is not None for one in seen))
            yield sample

    assert write_samples(tmp_path / "samples.h5", stream(), CLASSES) == 300
    assert max(alive) < 200


def test_sparse_maps_take_little_room(tmp_path: Path) -> None:
    samples = make_samples(20, (1, 128, 128), image=0.01, target=0.01)
    write_samples(tmp_path / "samples.h5", samples, CLASSES)
    assert (tmp_path / "samples.h5").stat().st_size < 0.1 * 3 * 20 * 128 * 128 * 4


@pytest.mark.parametrize("image", [0.1, 1.0])
def test_maps_of_double_precision_are_kept_as_float32(tmp_path: Path, image: float) -> None:
    sample = make_samples(1, image=image)[0]
    write_samples(tmp_path / "x.h5", [sample.replace(image=sample.image.astype(np.float64))], CLASSES)
    assert_same(SampleFile(tmp_path / "x.h5")[0], sample)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("long", ["x" * n for n in range(100)]),
        ("umlauts", ["a" + "é" * n for n in range(50)]),
        ("integers before fractions", [n if n < 64 else n + 0.5 for n in range(70)]),
        ("dE/dx", [0.5, 1.5]),
        ("nothing", ["", ""]),
    ],
)
def test_no_truth_quantity_is_lost_or_cut(tmp_path: Path, name: str, values: list[Any]) -> None:
    first = make_samples(1)[0]
    samples = [first.replace(meta={"id": number, name: value}) for number, value in enumerate(values)]
    write_samples(tmp_path / "samples.h5", samples, CLASSES)
    file = SampleFile(tmp_path / "samples.h5")
    assert [file[number].meta[name] for number in range(len(values))] == values


def test_context_is_not_lost(tmp_path: Path) -> None:
    context = np.arange(60, dtype=np.float32).reshape(2, 6, 5)
    samples = [sample.replace(context=context + number) for number, sample in enumerate(make_samples(70))]
    write_samples(tmp_path / "samples.h5", samples, CLASSES)
    file = SampleFile(tmp_path / "samples.h5")
    for number in (0, 69):
        np.testing.assert_array_equal(file[number].context, context + number)


class Watched(SampleFile):
    """Tells which process opened the file for a sample, and which one read it."""

    def sample(self, index: int, epoch: int) -> Sample:
        sample = super().sample(index, epoch)
        return sample.replace(meta={**sample.meta, "opened_by": self._handle.process, "read_by": os.getpid()})


def test_worker_processes_read_from_a_file_that_is_open_here(tmp_path: Path) -> None:
    samples = make_samples(40, image=1)
    write_samples(tmp_path / "samples.h5", samples, CLASSES)
    file = Watched(tmp_path / "samples.h5")
    assert file[0].meta["opened_by"] == os.getpid()
    loader: DataLoader[Sample] = DataLoader(file, batch_size=8, num_workers=2, collate_fn=collate)
    read = [sample for batch in loader for sample in batch.samples()]
    for one, other in zip(read, samples, strict=True):
        assert one.meta["opened_by"] == one.meta["read_by"] != os.getpid()
        assert_same(one.replace(meta=other.meta), other)
    assert_same(file[39].replace(meta=samples[39].meta), samples[39])


def test_an_open_file_can_be_pickled(tmp_path: Path) -> None:
    samples = make_samples(4)
    write_samples(tmp_path / "samples.h5", samples, CLASSES)
    file = SampleFile(tmp_path / "samples.h5")
    assert_same(file[1], samples[1])
    assert_same(pickle.loads(pickle.dumps(file))[2], samples[2])


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "samples.h5"
    write_samples(path, make_samples(70, image=1), CLASSES)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(DataError, match="truncated") as caught:
        SampleFile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("foreign", "not a file of samples"),
        ("stripped", "no group 'target/ER'"),
        ("text", "not a readable HDF5 file"),
        ("folder", "not a readable HDF5 file"),
        ("missing", "no such file"),
    ],
)
def test_what_is_no_file_of_samples_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    path = tmp_path / "samples.h5"
    if kind == "foreign":
        with h5py.File(path, "w") as file:
            file["image"] = np.ones(3)
    elif kind == "stripped":
        write_samples(path, make_samples(2), CLASSES)
        with h5py.File(path, "a") as file:
            del file["target"]
    elif kind == "text":
        path.write_text("image: 1\n")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(DataError, match=words) as caught:
        SampleFile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def interrupted(samples: list[Sample], error: Exception) -> Iterator[Sample]:
    yield from samples
    raise error


def other_meta(sample: Sample) -> Sample:
    return sample.replace(meta={"id": "x"})


def other_shape(sample: Sample) -> Sample:
    return sample.replace(image=sample.image[:, 1:], target=sample.target[:, :, 1:], valid=sample.valid[:, 1:])


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("failure", ["source", "meta", "shape", "classes"])
def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path: Path, failure: str, existing: bool) -> None:
    path = tmp_path / "samples.h5"
    if existing:
        write_samples(path, make_samples(2), CLASSES)
    before = path.read_bytes() if existing else b""
    samples = make_samples(70)
    if failure == "source":
        with pytest.raises(ValueError, match="source failed"):
            write_samples(path, interrupted(samples, ValueError("source failed")), CLASSES)
    elif failure == "classes":
        with pytest.raises(DataError, match=r"2 maps .*\['ER'\]"):
            write_samples(path, samples, ["ER"])
    else:
        odd = other_meta(samples[66]) if failure == "meta" else other_shape(samples[66])
        with pytest.raises(DataError, match=f"samples.h5: sample 66: {failure}"):
            write_samples(path, [*samples[:66], odd, *samples[67:]], CLASSES)
    assert [entry.name for entry in tmp_path.iterdir()] == (["samples.h5"] if existing else [])
    assert not existing or path.read_bytes() == before


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        write_samples(tmp_path / "samples.h5", [], CLASSES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["os.replace", "h5py.Group.create_dataset"])
def test_a_full_disk_is_named_and_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "samples.h5"
    path.write_bytes(b"before")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(failing, fail)
    with pytest.raises(DataError, match=r"samples\.h5: cannot be written: No space left on device$"):
        write_samples(path, make_samples(3), CLASSES)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"before"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from oasis.data.samples import Sample
from oasis.data.sample_files import write_samples
from oasis.errors import DataError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
image = rng.normal(size=(1, 64, 64)).astype(np.float32)
samples = [Sample(image, np.abs(image)[None], np.ones((1, 64, 64), bool), {"id": str(n)}) for n in range(200)]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    write_samples(folder / "samples.h5", samples, ["all"])
except DataError as error:
    assert str(folder / "samples.h5") in str(error) and "\\n" not in str(error), error
else:
    raise AssertionError("nothing was refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("limit", [0, 5_000, 100_000, 4_000_000])
def test_a_disk_that_runs_full_neither_crashes_nor_leaves_a_part(tmp_path: Path, limit: int) -> None:
    process = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(limit)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-600:]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"samples\.h5: cannot be written"):
        write_samples(tmp_path / "file" / "samples.h5", make_samples(1), CLASSES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match=r"samples\.h5: cannot be written: Permission denied"):
            write_samples(tmp_path / "samples.h5", make_samples(1), CLASSES)
    finally:
        tmp_path.chmod(0o700)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "text.txt"
    with replace_when_whole(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "whole"

    def stop_half_way() -> None:
        with replace_when_whole(path) as half:
            half.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert [entry.read_text() for entry in path.parent.iterdir()] == ["whole"]
