import numpy as np
import pytest

from oasis.adapters import Adapter, DataOptions, EventPrediction, SplitCounts, adapter_names, find_adapter
from oasis.data.mixing import Mixer, Placed, Scene
from oasis.data.sample_files import SampleFile, write_samples
from oasis.data.samples import Sample
from oasis.errors import ConfigError, DataError
from oasis.options import Options


class Steps(Scene):
    def __init__(self, classes, size):
        self.classes = classes
        self.shape = (1, size, size)

    def place(self, index, rng):
        return [Placed(self.classes[0], rng.random((1, 3, 3), np.float32), (0, 0))], {"step": index}


class StepOptions(DataOptions):
    events: SplitCounts = SplitCounts(train=4, val=3, test=2)
    size: int = 8
    kinds: int = 1


class Plain(Adapter):
    classes = ("a",)
    unit = "K"


class Counted(Adapter[StepOptions]):
    """Its classes follow from an option."""

    @property
    def classes(self):
        return tuple("abcd"[: self.options.kinds])

    def scene(self, split):
        return Steps(self.classes, self.options.size)


class TwoBands(Plain):
    bands = 2


def test_installed_adapters_are_found_by_name():
    assert "migdal" in adapter_names()
    assert find_adapter("migdal").classes == ("ER", "NR")


def test_adapters_in_files(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from oasis.adapters import Adapter\n"
        "class Mine(Adapter):\n    classes = ('x',)\n    def dataset(self, split): ...\n"
        "class Other: pass\n"
    )
    assert find_adapter(f"{path}:Mine").classes == ("x",)
    with pytest.raises(ConfigError, match="did you mean 'Mine'"):
        find_adapter(f"{path}:Mime")
    with pytest.raises(ConfigError, match="not a subclass"):
        find_adapter(f"{path}:Other")
    path.write_text("from oasis.adapters import Adapter\nclass Mine(Adapter):\n    unit = 'K'\n")
    with pytest.raises(ConfigError, match="does not define classes"):
        find_adapter(f"{path}:Mine")
    with pytest.raises(ConfigError, match="no such file"):
        find_adapter(f"{tmp_path}/nowhere.py:Mine")


def test_unknown_options_are_refused():
    with pytest.raises(ConfigError, match=r"data\.size: unknown key"):
        Plain({"size": 3})


@pytest.mark.parametrize(
    ("adapter", "shape", "expected"),
    [
        (Plain, (20, 30), (1, 1, 20, 30)),
        (Plain, (4, 20, 30), (4, 1, 20, 30)),
        (Plain, (4, 1, 20, 30), (4, 1, 20, 30)),
        (TwoBands, (2, 20, 30), (1, 2, 20, 30)),
        (TwoBands, (4, 2, 20, 30), (4, 2, 20, 30)),
    ],
)
def test_arrays_become_images_with_all_axes(adapter, shape, expected):
    raw = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    images = adapter().as_images(raw)
    assert images.shape == expected
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images.ravel(), raw.ravel())
    dark = np.full(expected[1:], 2.0)
    np.testing.assert_array_equal(adapter().as_images(raw, dark), images - 2)


@pytest.mark.parametrize(("adapter", "shape"), [(Plain, (30,)), (TwoBands, (20, 30)), (TwoBands, (3, 20, 30))])
def test_arrays_of_other_shapes_are_refused(adapter, shape):
    with pytest.raises(DataError, match="does not contain images"):
        adapter().as_images(np.ones(shape))


def test_bands_that_come_last_are_told_how_to_be_said():
    with pytest.raises(DataError, match=r"20, 30, 2\) .*data\.axes \(--axes YXC\)"):
        TwoBands().as_images(np.ones((20, 30, 2)))


class Line(Plain):
    spatial_dims = 1


class Volume(Plain):
    spatial_dims = 3


