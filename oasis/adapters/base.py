"""The contract of an adapter, which provides a domain with training, evaluation and prediction."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import TypeVar

from oasis.adapters.axes import ArrangedParts, Arrangement, arrangement
from oasis.adapters.fluxes import Fluxes
from oasis.adapters.options import DataOptions
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.reading import as_images, level_and_noise, say_saturated
from oasis.adapters.sources import Column, Sources
from oasis.adapters.study import Study
from oasis.data.brightness import Brightness
from oasis.data.images import Images
from oasis.data.joining import Joined
from oasis.data.mixing import Mixer, SampleDataset, Scene
from oasis.data.quantities import Quantities
from oasis.data.sample_files import SampleFile
from oasis.data.samples import Array, Sample
from oasis.errors import ConfigError, DataError, shown
from oasis.instances.grouping import Grouping
from oasis.io.arrays import SUFFIXES, as_image_array, read_named
from oasis.io.axes import SPATIAL, AxisFacts
from oasis.io.labelled import read_labelled
from oasis.io.parts import Parts, facts_of
from oasis.io.signal_tables import Abscissa
from oasis.io.tiff import first_of_sets
from oasis.options import Options
from oasis.regions import per_class, present

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

LOWERED = 5.0  # times the noise by which half of the pixels may be below 0
ATTEMPTS = 200  # samples to search for an object before concluding that there is none

OptionsT = TypeVar("OptionsT", bound=Options, default=DataOptions, covariant=True)


class Sky(Protocol):
    """Where the pixels of an image lie on the sky."""

    def to_sky(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return right ascension and declination (k, 2), degrees, of rows and columns (k, 2)."""

    def cards(self, start: Sequence[int]) -> dict[str, Any]:
        """Return the cards of a FITS header for the part of the image that starts at (row, column)."""


class Blocks(Protocol):
    """The image of a file, which is read block by block."""

    @property
    def size(self) -> tuple[int, ...]:
        """Lengths of its spatial axes."""

    def read(self, place: Sequence[slice]) -> Images:
        """Return a block as `Adapter.read` returns a whole image, with the `background` of the whole one.

        Raises:
            DataError: the file cannot be read.
        """


