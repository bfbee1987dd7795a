"""The section `data` of one's own images."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from oasis.adapters.camera import Camera
from oasis.adapters.folder.stated import Stated
from oasis.adapters.options import DataOptions, SplitCounts
from oasis.data.warping import Factors
from oasis.options import Options

LARGEST = 1000  # factor of brightness


class SplitRule(Options):
    """Which files belong to which split: a fraction of them, chosen by a hash of their names.

    The folders `train`, `val` and `test`, where they exist, take the place of this rule. With fewer than three
    files, each is divided by the number of its images: the first ones train, the last ones test. Files of one
    `group` are never divided so: three groups are the fewest.

    Attributes:
        val: fraction of the files for validation.
        test: fraction for the test.
        group: a regular expression with one group in brackets; files of which it finds the same text, such as the
            fields of one slide, stay together.
    """

    val: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)
    group: str | None = None

    @field_validator("group")
    @classmethod
    def _an_expression(cls, group: str | None) -> str | None:
        if group is not None:
            try:
                groups = re.compile(group).groups
            except re.error as error:
                raise ValueError(f"expected a regular expression ({error})") from None
            if groups != 1:
                raise ValueError("expected a regular expression with one group in brackets")
        return group

    @model_validator(mode="after")
    def _leaves_some_to_train(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test leave nothing to train on")
        return self


def _not_extreme(factors: tuple[float, float]) -> tuple[float, float]:
    if factors[1] > LARGEST:
        raise ValueError(f"expected factors of at most {LARGEST}")
    return factors


Brightness = Annotated[Factors, AfterValidator(_not_extreme)]


class MixingOptions(Options):
    """How images of single classes are added up.

    Attributes:
        noise: `kept`: that of the images themselves, whose shot noise adds up as it should; or `simulated`: shot
            and read noise of the camera, for images that have none.
        background: percentile of the local means of an image that is subtracted as its background; the mean of
            those of all classes is added to the mixture. Null if there is none.
        brightness: bounds of a factor for every class, drawn log-uniformly.
        presence: the probability that a class is in a mixture.
        flips: mirror images of every class at random along each axis; by default in two or three dimensions.
        smooth: pixels of the Gaussian filter after which a pixel of a class is compared with its threshold.
    """

    noise: Literal["kept", "simulated"] = "kept"
    background: float | None = Field(10.0, ge=0, le=100)
    brightness: Brightness = (0.7, 1.4)
    presence: float = Field(0.9, gt=0, le=1)
    flips: bool | None = None
    smooth: float = Field(1.0, ge=0, le=100)


class FolderOptions(DataOptions):
    """The section `data` of one's own images.

    Attributes:
        folder: has `images` and a folder for every class, or `single-stained` with a folder or a stack for every
            class; only training and evaluation read it.
        classes: the names of the classes, which are those of the folders.
        spatial_dims: number of spatial axes of an image: 1, 2 or 3.
        bands: number of channels of an image, and of every map.
        channels: where every channel is a file of its own, the endings of their names without suffix in the order
            of the bands, such as `[_DAPI, _GFP]`; in training as in prediction.
        size: pixels of a window along every spatial axis; null for whole images of one size.
        unit: of the intensities after offset and gain.
        camera: offset and gain of images, in training as in prediction.
        stated: what the images to train on state of their pixels and channels; others are warned of.
        maps: whether the maps of the classes are `counts` of the same camera, `net` counts, without its offset,
            or in the `unit` already.
        labels: classes whose folders hold label images or masks instead of maps.
        key: the array in files with several.
        split: which files belong to which split.
        mixing: how images of single classes are added up.
        events: windows per epoch of training; the most for validation and test.
    """

    folder: str = ""
    classes: tuple[str, ...] = Field((), min_length=1)
    spatial_dims: Literal[1, 2, 3] = 2
    bands: int = Field(1, ge=1, le=1000)
    channels: tuple[str, ...] = ()
    size: tuple[int, ...] | None = None
    unit: str = Field("counts", pattern=r"\S")
    camera: Camera = Camera()
    stated: Stated = Stated()
    maps: Literal["counts", "net", "unit"] = "counts"
    labels: tuple[str, ...] = ()
    key: str | None = None
    split: SplitRule = SplitRule()
    mixing: MixingOptions = MixingOptions()
    events: SplitCounts = SplitCounts(train=2000, val=200, test=1000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = [name for name in self.labels if name not in self.classes]
        if unknown:
            raise ValueError(f"labels: {unknown[0]!r} is none of the classes {list(self.classes)}")
        if self.channels and (len(self.channels) != self.bands or len({*self.channels, ""}) != self.bands + 1):
            raise ValueError(f"channels: expected {self.bands} endings of names, found {list(self.channels)}")
        if self.size is not None and (len(self.size) != self.spatial_dims or min(self.size) < 1):
            raise ValueError(f"size: expected {self.spatial_dims} lengths of at least 1, found {list(self.size)}")
        return self