@pytest.mark.parametrize(
    ("adapter", "shape"), [(Plain, (24, 20, 3)), (Plain, (24, 20, 4)), (Volume, (9, 9, 9, 3))]
)
def test_colours_are_not_taken_for_narrow_images(adapter, shape):
    with pytest.raises(DataError, match=rf"looks like one image of {shape[-1]} colours"):
        adapter().as_images(np.ones(shape))


@pytest.mark.parametrize("columns", [2, 3])
def test_columns_are_not_taken_for_short_signals(columns):
    with pytest.raises(DataError, match=f"looks like a table of {columns} columns"):
        Line().as_images(np.ones((100, columns)))


@pytest.mark.parametrize(("adapter", "shape"), [(Plain, (24, 3)), (Plain, (2, 1, 24, 3)), (TwoBands, (2, 24, 3))])
def test_narrow_images_that_cannot_be_colours_are_read(adapter, shape):
    assert adapter().as_images(np.ones(shape)).shape[-2:] == (24, 3)


def test_a_file_is_read_with_its_context(tmp_path):
    class Guided(Plain):
        context = 2

    values = {"image": np.ones((3, 8, 8)), "context": np.zeros((3, 2, 8, 8))}
    np.savez(tmp_path / "a.npz", **values)
    images = Guided().read(tmp_path / "a.npz", dark=np.ones((8, 8)))
    assert (images.image.shape, images.context.shape) == ((3, 1, 8, 8), (3, 2, 8, 8))
    assert images.image.max() == 0
    assert images.source == str(tmp_path / "a.npz")
    assert Plain().read(tmp_path / "a.npz", "image").context is None
    np.savez(tmp_path / "b.npz", image=values["image"])
    with pytest.raises(DataError, match="no array 'context'"):
        Guided().read(tmp_path / "b.npz")


def test_a_dark_frame_has_to_fit():
    with pytest.raises(DataError, match="dark frame"):
        Plain().as_images(np.ones((20, 30)), np.ones((20, 31)))


def test_a_domain_without_foreign_files_says_so(tmp_path):
    with pytest.raises(DataError, match="no files of its own"):
        Plain().convert(tmp_path / "x.pkl", tmp_path / "y.h5")


def test_facts_belong_to_the_instance():
    one, two = Counted(), Counted({"kinds": 2})
    assert (one.classes, two.classes) == (("a",), ("a", "b"))
    assert (Plain().unit, Plain().bands, Plain().study) == ("K", 1, None)
    assert isinstance(one.options, StepOptions)
    assert type(Plain().options) is DataOptions


def test_a_data_set_follows_from_the_scene():
    adapter = Counted({"events": {"val": 5}}, seed=3)
    train, val, test = (adapter.dataset(split) for split in ("train", "val", "test"))
    assert [len(part) for part in (train, val, test)] == [4, 5, 2]
    assert not np.array_equal(train[(0, 1)].image, train[(1, 1)].image)
    assert np.array_equal(val[(0, 1)].image, val[(1, 1)].image)
    assert not np.array_equal(Counted(seed=4).dataset("val")[1].image, val[1].image)
    assert isinstance(test, Mixer)


