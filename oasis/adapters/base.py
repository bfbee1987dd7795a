"""The contract of an adapter: what a domain supplies so that training, evaluation and prediction work for it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.study import Study
from oasis.data.mixing import SampleDataset
from oasis.data.quantities import Quantities
from oasis.data.sample_files import SampleFile
from oasis.data.samples import Sample
from oasis.errors import ConfigError, DataError
from oasis.io.arrays import SUFFIXES, read_array
from oasis.options import Options
from oasis.regions import per_class

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SPLITS = ("train", "val", "test")


class SplitCounts(Options):
    """How many samples each split has; a domain gives its defaults.

    Attributes:
        train: new ones in every epoch.
        val: the same ones in every epoch.
        test: held out.
    """

    train: int = Field(ge=0)
    val: int = Field(ge=0)
    test: int = Field(ge=0)


class SplitFiles(Options):
    """The file or folder that each split is read from; simulated where there is none.

    Attributes:
        train: of the training samples.
        val: of the validation samples.
        test: of the held-out samples.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None


class Adapter(ABC):
    """What a domain supplies; a subclass states its facts as class attributes and gives its data sets.

    Attributes:
        classes: the N class names.
        spatial_dims: 1, 2 or 3.
        bands: how many bands an image has.
        context: how many channels of context there are.
        interchangeable: groups of classes that are of one kind, whose maps may come in any order.
        quantities: numbers of objects and of the image that a separator can learn to predict.
        oriented: context or quantities state directions or places, which do not turn with the image: samples are
            not augmented.
        unit: of the intensities.
        defaults: what the domain wants in the sections `model`, `scaling`, `head`, `loss` and `training` of a run
            that does not say otherwise.
        thresholds: intensity above which a class is present in a pixel, one for all classes or by name (unnamed:
            0). Loss, statistics, metrics and masks all use it; `thresholds` in a YAML file overrides it.
        study: the question that `oasis evaluate` answers, or None.
        options_type: the class of the settings of the section `data`.
        suffixes: of the files that `read` knows.

    Args:
        options: the settings of the section `data`.
        seed: of everything random in the data.
    """

    classes: ClassVar[tuple[str, ...]]
    spatial_dims: ClassVar[int] = 2
    bands: ClassVar[int] = 1
    context: ClassVar[int] = 0
    interchangeable: ClassVar[Sequence[Sequence[str]]] = ()
    quantities: ClassVar[Quantities] = Quantities()
    oriented: ClassVar[bool] = False
    unit: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, Any]] = {}
    thresholds: ClassVar[Mapping[str, float] | float] = 0.0
    study: ClassVar[Study | None] = None
    options_type: ClassVar[type[Options]] = Options
    suffixes: ClassVar[Sequence[str]] = SUFFIXES

    def __init__(self, options: Mapping[str, Any] | Options | None = None, seed: int = 0) -> None:
        if not isinstance(options, Options):
            options = self.options_type.parse(options or {}, where="data")
        self.options: Any = options
        self.seed = seed
        self.chosen_thresholds: Mapping[str, float] | float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The threshold of presence of every class: the configuration's where it states one, else the domain's.

        Raises:
            ConfigError: an unknown class, or a threshold that is negative or not finite.
        """
        limits = per_class(self.classes, self.thresholds, 0.0, "thresholds")
        if self.chosen_thresholds is not None:
            own = dict(zip(self.classes, limits.tolist(), strict=True))
            chosen = self.chosen_thresholds
            chosen = {**own, **chosen} if isinstance(chosen, Mapping) else chosen
            limits = per_class(self.classes, chosen, 0.0, "thresholds")
        return dict(zip(self.classes, limits.tolist(), strict=True))

    @abstractmethod
    def dataset(self, split: str) -> SampleDataset:
        """Return the samples of a split: `train`, `val` or `test`."""

    def event_rows(self, prediction: NDArray[np.float32], sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return the domain's own quantities of one event, by class and by column.

        Intensity, IoU and overlap need not be given.

        Args:
            prediction: (N, B, *S) maps in physical units.
            sample: the event.
        """
        return {}

    def object_rows(
        self, numbers: Mapping[str, NDArray[Any]], sample: Sample
    ) -> Mapping[str, Mapping[str, float]]:
        """Return the domain's own quantities of what was predicted of an event's objects, by class and by column.

        Args:
            numbers: by column (N,): `<quantity>_predicted`, and what `refine` gave.
            sample: the event.
        """
        return {}

    def refine(
        self,
        images: NDArray[np.float32],
        context: NDArray[np.float32] | None,
        maps: NDArray[np.float32],
        numbers: Mapping[str, NDArray[Any]],
    ) -> Mapping[str, NDArray[Any]]:
        """Fit a model of the domain to images, beginning at what was predicted, and return columns (b, N).

        No truth is used, so that it works on measured images too.

        Args:
            images: (b, B, *S) in physical units.
            context: (b, C, *S).
            maps: (b, N, B, *S) predicted.
            numbers: by column (b, N), predicted.

        Raises:
            ConfigError: the domain has no such model.
        """
        raise ConfigError("refine: this adapter has no model to fit")

    @property
    def measures_events(self) -> bool:
        """Whether the domain has anything to say of single events; if not, they need not leave the device."""
        kind = type(self)
        return kind.event_rows is not Adapter.event_rows or kind.object_rows is not Adapter.object_rows

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return further figures of an event table, by name."""
        return {}

    def samples(self, path: Path) -> SampleFile:
        """Return the samples of an HDF5 file.

        Raises:
            DataError: the file cannot be read, or holds other classes.
        """
        file = SampleFile(path)
        if file.classes != self.classes:
            raise DataError(f"{path}: holds the classes {list(file.classes)}, expected {list(self.classes)}")
        return file

    def read(self, path: Path, key: str | None = None) -> NDArray[Any]:
        """Return what a file holds, for `prepare`.

        Args:
            path: of the file.
            key: the array in an `.npz` or HDF5 file.

        Raises:
            DataError: a file that cannot be read.
        """
        return read_array(path, key)

    def read_context(self, path: Path) -> NDArray[np.float32] | None:
        """Return the context (n, C, *S) of the images of a file: by default its array `context`.

        Raises:
            DataError: the domain has a context, and the file has none.
        """
        return np.asarray(read_array(path, "context"), np.float32) if self.context else None

    def prepare(self, raw: NDArray[Any], dark: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Turn what a file holds into images (n, B, *S) in physical units.

        Args:
            raw: (n, B, *S), or without the axes n and B where they are 1.
            dark: a dark frame to subtract, of the shape of one image.

        Raises:
            DataError: an array of another shape.
        """
        images = np.asarray(raw, dtype=np.float32)
        if self.bands == 1 and self.spatial_dims <= images.ndim <= self.spatial_dims + 1:
            images = images[..., None, *[slice(None)] * self.spatial_dims]
        if images.ndim == self.spatial_dims + 1:
            images = images[None]
        if images.ndim != self.spatial_dims + 2 or images.shape[1] != self.bands:
            raise DataError(
                f"an array of shape {raw.shape} does not hold images of {self.bands} bands and "
                f"{self.spatial_dims} spatial axes"
            )
        if dark is None:
            return images
        if dark.shape not in (images.shape[1:], images.shape[2:]):
            raise DataError(f"the dark frame has shape {dark.shape}, one image {images.shape[1:]}")
        return images - np.asarray(dark, dtype=np.float32)

    def visible(self, images: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the pixels (n, 1, *S) over which `oasis predict` adds up maps: all of them.

        Where samples are valid in parts that depend on the truth, a domain tells them here without it.

        Args:
            images: (n, B, *S) in physical units.
        """
        return np.ones((len(images), 1, *images.shape[2:]), dtype=bool)

    def convert(self, source: Path, out: Path) -> int:
        """Turn the domain's own files into an HDF5 file of samples and return how many there are.

        Raises:
            DataError: the domain has no such files, or they cannot be read.
        """
        raise DataError(f"{source}: this adapter has no files of its own to convert")
