"""The contract of adapters: ours keep it, and each way of breaking it is found and named with its mend."""

import itertools
from functools import cached_property

import numpy as np
import pytest

from oasis.adapters import Adapter, DataOptions, SplitCounts, Study, adapter_names
from oasis.adapters.neutrino.scene import EXIT_COLUMNS
from oasis.data.images import Images
from oasis.data.mixing import Mixer, Placed, Scene
from oasis.data.quantities import Quantities, Quantity
from oasis.errors import ConfigError, DataError
from oasis.instances.grouping import Grouping
from oasis.testing import ContractError, check_adapter

SMALL = {
    "cells": {"size": [64, 64]},
    "cygno": {"size": [96, 96]},
    "galaxies": {"library": {"simulated": 40}},
    "galaxy": {"library": {"simulated": 40}},
    "migdal": {},
    "neutrino": {},
    "neutrino-ions": {},
    "pulses": {"samples": 256},
    "waveform": {"samples": 512},
}


def with_exits(name, options, folder):
    """Return a file of neutrino events, which have to state where their muons leave."""
    from oasis.adapters import find_adapter

    dataset = find_adapter(name)(options).dataset("test")
    samples = [dataset[index] for index in range(3)]
    exits = [[sample.meta[column] for column in EXIT_COLUMNS] for sample in samples]
    np.savez(folder / "events.npz", image=np.stack([sample.image for sample in samples]), exit=np.array(exits))
    return [folder / "events.npz"]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_adapters_that_ship_keep_the_contract(name, tmp_path):
    files = with_exits(name, SMALL[name], tmp_path) if name.startswith("neutrino") else ()
    check_adapter(name, SMALL[name], count=6, files=files)


def test_all_of_them_are_checked():
    assert {*SMALL, "ccd", "folder"} == set(adapter_names())  # these two are checked in their own tests


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("examples/own_adapter.py:MicroscopyAdapter", {"size": (32, 40)}),
        ("examples/three_classes.py:BlobAdapter", {}),
        ("tests/toy_adapter.py:ToyAdapter", {}),
    ],
)
def test_adapters_in_files_keep_the_contract(root, file, options):
    check_adapter(f"{root}/{file}", options, count=4)


class Dots(Scene):
    classes = ("dot", "bar")
    shape = (1, 16, 16)

    def place(self, index, rng):
        height = float(rng.uniform(5, 10))
        dot = Placed("dot", np.full((1, 4, 4), height, np.float32), tuple(rng.integers(0, 12, 2)))
        bar = Placed("bar", np.full((1, 16, 3), 4, np.float32), (0, int(rng.integers(0, 13))))
        return [dot, bar], {"height": height, "dot_height": height}

    def observe(self, target, placed, rng):
        image = target.sum(axis=0) + 3 + rng.normal(0, 0.1, self.shape)
        return image.astype(np.float32), np.ones((1, 16, 16), bool)


class Good(Adapter):
    """A domain that keeps the contract; the others break one promise each."""

    classes = ("dot", "bar")
    unit = "counts"
    thresholds = 1.0
    quantities = Quantities(classes=("dot",), of_object=(Quantity(name="height"),))
    study = Study("dot", "height", "height (counts)", (5, 7, 10))

    def scene(self, split):
        return Dots()


def test_a_good_adapter_passes_as_name_class_and_instance():
    check_adapter(Good)
    check_adapter(Good({"events": {"test": 3}}, seed=2))


def changed(place=None, observe=None):
    """Return a domain whose scene changes what was placed or observed."""
    if place is not None:
        kind = type("Changed", (Dots,), {"place": lambda self, index, rng: place(*Dots.place(self, index, rng))})
    else:
        kind = type(
            "Changed",
            (Dots,),
            {
                "observe": lambda self, target, placed, rng: observe(
                    target, *Dots.observe(self, target, placed, rng)
                )
            },
        )
    globals()[f"Changed_{id(kind)}"] = kind
    kind.__module__ = __name__
    kind.__qualname__ = kind.__name__ = f"Changed_{id(kind)}"  # so that it can be pickled
    return {"scene": lambda self, split: kind()}


class Half(Mixer):
    def sample(self, index, epoch):
        sample = super().sample(index, epoch)
        return sample.replace(target=sample.target.astype(np.float16))


class Shared(Mixer):
    """Draws from a generator of its own, so that samples depend on what was asked for before."""

    def __init__(self, *facts):
        super().__init__(*facts)
        self.rng = np.random.default_rng(0)

    def sample(self, index, epoch):
        sample = super().sample(index, epoch)
        return sample.replace(image=sample.image + np.float32(self.rng.random()))


class Drifting(Mixer):
    """Differs between epochs though it should be fixed."""

    def sample(self, index, epoch):
        sample = super().sample(index, 0)
        return sample.replace(image=sample.image + np.float32(epoch))


class Closed(Mixer):
    """Keeps something that no other process can be given."""

    def __init__(self, *facts):
        super().__init__(*facts)
        self.helper = lambda: None