class Adapter(ABC, Generic[OptionsT]):
    """The base class of adapters: a domain supplies facts, and a scene from which samples are mixed.

    Facts belong to the instance: a subclass declares each as a class attribute, or as a property if it depends on
    the options. `class MyAdapter(Adapter[MyOptions])` declares the class of the options.

    Attributes:
        options: the section `data`.
        seed: the seed of everything random in the data.
        trained_brightness: that of the images of which a separator was trained, once one is in use.

    Args:
        options: the section `data`, as plain or validated values.
        seed: the seed of everything random in the data.
        thresholds: thresholds of presence, for all classes or by class, instead of the domain's.

    Raises:
        ConfigError: an option is unknown or has an invalid value.

    Example:
        >>> class Cells(Adapter):
        ...     classes = ("cell", "fibre")
        ...     unit = "photons"
        >>> adapter = Cells({"events": {"test": 8}})
        >>> adapter.options.events.test, adapter.spatial_dims
        (8, 2)
    """

    options_type: ClassVar[type[Options]] = DataOptions

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        named = [one for base in vars(cls).get("__orig_bases__", ()) for one in get_args(base)]
        for one in named:
            if isinstance(one, type) and issubclass(one, Options) and "options_type" not in vars(cls):
                cls.options_type = one

    def __init__(
        self,
        options: Mapping[str, Any] | Options | None = None,
        seed: int = 0,
        thresholds: Mapping[str, float] | float | None = None,
    ) -> None:
        if not isinstance(options, Options):
            options = self.options_type.parse(options or {}, where="data")
        self.options = cast(OptionsT, options)
        self.seed = seed
        self.trained_brightness: Brightness | None = None
        self._chosen_thresholds = thresholds
        self._said: set[Hashable] = set()  # what was said of files

    def varied(self, **changes: Any) -> Self:
        """Return this adapter with some options changed; what was said of files is not said again.

        Args:
            changes: the options, which are not validated.
        """
        other = type(self)(self.options.model_copy(update=changes), self.seed, self._chosen_thresholds)
        other._said = self._said
        return other

    @property
    def limits(self) -> dict[str, float]:
        """The threshold of presence of every class, that of the configuration if it has one, else the domain's.

        Raises:
            ConfigError: a class is unknown, or a threshold is negative or not finite.
        """
        limits = per_class(self.classes, self.thresholds, 0.0, "thresholds")
        if self._chosen_thresholds is not None:
            own = dict(zip(self.classes, limits.tolist(), strict=True))
            chosen = self._chosen_thresholds
            chosen = {**own, **chosen} if isinstance(chosen, Mapping) else chosen
            limits = per_class(self.classes, chosen, 0.0, "thresholds")
        return dict(zip(self.classes, limits.tolist(), strict=True))

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The N class names, in the order of the maps."""

    @property
    def spatial_dims(self) -> int:
        """Number of spatial axes of an image: 1, 2 or 3."""
        return 2

    @property
    def bands(self) -> int:
        """Number B of bands of an image and of every map."""
        return 1

    @property
    def band_names(self) -> tuple[str, ...]:
        """The B names of the bands, by which those of a map are called in files; empty if unknown."""
        return ()

    @property
    def context(self) -> int:
        """Number C of channels of further inputs that are not part of the mixture."""
        return 0

    @property
    def size(self) -> tuple[int, ...] | None:
        """Lengths of the spatial axes that samples in a file must have, or None for any."""
        return None

    @property
    def unit(self) -> str:
        """Unit of the intensities."""
        return ""

    @property
    def interchangeable(self) -> Sequence[Sequence[str]]:
        """Groups of interchangeable classes, whose maps may be in any order."""
        return ()

    @property
    def grouping(self) -> Mapping[str, Grouping]:
        """Options for grouping maps into instances, by class; `Grouping()` for the others."""
        return {}

    @property
    def quantities(self) -> Quantities:
        """Quantities of objects and of the image that a separator can learn to predict."""
        return Quantities()

    @property
    def oriented(self) -> bool:
        """Whether context or quantities contain directions or positions that would not rotate with the image.

        Samples are then not augmented.
        """
        return False

    @property
    def thresholds(self) -> Mapping[str, float] | float:
        """Intensity above which a class is present in a pixel, one for all classes or by name (unnamed: 0).

        Loss, statistics, metrics and masks use it; the key `thresholds` of a YAML file overrides it.
        """
        return 0.0

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Default values of the domain for the sections of a run other than `data`."""
        return {}

    @property
    def study(self) -> Study | None:
        """The question that `oasis evaluate` answers, or None."""
        return None

    @property
    def fluxes(self) -> Fluxes | None:
        """The fluxes in bands, of which `oasis calibrate` makes intervals for each; None for a domain without."""
        return None

    @property
    def suffixes(self) -> Sequence[str]:
        """Suffixes of the files that `read` supports."""
        return SUFFIXES

    def scene(self, split: str) -> Scene:
        """Return the scene from which the samples of a split are mixed: the only method that a domain must define.

        A domain that only reads files can omit it.

        Args:
            split: `train`, `val` or `test`; the splits should not share components.

        Raises:
            ConfigError: the domain has no simulation.
        """
        raise ConfigError(f"data.files.{split}: this adapter has no scene to simulate samples: name a file")

    def dataset(self, split: str) -> SampleDataset:
        """Return the samples of a split: those of its files if the options name any, else mixed from its scene.

        Mixed training samples are new in every epoch, the others are the same.

        Raises:
            ConfigError: the split has no events.
            DataError: a file is invalid, or files are incompatible.
        """
        options: Options = self.options
        if not isinstance(options, DataOptions):
            raise ConfigError(
                f"{type(self).__name__}: expected options that derive from oasis.adapters.DataOptions, found "
                f"{type(options).__name__}: derive them from it, or define dataset(split)"
            )
        files = options.files.of(split)
        if files:
            parts = {file: self.samples(Path(file), split) for file in files}
            return Joined(parts) if len(parts) > 1 else parts[files[0]]
        scene = self.scene(split)
        self._check_scene(scene, split)
        mixed = Mixer(scene, self.count(split, scene), self.seed, split, fixed=split != "train")
        if split != "test":
            _check_lit(mixed, self.limits, self.unit)
        return mixed

    def _check_scene(self, scene: Scene, split: str) -> None:
        """Check that a scene has the domain's classes, bands and axes.

        Raises:
            ConfigError: it has others, or is no scene.
        """
        where = f"{type(self).__name__}: the scene of {split}"
        if not isinstance(scene, Scene):
            raise ConfigError(
                f"{where} is of type {type(scene).__name__}, expected one of oasis.data.mixing.Scene"
            )
        if tuple(scene.classes) != tuple(self.classes):
            raise ConfigError(f"{where} has the classes {list(scene.classes)}, expected {list(self.classes)}")
        if len(scene.shape) != self.spatial_dims + 1 or scene.shape[0] != self.bands:
            raise ConfigError(
                f"{where} has shape {tuple(scene.shape)}, expected {self.bands} bands and {self.spatial_dims} "
                "spatial axes: set bands and spatial_dims of the adapter, or the shape of the scene"
            )

    def count(self, split: str, scene: Scene) -> int:
        """Return the number of samples of a scene in a split, from the option `events`.

        Raises:
            ConfigError: it has none.
        """
        count: int = getattr(cast(DataOptions, self.options).events, split)
        if not count:
            raise ConfigError(f"data.events.{split}: expected at least 1 sample, found 0")
        return count

    def samples(self, path: Path, split: str) -> SampleDataset:
        """Return the samples of a file: by default an HDF5 file of samples.

        Args:
            path: the path of the file or folder.
            split: the split it is read for.

        Raises:
            DataError: the file cannot be read, or has other classes, bands or axes, or another unit.
        """
        file = SampleFile(path)
        if file.classes != self.classes:
            raise DataError(f"{path}: contains the classes {list(file.classes)}, expected {list(self.classes)}")
        if len(file.shape) != self.spatial_dims + 1 or file.shape[0] != self.bands:
            raise DataError(
                f"{path}: contains images of shape {file.shape}, expected {self.bands} bands and "
                f"{self.spatial_dims} spatial axes"
            )
        if self.size is not None and file.shape[1:] != self.size:
            found, expected = (" x ".join(map(str, size)) for size in (file.shape[1:], self.size))
            raise DataError(
                f"{path}: contains images of {found} pixels, expected {expected}: crop them, or change the "
                "section data"
            )
        if file.unit and file.unit != self.unit:
            raise DataError(f"{path}: contains intensities in {shown(file.unit)}, expected {self.unit!r}")
        return file

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return further columns of the event table for one event, by class and by column.

        Intensity, IoU, overlap and the predicted quantities are always in the table.

        Args:
            prediction: the maps and, if predicted, quantities of the objects.
            sample: the event with its truth.
        """
        return {}

    @property
    def measures_events(self) -> bool:
        """Whether `event_rows` returns any columns; if not, events need not be copied from the device."""
        return type(self).event_rows is not Adapter.event_rows

    def caption(self, prediction: EventPrediction, sample: Sample) -> str:
        """Return what the gallery states of one event beside the error of the intensity.

        Args:
            prediction: the maps and, if predicted, quantities of the objects.
            sample: the event with its truth.
        """
        return ""

    def larger(self, split: str, factor: int) -> SampleDataset | None:
        """Return samples with sides up to `factor` times as long as in training, as the domain measures them.

        Evaluation tests with them whether larger images have the same maps; by default there are none, and it
        embeds samples in background of their own.

        Args:
            split: the split.
            factor: at least 2.
        """
        return None

    def abscissa(self, sample: Sample) -> Abscissa | None:
        """Return what a sample with one axis is drawn over, such as its times; None: its samples are numbered.

        Args:
            sample: of a data set of this adapter.
        """
        return None

    def instance_rows(self, prediction: EventPrediction, sample: Sample) -> Sequence[Mapping[str, float]]:
        """Return further columns for the single objects of one event.

        Args:
            prediction: the maps and, if predicted, quantities of the objects.
            sample: the event, with its `instances`.

        Returns:
            One mapping by column for each of `sample.instances`, in their order; empty for no further columns.
        """
        return ()

    def refine(
        self,
        images: Array,
        context: Array | None,
        maps: Array,
        quantities: Mapping[str, NDArray[Any]],
    ) -> Mapping[str, NDArray[Any]]:
        """Fit a model of the domain to images, starting from the prediction, and return columns (b, N).

        It uses no truth, so that it also works for measured images.

        Args:
            images: (b, B, *S) in physical units.
            context: (b, C, *S).
            maps: (b, N, B, *S) predicted maps.
            quantities: predicted quantities by column (b, N).

        Raises:
            ConfigError: the domain has no such model.
        """
        raise ConfigError("refine: this adapter has no model to fit")

    def region_columns(self, maps: Array, box: Sequence[slice], size: Sequence[int]) -> Mapping[str, NDArray[Any]]:
        """Return further columns (N,) of one region of interest in the table of `oasis predict`.

        Args:
            maps: (N, B, *S) predicted maps in the region, 0 in pixels that belong to another one.
            box: the place of the region in the image.
            size: the size of the image.
        """
        return {}

    def regions_of_interest(self, image: Array) -> Sequence[tuple[slice, ...]] | None:
        """Return the boxes of what there is to see in an image, for `oasis predict --window regions`.

        Each is separated in a window of the size in training around its centre, and only its own pixels count.

        Args:
            image: (B, *S) in physical units.

        Returns:
            One slice for each spatial axis, for every box; None where the domain cannot tell.
        """
        return None

    @property
    def detectors(self) -> Sequence[str]:
        """The names of the detectors of the domain, the first of which is the default; see `detect`."""
        return ()

    def detect(self, images: Images, detector: str) -> NDArray[np.float64]:
        """Return the positions (k, spatial_dims) of the objects in an image, pixels, for `oasis predict --detect`.

        Args:
            images: one image with its bad pixels.
            detector: one of `detectors`.

        Raises:
            DataError: nothing can be detected in such an image.
        """
        raise ConfigError("detect: this adapter detects no objects: name a file of positions")

    @property
    def centred(self) -> Sequence[str]:
        """The classes of which one is the object in the middle of an image; empty where there is no such object.

        With such a class objects of large images can be separated one by one, and listed in a catalogue.
        """
        return ()

    @property
    def catalogue_radius(self) -> str:
        """The column of a catalogue by which objects are drawn: arcsec on the sky, else pixels."""
        return ""

    def catalogue(self, sources: Sources) -> Mapping[str, Column]:
        """Return the columns of a catalogue for objects that were separated one by one: by default intensities.

        Name, file and position are always in it.

        Args:
            sources: the objects of an image.
        """
        light = sources.maps.reshape(*sources.maps.shape[:2], -1).sum(axis=2, dtype=np.float64)
        names = ["intensity"] if light.shape[1] == 1 else [f"intensity_{band}" for band in range(light.shape[1])]
        return {
            name: Column(values, self.unit, "the sum of the map")
            for name, values in zip(names, light.T, strict=True)
        }

    def sky(self, path: Path) -> Sky | None:
        """Return where the pixels lie of the images that `read` gives of a file, or None where that is unknown.

        Raises:
            DataError: the file cannot be read.
        """
        return None

    def blocks(self, path: Path) -> Blocks | None:
        """Return the image of a file to be read block by block, None for a file that has to be read as a whole.

        Catalogues are made of large images in this way, with memory for a block.

        Raises:
            DataError: the file cannot be read.
        """
        return None

    def to_pixels(self, path: Path, sky: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions (k, spatial_dims) in pixels of the images that `read` gives of a file.

        Args:
            path: of the file.
            sky: (k, 2) right ascension and declination, degrees.

        Raises:
            DataError: the domain, or the file, knows no sky.
        """
        raise DataError(f"{path}: these images have no coordinates on the sky: give positions in pixels")

    def as_regions(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return a table of regions with the columns of this package, where the domain has tables of its own."""
        return table

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return further figures of an event table, by name."""
        return {}

    def read(self, path: Path, key: str | None = None, dark: NDArray[Any] | None = None) -> Images:
        """Return the measured images of a file in physical units, for `oasis predict`.

        The default is the array of a file, its axes as the file or the option `axes` names them, and its array
        `context` if the domain has a context. A domain whose files state bad pixels, coordinates or units
        overrides this.

        Args:
            path: the path of the file.
            key: the array in an `.npz` or HDF5 file.
            dark: a dark frame to subtract, of the shape of one image.

        Raises:
            DataError: the file cannot be read, or does not contain images of this domain.
        """
        values, facts = self.named_axes(path, *self.numbers(path, key))
        say_saturated(path, values)
        found = arrangement(facts, values.shape, self.bands, self.spatial_dims, str(path))
        image = self.as_images(values if found is None else found.apply(values), dark)
        context = self.stored_context(path, image)
        if found is None:
            return Images(image, context, source=str(path))
        self.say_axes(path, found, found.text(facts, values.shape))
        known = facts.lengths(self.spatial_dims) if image.shape[2:] == found.size(values.shape) else ()
        axes = tuple(SPATIAL[-self.spatial_dims :].lower())
        return Images(image, context, None, axes, known, facts.pixel_unit if known else "", source=str(path))

    @property
    def masks_not_finite(self) -> bool:
        """Whether pixels that are not finite in a band are bad pixels of measured images, 0 as in training."""
        return False

    def masked(self, images: Images) -> Images:
        """Return measured images whose pixels that are not finite are bad pixels, if the domain masks these."""
        if not self.masks_not_finite:
            return images
        finite = np.isfinite(images.image).all(axis=1, keepdims=True)
        if finite.all():
            return images
        return images.replace(mask=finite if images.mask is None else finite & images.mask, fill=0.0)

    def doubt(self, images: Images) -> str:
        """Return what makes one doubt that measured images are what they are taken for, or an empty text.

        Such as a level or a noise that only another unit or a missing dark frame explains; it becomes a warning,
        once for a file. By default that half of the good pixels of an image are below 0 by far more than their
        noise, or all of them.

        Args:
            images: the first images of a file, as `read` gives them.
        """
        for number, image in enumerate(images.image):
            pixels = image if images.mask is None else image[:, images.mask[number, 0]]
            if not pixels.size:
                continue
            level, noise = level_and_noise(pixels)
            if pixels.max() < 0 or level < -LOWERED * noise < 0:
                most = (
                    "everywhere" if pixels.max() < 0 else f"by {-level / noise:.3g} times its noise in half of it"
                )
                return (
                    f"image {number} is below 0 {most}, from {pixels.min():.4g} to {pixels.max():.4g} "
                    f"{self.unit}".rstrip()
                    + ": check the offset of the camera or the dark frame that is subtracted"
                )
        return ""

    def stored_context(self, path: Path, image: Array) -> Array | None:
        """Return the context (n, C, *S) of the images of an array: by default the array `context` of its file.

        Args:
            path: the path of the file.
            image: (n, B, *S) its images, in physical units.

        Raises:
            DataError: the domain has a context, and the file none.
        """
        return as_image_array(read_named(path, "context"), f"{path}: context") if self.context else None

    def numbers(self, path: Path, key: str | None = None) -> tuple[NDArray[Any], AxisFacts]:
        """Return the array of a file as it is stored, and what the file states about its axes.

        Raises:
            DataError: the file cannot be read.
        """
        return read_labelled(path, key)

    def leading(self, paths: Sequence[Path]) -> list[Path]:
        """Return the files to be read, one for every image: others are read together with these, by `read`.

        By default one of every set of OME-TIFF files that are one image, and all others. A domain whose images are
        divided over several files, such as one for each band, leaves out all but one of each.
        """
        return first_of_sets(paths)

    def together(self, path: Path) -> list[Path]:
        """Return the files that `read` reads for one of those of `leading`: by default that one alone."""
        return [path]

    def named_axes(self, path: Path, values: Any, facts: AxisFacts) -> tuple[Any, AxisFacts]:
        """Return an array of a file and what is known of its axes: by the option `axes`, else by the file.

        Raises:
            DataError: the option does not have a letter for every axis.
        """
        stated = getattr(self.options, "axes", None)
        return values, facts if stated is None else facts.renamed(stated, len(values.shape), str(path))

    def arranged_parts(self, path: Path, parts: Parts) -> Parts | None:
        """Return the array of a file as images (n, B, *S) if its axes are named, else as it is.

        Returns:
            None if images lie along several axes, so that the file has to be read as a whole.

        Raises:
            DataError: the axes do not fit.
        """
        _, facts = self.named_axes(path, parts, facts_of(parts))
        found = arrangement(facts, parts.shape, self.bands, self.spatial_dims, str(path))
        if found is None:
            return parts
        self.say_axes(path, found, found.text(facts, parts.shape))
        return ArrangedParts(parts, found) if len(found.images) < 2 else None

    def say_axes(self, path: Path, found: Arrangement, text: str) -> None:
        """Log what the axes of a file were taken for, once for every kind of file that has more than it needs.

        Files that differ in the lengths of their axes alone are of one kind.
        """
        kind = re.sub(r"\d+", "", text)
        if not found.is_plain and self.is_new(kind):
            logger.info("%s: %s", path, text)

    def is_new(self, said: Hashable) -> bool:
        """Return whether this adapter is to say something for the first time, and take it as said."""
        new = said not in self._said
        self._said.add(said)
        return new

    def reads_parts(self, path: Path) -> bool:
        """Return whether a part of an image in a file can be read and interpreted without the rest.

        By default this is so if the domain overrides neither `read` nor `as_images` nor `visible`.

        Args:
            path: the path of the file.
        """
        own = type(self)
        return (own.read, own.as_images, own.visible) == (Adapter.read, Adapter.as_images, Adapter.visible)

    def as_images(self, raw: NDArray[Any], dark: NDArray[Any] | None = None) -> Array:
        """Return an array as images (n, B, *S), minus the dark frame.

        Args:
            raw: (n, B, *S); the axes n and B may be missing if they are 1.
            dark: a dark frame to subtract, of the shape of one image.

        Raises:
            DataError: the array has another shape, such as a colour picture for a domain of one band.
        """
        return as_images(raw, self.bands, self.spatial_dims, dark)

    def visible(self, images: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the pixels (n, 1, *S) over which `oasis predict` sums maps: by default all.

        A domain whose samples are valid in a part that depends on the truth finds that part here without the
        truth.

        Args:
            images: (n, B, *S) in physical units.
        """
        return np.ones((len(images), 1, *images.shape[2:]), dtype=bool)

    def convert(self, source: Path, out: Path) -> int:
        """Convert the domain's own files to an HDF5 file of samples and return their number.

        Raises:
            DataError: the domain has no such files, or they cannot be read.
        """
        raise DataError(f"{source}: this adapter has no files of its own to convert")


def _check_lit(mixed: Mixer, limits: Mapping[str, float], unit: str) -> None:
    """Check that there is something to train on; usually the first sample shows that.

    Raises:
        ConfigError: no class is present in any valid pixel of many samples.
    """
    thresholds, count = torch.tensor(list(limits.values())), min(len(mixed), ATTEMPTS)
    for index in range(count):
        sample = mixed[index]
        lit = present(torch.from_numpy(sample.target)[None], thresholds)[0].numpy()
        if (lit & sample.valid).any():
            return
    raise ConfigError(
        f"data: no class is present in any valid pixel of the first {count} samples of {mixed.split}: the options "
        f"leave no room for objects, or objects are below the thresholds {dict(limits)} {unit}"
    )
