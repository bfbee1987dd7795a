"""The options of the MIGDAL adapter: the section `data`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from oasis.adapters.migdal.detector import Detector, Side
from oasis.adapters.options import DataOptions, Rising, SplitCounts

Energy = Annotated[float, Field(gt=0, le=1e6)]  # keV


class MigdalOptions(DataOptions):
    """The section `data` of a MIGDAL run.

    Attributes:
        size: rows and columns of the window around a nuclear recoil; the full field of the camera is [288, 512].
        events: samples per split; every second one is a hybrid, the others only a nuclear recoil.
        energies: the energies of the electron recoils, keV.
        spectral_index: power-law index of the spectrum of training electrons, energy to the power of minus this;
            the spectrum of the other splits is flat.
        margin: minimum distance of simulated vertices from the border of the field, pixels.
        jitter: maximum distance of a track's centre from that of the window, pixels.
        tracks: a library written by `python -m oasis.adapters.migdal.tracks`, instead of the shipped one.
        recoils: a file of measured frames whose nuclear recoils replace simulated ones.
        restore_noise: add camera noise to frames that were saved only above 24 ADU.
        files: an HDF5 file of samples, or a folder of tensors or a data frame of the authors, by split, used
            instead of the simulation.
        protocol: how the authors' files are read: `corrected`, or `reference` as in their own evaluation.
        topology: measure the axes of electron tracks in the evaluation, which takes about 10 ms per event.
        detector: gas, optics and camera.
    """

    size: tuple[Side, Side] = (96, 96)
    events: SplitCounts = SplitCounts(train=6000, val=1000, test=4000)
    energies: Annotated[tuple[Energy, Energy], Rising] = (3.0, 15.0)
    spectral_index: float = Field(0.0, ge=0, le=20)
    margin: int = Field(40, ge=0, le=8192)
    jitter: int = Field(8, ge=0, le=8192)
    tracks: str | None = None
    recoils: str | None = None
    restore_noise: bool = False
    protocol: Literal["corrected", "reference"] = "corrected"
    topology: bool = False
    detector: Detector = Detector()

    @model_validator(mode="after")
    def _fits_the_field(self) -> Self:
        field = self.detector.shape
        if any(side > length for side, length in zip(self.size, field, strict=True)):
            raise ValueError(f"size: {self.size} is larger than the field {field}")
        if 2 * self.margin >= min(field):
            raise ValueError(f"margin: {self.margin} pixels on every side leave nothing of the field {field}")
        if 2 * self.jitter > min(self.size):
            raise ValueError(f"jitter: {self.jitter} pixels would move tracks out of the window {self.size}")
        return self
