"""The options of the MIGDAL adapter: the section `data`."""

from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from oasis.adapters.migdal.artefacts import Artefacts
from oasis.adapters.migdal.candidates import EnergyScale
from oasis.adapters.migdal.detector import Detector, Side
from oasis.adapters.options import DataOptions, Rising, SplitCounts
from oasis.options import Options

Energy = Annotated[float, Field(gt=0, le=1e6)]  # keV
Share = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(gt=0, le=1000)]  # mm
Halo = Annotated[float, Field(ge=0, le=100)]


class Spectrum(Options):
    """The spectrum to which simulated recoils are reweighted: a histogram, as an experiment publishes it.

    Attributes:
        edges: the edges of the bins, keVee.
        counts: the number of recoils in each bin, in any unit.

    Example:
        >>> Spectrum(edges=(60, 100, 300), counts=(2, 1)).counts
        (2.0, 1.0)
    """

    edges: tuple[Energy, ...]
    counts: tuple[Annotated[float, Field(ge=0, le=1e12)], ...]

    @model_validator(mode="after")
    def _is_a_histogram(self) -> Self:
        if len(self.edges) != len(self.counts) + 1 or not self.counts:
            raise ValueError(f"expected one edge more than counts, found {len(self.edges)} and {len(self.counts)}")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("expected increasing edges")
        if not any(self.counts):
            raise ValueError("expected a count above 0")
        return self


class Variation(Options):
    """Ranges from which constants of the detector that are poorly known are drawn anew for every event.

    A network that has seen them all does not rely on one of them. None leaves the constant that of the detector.

    Attributes:
        blur_mm: of `Detector.blur_mm`.
        halo: of `Detector.halo`.
        halo_mm: of `Detector.halo_mm`.

    Example:
        >>> varied = Variation(halo=(0.1, 0.6)).draw(Detector(), np.random.default_rng(0))
        >>> round(varied.halo, 2), varied.blur_mm
        (0.42, 0.3)
    """

    blur_mm: Annotated[tuple[Length, Length], Rising] | None = None
    halo: Annotated[tuple[Halo, Halo], Rising] | None = None
    halo_mm: Annotated[tuple[Length, Length], Rising] | None = None

    def draw(self, detector: Detector, rng: np.random.Generator) -> Detector:
        """Return a detector of random constants; no random number is used if nothing varies."""
        ranges = {name: limits for name, limits in self if limits is not None}
        return detector.model_copy(update={name: float(rng.uniform(*limits)) for name, limits in ranges.items()})


class MigdalOptions(DataOptions):
    """The section `data` of a MIGDAL run.

    Attributes:
        size: rows and columns of the window around the tracks; the full field of the camera is [288, 512].
        evaluation_size: the same for validation and test samples; as in training by default.
        events: samples per split; every second one is a hybrid, the others only a nuclear recoil.
        energies: the energies of the electron recoils, keV.
        spectral_index: power-law index of the spectrum of training electrons, energy to the power of minus this;
            the spectrum of the other splits is flat.
        margin: minimum distance of simulated vertices from the border of the field, pixels.
        jitter: maximum distance of the centre of the tracks from that of the window, pixels.
        box_margin: pixels added on every side of the valid box around the tracks; the experiment's boxes are
            looser than the tracks.
        surroundings: the share of training and validation samples that are valid in the whole window, so that the
            background far from tracks is trained as well.
        empty: the share of training and validation samples with camera noise alone, valid in the whole window.
        alone: the share of training and validation samples with an electron and no nuclear recoil.
        clean_electrons: electrons have no halo and are added after negative pixels were set to 0, as in the paper;
            False images them like nuclear recoils, as a camera does.
        recoil_spectrum: a measured spectrum to which simulated recoils are reweighted; that of the library by
            default.
        tracks: a library written by `python -m oasis.adapters.migdal.tracks`, instead of the shipped one.
        recoils: a file of measured frames whose nuclear recoils replace simulated ones.
        restore_noise: add camera noise to frames that were saved only above 24 ADU.
        files: an HDF5 file of samples, or a folder of tensors or a data frame of the authors, by split, used
            instead of the simulation.
        protocol: how the authors' files are read: `corrected`, or `reference` as in their own evaluation.
        topology: measure the axes of electron tracks in the evaluation, which takes about 10 ms per event.
        detector: gas, optics and camera.
        energy_scale: from light to energy, and the cuts on candidates in the table of regions of `oasis predict`.
        artefacts: what a real camera shows beside tracks and noise; nothing by default.
        variation: constants of the detector that differ from event to event; none by default.
    """

    size: tuple[Side, Side] = (96, 96)
    evaluation_size: tuple[Side, Side] | None = None
    events: SplitCounts = SplitCounts(train=6000, val=1000, test=4000)
    energies: Annotated[tuple[Energy, Energy], Rising] = (3.0, 15.0)
    spectral_index: float = Field(0.0, ge=0, le=20)
    margin: int = Field(16, ge=0, le=8192)
    jitter: int = Field(8, ge=0, le=8192)
    box_margin: int = Field(0, ge=0, le=8192)
    surroundings: Share = 0.0
    empty: Share = 0.0
    alone: Share = 0.0
    clean_electrons: bool = True
    recoil_spectrum: Spectrum | None = None
    tracks: str | None = None
    recoils: str | None = None
    restore_noise: bool = False
    protocol: Literal["corrected", "reference"] = "corrected"
    topology: bool = False
    detector: Detector = Detector()
    energy_scale: EnergyScale = EnergyScale()
    artefacts: Artefacts = Artefacts()
    variation: Variation = Variation()

    @model_validator(mode="after")
    def _fits_the_field(self) -> Self:
        field = self.detector.shape
        for name, size in (("size", self.size), ("evaluation_size", self.evaluation_size or self.size)):
            if any(side > length for side, length in zip(size, field, strict=True)):
                raise ValueError(f"{name}: {size} is larger than the field {field}")
        if self.empty + self.alone > 1:
            raise ValueError(
                f"empty and alone: the shares {self.empty:g} and {self.alone:g} add up to more than 1"
            )
        if 2 * self.margin >= min(field):
            raise ValueError(f"margin: {self.margin} pixels on every side leave nothing of the field {field}")
        if 2 * self.jitter > min(self.size):
            raise ValueError(f"jitter: {self.jitter} pixels would move tracks out of the window {self.size}")
        return self

    def window(self, split: str) -> tuple[int, int]:
        """Return the rows and columns of the windows of a split."""
        return self.size if split == "train" else self.evaluation_size or self.size