def test_files_take_the_place_of_the_scene(tmp_path):
    adapter = Counted()
    for name, split in (("a.h5", "train"), ("b.h5", "val")):
        samples = adapter.dataset(split)
        write_samples(tmp_path / name, (samples[index] for index in range(len(samples))), ("a",))
    files = [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    one = Counted({"files": {"test": files[0]}}).dataset("test")
    both = Counted({"files": {"test": files}}).dataset("test")
    assert isinstance(one, SampleFile)
    assert (len(one), len(both)) == (4, 7)
    np.testing.assert_array_equal(both[4].image, SampleFile(files[1])[0].image)
    assert isinstance(Counted({"files": {"test": files[0]}}).dataset("val"), Mixer)
    with pytest.raises(ConfigError, match=r"data\.files\.test: expected each file once"):
        Counted({"files": {"test": [files[0], files[0]]}})


@pytest.mark.parametrize(
    ("shape", "classes", "unit", "message"),
    [
        ((1, 8, 8), ("b",), "K", r"contains the classes \['b'\]"),
        ((2, 8, 8), ("a",), "K", r"shape \(2, 8, 8\), expected 1 bands and 2"),
        ((1, 8), ("a",), "K", r"shape \(1, 8\), expected 1 bands and 2"),
        ((1, 8, 9), ("a",), "K", "8 x 9 pixels, expected 8 x 8"),
        ((1, 8, 8), ("a",), "mK", "intensities in 'mK', expected 'K'"),
    ],
)
def test_files_have_to_fit_the_domain(tmp_path, shape, classes, unit, message):
    class Sized(Plain):
        size = (8, 8)

    image = np.ones(shape, np.float32)
    sample = Sample(image, image[None], np.ones((1, *shape[1:]), bool), {"id": "a"})
    write_samples(tmp_path / "a.h5", [sample], classes, unit)
    with pytest.raises(DataError, match=message):
        Sized({"files": {"test": str(tmp_path / "a.h5")}}).dataset("test")


def test_a_split_needs_samples_from_somewhere():
    with pytest.raises(ConfigError, match=r"data\.files\.val: this adapter has no scene"):
        Plain().dataset("val")
    with pytest.raises(ConfigError, match=r"data\.events\.val: expected at least 1 sample"):
        Counted({"events": {"val": 0}}).dataset("val")

    class Odd(Adapter[Options]):
        classes = ("a",)

    with pytest.raises(ConfigError, match="Odd: expected options that derive from"):
        Odd().dataset("val")


def test_hooks_that_a_domain_leaves_alone_say_nothing():
    adapter = Counted()
    sample = adapter.dataset("val")[0]
    prediction = EventPrediction(sample.target)
    assert adapter.event_rows(prediction, sample) == {}
    assert not adapter.measures_events
    assert list(adapter.instance_rows(prediction, sample)) == []
    assert adapter.grouping == {}
    assert adapter.regions_of_interest(sample.image) is None
    assert adapter.figures(None) == {}
    assert adapter.visible(sample.image[None]).all()
    with pytest.raises(ConfigError, match="refine: this adapter has no model"):
        adapter.refine(sample.image[None], None, sample.target[None], {})


def test_a_domain_with_columns_of_its_own_measures_events():
    class Measuring(Counted):
        def event_rows(self, prediction, sample):
            return {"a": {"peak": float(prediction.maps.max())}}

    assert Measuring().measures_events


@pytest.mark.parametrize("suffix", ["npy", "tif", "h5"])
def test_images_of_which_many_values_are_the_largest_of_their_type_are_named(toy, tmp_path, caplog, suffix):
    import h5py
    import tifffile

    from oasis.inference.reader import Reader

    raw, path = np.zeros((3, 24, 20), "u2"), tmp_path / f"a.{suffix}"
    for count, said in ((0, False), (1, False), (200, True)):
        raw.reshape(-1)[:count] = 65535
        if suffix == "npy":
            np.save(path, raw)
        elif suffix == "tif":
            tifffile.imwrite(path, raw, photometric="minisblack")
        else:
            with h5py.File(path, "w") as file:
                file["image"] = raw
        for read in (toy.adapter.read, lambda path: Reader(toy.adapter).images(path, 0, 3)):
            caplog.clear()
            read(path)
            found = "% of the values are 65535, the largest of uint16" in caplog.text
            assert (found, caplog.text.count("\n")) == (said, int(said))


def test_an_image_is_not_its_own_context(toy, tmp_path):
    class WithContext(type(toy.adapter)):
        context = 1

    np.save(tmp_path / "a.npy", np.ones((2, 1, 24, 20)))
    with pytest.raises(DataError, match=r"a.npy: a file .npy has no array 'context' beside its images: use .npz"):
        WithContext().read(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", image=np.ones((2, 1, 24, 20)), context=np.full((2, 1, 24, 20), 5.0))
    assert (WithContext().read(tmp_path / "a.npz").context == 5).all()
