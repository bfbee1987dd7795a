"""The options of the CCD adapter: the section `data`."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from oasis.adapters.ccd.sensor import Sensor
from oasis.adapters.options import DataOptions, Rising, SplitCounts
from oasis.options import Options

SENSOR = (1024, 6144)  # rows and columns of the sensor of arXiv 2201.08973
QUARTER = 1024 * 1536  # pixels of the images that it analyses, for which counts are given

Side = Annotated[int, Field(ge=1, le=6144)]
Rate = Annotated[float, Field(gt=0, le=1000)]
Count = Annotated[float, Field(ge=0, le=1e5)]
Energy = Annotated[float, Field(gt=0, le=915)]  # keV


class ReadOptions(Options):
    """The options for reading measured images in `oasis predict`.

    Attributes:
        adu_per_electron: gain, ADU per e-; negative where charge lowers the signal. By default that of the header
            of a FITS file (GAIN, EGAIN, in e- per ADU), else 1.
        medians: subtract the median of every row and then of every column, which removes offsets of the readout.
        overscan: number of columns at the end of each row without pixels: their median is subtracted from the row,
            and they are cut off. By default the sections of a FITS header (TRIMSEC or DATASEC, BIASSEC).
        saturation_adu: values from which pixels are saturated, and masked; none by default.
    """

    adu_per_electron: float | None = Field(None, ge=-1e9, le=1e9)
    medians: bool = True
    overscan: int | None = Field(None, ge=0, le=10_000)
    saturation_adu: float | None = Field(None, gt=0)

    @field_validator("adu_per_electron")
    @classmethod
    def _not_zero(cls, value: float | None) -> float | None:
        if value == 0:
            raise ValueError("expected a gain other than 0")
        return value


class CcdOptions(DataOptions):
    """The section `data` of a CCD run.

    Attributes:
        size: rows and columns of an image; the images of arXiv 2201.08973 have 1024 x 1536 pixels.
        evaluation_size: the same for validation and test samples; as in training by default.
        events: images per split.
        rate: number of objects as a multiple of those in one exposure of the paper (`decays`, `muons`).
        training_rate: bounds of the rate of training samples, drawn log-uniformly; `rate` by default.
        training_photons: number of photons of training samples as a multiple of those of their decays, so that
            the rarest class is learned.
        decays: 135Xe decays per exposure and 1024 x 1536 pixels; half of the electrons are emitted away from the
            wafer.
        muons: muons through 1024 x 1536 pixels per exposure.
        muon_gev: momentum of the muons, GeV/c.
        gas: the side of the wafer that faces the gas.
        merge_electrons: one class `electron` instead of `beta` and `ce` (conversion electrons).
        sample: `xenon`, or `diagnostic`: electrons from the front, from the back, and from within the wafer, as
            three classes.
        diagnostic_electrons: number of the electrons of `diagnostic` per exposure and 1024 x 1536 pixels.
        diagnostic_kev: bounds of their energy, keV.
        tracks: a library written by `python -m oasis.adapters.ccd.tracks`, instead of the shipped one.
        sensor: the sensor.
        read: how measured images are read.
    """

    size: tuple[Side, Side] = (128, 128)
    evaluation_size: tuple[Side, Side] | None = None
    events: SplitCounts = SplitCounts(train=2000, val=100, test=200)
    rate: Rate = 10.0
    training_rate: Annotated[tuple[Rate, Rate], Rising] | None = None
    training_photons: float = Field(1.0, ge=0, le=1000)
    decays: Count = 80.0
    muons: Count = 15.0
    muon_gev: float = Field(4.0, ge=0.3, le=1e6)
    gas: Literal["front", "back", "both"] = "front"
    merge_electrons: bool = False
    sample: Literal["xenon", "diagnostic"] = "xenon"
    diagnostic_electrons: Count = 60.0
    diagnostic_kev: Annotated[tuple[Energy, Energy], Rising] = (100.0, 200.0)
    tracks: str | None = None
    sensor: Sensor = Sensor()
    read: ReadOptions = ReadOptions()

    @model_validator(mode="after")
    def _fits_the_sensor(self) -> Self:
        for name, size in (("size", self.size), ("evaluation_size", self.evaluation_size or self.size)):
            if any(side > length for side, length in zip(size, SENSOR, strict=True)):
                raise ValueError(f"{name}: {size} is larger than the sensor {SENSOR}")
            if min(size) < self.sensor.kernel:
                raise ValueError(
                    f"{name}: {size} is smaller than the square of {self.sensor.kernel} pixels over which charge "
                    "spreads (sensor.kernel)"
                )
        return self

    def window(self, split: str) -> tuple[int, int]:
        """Return the rows and columns of the images of a split."""
        return self.size if split == "train" else self.evaluation_size or self.size
