"""The options of the CYGNO adapter: the section `data`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from oasis.adapters.cygno.digitisation import Digitisation
from oasis.adapters.cygno.noise import NoiseOptions
from oasis.adapters.cygno.tracks import TrackOptions
from oasis.adapters.options import DataOptions, Rising, SplitCounts

Side = Annotated[int, Field(ge=32, le=16384)]
Energy = Annotated[float, Field(gt=0, le=1000)]  # keV
Drift = Annotated[float, Field(ge=0, le=1000)]  # cm
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1000)]


class CygnoOptions(DataOptions):
    """The section `data` of a CYGNO run.

    Attributes:
        size: rows and columns of a training image at full resolution.
        evaluation_size: the same for validation and test images; as in training by default.
        events: samples per split.
        energies: the energies of the recoils, keV, in turns; validation and test images have these.
        training_energies: range of the energies of training recoils, uniform in the logarithm; `energies` if null.
        recoils: range of the number of recoils in a training image; validation and test images have one.
        empty: the share of images without a recoil.
        species: `ER`, electrons, which ionise with all of their energy, or `NR`, nuclei, with a part of it.
        quenching: that part; it depends on nucleus and energy, and is not known well below 1 keV.
        drift_cm: range of the drift distance.
        margin: minimum distance of validation and test recoils from the border of the image, pixels.
        training_margin: the same for training; below 0 they also lie outside, so that no network learns that there
            are none at the border of an image.
        truth_share: true pixels are the brightest that hold this share of the expected light of a recoil.
        select: counts above which the predicted map selects a pixel.
        tracks: mean number of tracks in an image; above 0 they are a second class, `track`.
        beneath: the share of recoils that lie on a track, in images with one.
        track: what the tracks are.
        pedestal: measured frames of a pedestal run (`.npy`, `.npz`, HDF5, `.root`), from which noise is drawn and
            which is subtracted from measured images, or a ROOT file with the map `pedmap`.
        whole_frames: draw noise as whole measured frames, not for every pixel independently.
        vignetting: a file with the relative light yield over the sensor; uniform by default.
        saturated: raw counts from which on a measured pixel does not count.
        digitisation: gas, amplification, optics and camera.
        noise: simulated noise, without a pedestal run.
    """

    size: tuple[Side, Side] = (128, 128)
    evaluation_size: tuple[Side, Side] | None = None
    events: SplitCounts = SplitCounts(train=4000, val=300, test=1200)
    energies: tuple[Energy, ...] = Field((0.25, 0.5, 1.0), min_length=1)
    training_energies: Annotated[tuple[Energy, Energy], Rising] | None = (0.15, 1.5)
    recoils: Annotated[tuple[Count, Count], Rising] = (1, 1)
    empty: Share = 0.2
    species: Literal["ER", "NR"] = "ER"
    quenching: float = Field(0.5, gt=0, le=1)
    drift_cm: Annotated[tuple[Drift, Drift], Rising] = (1.0, 49.0)
    margin: int = Field(16, ge=0, le=8192)
    training_margin: int = Field(-8, ge=-8192, le=8192)
    truth_share: float = Field(0.9, gt=0, le=1)
    select: float = Field(0.3, gt=0, le=1e6)
    tracks: float = Field(0.0, ge=0, le=100)
    beneath: Share = 0.5
    track: TrackOptions = TrackOptions()
    pedestal: str | None = None
    whole_frames: bool = False
    vignetting: str | None = None
    saturated: float = Field(65535.0, gt=0, le=1e9)
    digitisation: Digitisation = Digitisation()
    noise: NoiseOptions = NoiseOptions()

    @model_validator(mode="after")
    def _room_for_recoils(self) -> Self:
        margins = {"training_margin": (self.training_margin, self.size)}
        for name, (margin, size) in {**margins, "margin": (self.margin, self.window("test"))}.items():
            if 2 * margin >= min(size):
                raise ValueError(f"{name}: {margin} pixels on every side leave nothing of an image {size}")
        if self.whole_frames and self.pedestal is None:
            raise ValueError("whole_frames: there are none without a pedestal run: set pedestal")
        return self

    def window(self, split: str) -> tuple[int, int]:
        """Return the rows and columns of the images of a split."""
        return self.size if split == "train" else self.evaluation_size or self.size