def mixed_by(kind, fixed=("train", "val", "test")):
    return {"dataset": lambda self, split: kind(Dots(), 6, self.seed, split, split in fixed)}


def same_splits(self, split):
    return Mixer(Dots(), 6, self.seed, "test", True)


COUNTER = itertools.count()


class OddOptions(DataOptions):
    events: SplitCounts = SplitCounts(train=4, val=4, test=4)
    level: float = 1.0

    def model_post_init(self, context):
        object.__setattr__(self, "level", self.level + 1)


def flipped(placed, meta):
    return [Placed(one.name, -one.values, one.origin) for one in placed], meta


def with_meta(**more):
    return changed(place=lambda placed, meta: (placed, {**meta, **more}))


BROKEN = {
    "a list of classes": ({"classes": ["dot", "bar"]}, "classes is .*: give a tuple"),
    "classes that change": (
        {"classes": property(lambda self: ("dot", f"bar{next(COUNTER)}"))},
        "classes differ when they are read again",
    ),
    "four axes": ({"spatial_dims": 4}, "spatial_dims is 4: give 1, 2 or 3"),
    "no band": ({"bands": 0}, "bands is 0"),
    "a negative context": ({"context": -1}, "context is -1"),
    "no unit": ({"unit": None}, "unit is None"),
    "an unknown interchangeable class": (
        {"interchangeable": (("dot", "barr"),)},
        "interchangeable: unknown class",
    ),
    "a class in two groups": ({"interchangeable": (("dot", "bar"), ("bar",))}, "a class is in two groups"),
    "grouping of no class": ({"grouping": {"ring": Grouping()}}, "grouping: unknown class"),
    "quantities of no class": (
        {"quantities": Quantities(classes=("ring",))},
        r"quantities\.classes: unknown class",
    ),
    "defaults of the data": ({"defaults": {"data": {}}}, "defaults: the section data"),
    "two bands": (
        mixed_by(Mixer) | {"bands": 2},
        r"train\[0\]: image of shape \(1, 16, 16\): expected 2 bands",
    ),
    "one dimension": (mixed_by(Mixer) | {"spatial_dims": 1}, "expected 1 bands and 1 spatial axes"),
    "more classes": (
        mixed_by(Mixer) | {"classes": ("dot", "bar", "ring"), "quantities": Quantities()},
        "2 maps for 3 classes",
    ),
    "a missing context": ({"context": 2}, "0 channels of context, but the fact context is 2"),
    "half precision": (mixed_by(Half), "target is float16: give float32"),
    "NaN in the image": (
        changed(observe=lambda target, image, valid: (np.where(image > 6, np.nan, image), valid)),
        "image has NaN or infinite values",
    ),
    "a negative truth": (
        changed(place=flipped)
        | {"thresholds": 0.0, "dataset": lambda self, split: Mixer(self.scene(split), 6, 0, split, True)},
        "the target is negative",
    ),
    "nothing valid": (
        changed(observe=lambda target, image, valid: (image, np.zeros_like(valid)))
        | {"dataset": lambda self, split: Mixer(self.scene(split), 6, 0, split, True)},
        "no pixel is valid",
    ),
    "valid as numbers": (
        changed(observe=lambda target, image, valid: (image, valid.astype(np.uint8))),
        "valid is uint8: give bool",
    ),
    "a missing quantity": (
        {"quantities": Quantities(classes=("dot",), of_object=(Quantity(name="width"),))},
        "quantities: the meta has no .*dot_width",
    ),
    "a meta that comes and goes": (
        changed(place=lambda placed, meta: (placed, meta | ({"odd": 1} if meta["height"] > 7 else {}))),
        "meta differs in .*odd.*: give all samples the same names",
    ),
    "one id": (with_meta(id="the same"), "has the id 'the same' of"),
    "another unit": (
        changed(observe=lambda target, image, valid: (image * np.float32(0.5), valid)),
        "the image is not the sum of its maps: it has 0.5",
    ),
    "a class that is not seen": (
        changed(observe=lambda target, image, valid: (image - target[1], valid)),
        r"of 'bar', not 1: give maps in the units",
    ),
    "a generator of its own": (mixed_by(Shared), "differs when it is made alone"),
    "validation that drifts": (mixed_by(Drifting), "differs between epochs"),
    "splits that are the same": (
        {"dataset": same_splits},
        "has the id .* of train|are the same image: keep the splits separate",
    ),
    "training that stays the same": (mixed_by(Mixer), "train.0. is the same in every epoch"),
    "what cannot be pickled": (mixed_by(Closed, fixed=("val", "test")), "cannot be handed to worker processes"),
    "rows of no class": (
        {"event_rows": lambda self, prediction, sample: {"ring": {}}},
        "event_rows: unknown class",
    ),
    "rows without numbers": (
        {"event_rows": lambda self, prediction, sample: {"dot": {"peak": [1]}}},
        "event_rows: .*peak.* of 'dot' are no numbers",
    ),
    "a row too few": ({"instance_rows": lambda self, prediction, sample: [{}]}, "1 rows for 2 instances"),
    "no figure": ({"figures": lambda self, table: {"mine": 3}}, "figures: 'mine' is int: give a Figure"),
    "an array instead of images": (
        {"read": lambda self, *given: np.ones((1, 1, 16, 16))},
        "read returned ndarray",
    ),
    "images of two bands": (
        {"read": lambda self, *given: Images(np.ones((1, 2, 16, 16), np.float32))},
        r"read: images are float32 of \(1, 2, 16, 16\)",
    ),
    "bad pixels without a mask": (
        {"read": lambda self, *given: Images(np.full((1, 1, 16, 16), np.nan, np.float32))},
        "read: good pixels are not finite: mask them",
    ),
    "visible pixels of every band": (
        {"visible": lambda self, images: np.ones(images.shape[1:], bool)},
        r"visible is bool of \(1, 16, 16\), not \(4, 1, 16, 16\)",
    ),
    "regions of one axis": (
        {"regions_of_interest": lambda self, image: [(slice(3),)]},
        "regions_of_interest: .*give a slice for each axis",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_contract_is_named_with_its_mend(name):
    members, message = BROKEN[name]
    with pytest.raises(ContractError, match=message) as caught:
        check_adapter(type("Broken", (Good,), dict(members)), count=4)
    assert str(caught.value).startswith("Broken: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"place": [1, 2]}, "metadata 'place': .* is of type list, expected a number"),
        ({"place": None}, "metadata 'place': None is of type NoneType"),
        ({"iou": 0.5}, "metadata 'iou': the name of a column of event tables"),
    ],
)
def test_metadata_that_cannot_be_stored_are_refused(meta, message):
    with pytest.raises(DataError, match=message):
        check_adapter(type("Broken", (Good,), dict(with_meta(**meta))), count=4)


def test_options_that_change_when_they_are_saved_are_found():
    class Odd(Good, Adapter[OddOptions]):
        options_type = OddOptions

    with pytest.raises(ContractError, match="options change when they are saved and read"):
        check_adapter(Odd)


def test_an_adapter_without_classes_is_no_traceback():
    class Nameless(Adapter):
        unit = "K"

    with pytest.raises(ContractError, match="Nameless does not define classes: give it as a class attribute"):
        check_adapter(Nameless)


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        (
            {"study": Study("dot", "hight", "height", (5, 7))},
            ConfigError,
            "no column 'hight'.*did you mean 'height'",
        ),
        ({"study": Study("ring", "height", "height", (5, 7))}, ConfigError, "unknown class 'ring'"),
        ({"thresholds": {"ring": 1.0}}, ConfigError, "ring"),
        ({"defaults": {"scaling": {"skale": 1}}}, ConfigError, "Broken.defaults.scaling.skale: unknown key"),
        ({"defaults": {"loss": {"region_weights": {"dot&ring": 2}}}}, ConfigError, "ring"),
        ({"classes": ("dot", "dot")}, ConfigError, "duplicate name 'dot'"),
        (
            {"bands": 2},
            ConfigError,
            r"the scene of train has shape \(1, 16, 16\), expected 2 bands .* axes: set bands and spatial_dims",
        ),
        ({"spatial_dims": 1}, ConfigError, r"the scene of train has shape \(1, 16, 16\), expected 1 bands and 1"),
        (
            {"classes": ("dot", "ring"), "quantities": Quantities(), "study": None},
            ConfigError,
            r"the scene of train has the classes \['dot', 'bar'\], expected \['dot', 'ring'\]",
        ),
        ({"scene": lambda self, split: Adapter.scene(self, split)}, ConfigError, "no scene to simulate samples"),
    ],
)
def test_what_the_core_refuses_is_said_in_its_words(members, error, message):
    with pytest.raises(error, match=message):
        check_adapter(type("Broken", (Good,), members))


def test_reading_is_checked_with_files_of_ones_own(tmp_path):
    path = tmp_path / "frames.npy"
    np.save(path, np.random.default_rng(0).random((3, 16, 16)))
    check_adapter(Good, files=[path])
    np.save(path, np.ones((3, 16, 16, 2)))
    with pytest.raises(DataError, match="does not contain images"):
        check_adapter(Good, files=[path])


def test_a_reader_that_needs_more_than_images_is_told_to_bring_files():
    class Needy(Good):
        def read(self, path, key=None, dark=None):
            raise DataError(f"{path}: has no calibration")

    with pytest.raises(ContractError, match=r"refused \(.*no calibration\): name files that it reads in files="):
        check_adapter(Needy)

    class Closed(Needy):
        suffixes = (".raw",)

    check_adapter(Closed)


def test_a_small_tolerance_finds_a_small_error_of_scale():
    broken = type(
        "Broken", (Good,), changed(observe=lambda target, image, valid: (image * np.float32(1.05), valid))
    )
    check_adapter(broken)
    with pytest.raises(ContractError, match=r"it has 1\.05"):
        check_adapter(broken, tolerance=0.02)


def test_a_cached_property_may_be_a_fact():
    class Cached(Good):
        @cached_property
        def interchangeable(self):
            return (("dot", "bar"),)

    check_adapter(Cached)
