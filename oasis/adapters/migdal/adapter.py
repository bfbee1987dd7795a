"""The MIGDAL adapter: simulated events, measured recoils and the authors' files, and what is asked of them."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from oasis.adapters.base import Adapter
from oasis.adapters.migdal.detector import Detector, Side
from oasis.adapters.migdal.frames import find_tracks, nuclear_blob, read_frames, recoil_components, restore_noise
from oasis.adapters.migdal.reference import ReferenceFrames, ReferenceTensors, convert
from oasis.adapters.migdal.scene import ER, NR, PRESENT_ADU, MigdalScene, bounding_box
from oasis.adapters.migdal.topology import axis_columns, topology_figure
from oasis.adapters.migdal.tracks import load_library
from oasis.adapters.options import DataOptions, Rising, SplitCounts
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.study import Study
from oasis.data.components import Components
from oasis.data.images import Images
from oasis.data.mixing import SampleDataset, keyed_rng, split_indices
from oasis.data.samples import Array, Sample
from oasis.io.arrays import read_array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Energy = Annotated[float, Field(gt=0, le=1e6)]  # keV

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


class MigdalOptions(DataOptions):
    """The section `data` of a MIGDAL run.

    Attributes:
        size: rows and columns of the window around a nuclear recoil; the camera's whole field is [288, 512].
        events: samples per split; every second one is a hybrid, the others nuclear recoils alone.
        energies: of the electron recoils, keV.
        spectral_index: the spectrum of training electrons falls as energy to the power of minus this; that of
            the other splits is flat.
        margin: how far from the border of the field simulated vertices stay, pixels.
        jitter: how far a track's centre may lie from the window's, pixels.
        tracks: a library that `python -m oasis.adapters.migdal.tracks` wrote, instead of the shipped one.
        recoils: a file of measured frames whose nuclear recoils replace simulated ones.
        restore_noise: the frames were kept only above 24 ADU: add the camera noise that they lost.
        files: by split: an HDF5 file of samples, a folder of the authors' tensors or a dataframe of theirs, in
            the place of the simulation.
        protocol: how the authors' files are read: `corrected`, or `reference` as their own evaluation does.
        topology: measure the axes of electron tracks when events are evaluated, some 10 ms for each.
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
            raise ValueError(f"margin: {self.margin} pixels on each side leave nothing of the field {field}")
        if 2 * self.jitter > min(self.size):
            raise ValueError(f"jitter: {self.jitter} pixels move tracks out of the window {self.size}")
        return self


class MigdalAdapter(Adapter[MigdalOptions]):
    """Electron recoils (ER) under nuclear recoils (NR) in camera images of the MIGDAL optical TPC, in ADU."""

    classes = (ER, NR)
    unit = "ADU"
    thresholds = {ER: 1.0, NR: PRESENT_ADU}
    defaults = {
        "model": {"name": "unet", "base_channels": 32},
        "head": {"name": "fraction"},
        "scaling": {"scale": 23.0, "peak": False},
        "loss": {
            "class_weights": {ER: 5, NR: 1},
            "region_weights": {ER: 3, NR: 1, "ER&NR": 6},
        },
        "calibration": {
            "absent": False,
            "quantities": {ER: "ER_energy"},
        },  # half of the events have no ER by choice
    }
    study = Study(
        name=ER,
        quantity="ER_energy",
        label="electron energy (keV)",
        edges=tuple(range(3, 16)),
        signal="kind == 'hybrid' and ER_energy >= 3 and ER_energy < 6",
        background="kind == 'NR'",
        group="ER_track",
        background_group="NR_track",
        equivalent=4.0,
    )

    def scene(self, split: str) -> MigdalScene:
        """Return what the events of a split are mixed from; splits share no track.

        Raises:
            DataError: a library or a file of recoils that cannot be read.
        """
        options = self.options
        electrons, recoils = self._libraries
        return MigdalScene(
            options.detector,
            electrons,
            recoils,
            split_indices(len(electrons), FRACTIONS)[split],
            split_indices(len(recoils), FRACTIONS)[split],
            options.size,
            options.energies,
            options.spectral_index if split == "train" else 0.0,
            options.margin,
            options.jitter,
            measured=options.recoils is not None,
        )

    def samples(self, path: Path, split: str) -> SampleDataset:
        """Return the samples of an HDF5 file, of the authors' dataframe or of a folder of their tensors.

        Raises:
            DataError: a file that cannot be used.
        """
        if path.is_dir():
            return ReferenceTensors(path, split, protocol=self.options.protocol)
        if path.suffix == ".pkl":
            return ReferenceFrames(path, protocol=self.options.protocol)
        return super().samples(path, split)

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return how the electron's axis at the vertex lies to the true one: see `axis_columns`."""
        electron = self.classes.index(ER)
        predicted = np.where(sample.valid[0], prediction.maps[electron, 0], 0)
        return {ER: axis_columns(predicted, sample.target[electron, 0], sample.meta)}

    @property
    def measures_events(self) -> bool:
        """Whether axes are requested."""
        return self.options.topology

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return the figure `topology` where the table has axes."""
        return {"topology": topology_figure(table)} if "axis_angle_map" in table else {}

    @cached_property
    def _libraries(self) -> tuple[Components, Components]:
        """Electron recoils, simulated, and nuclear recoils, simulated or measured."""
        options = self.options
        electrons, recoils = load_library(options.tracks)
        if options.recoils is None:
            return electrons, recoils
        frames = read_frames(options.recoils, detector=options.detector)
        if options.restore_noise:
            frames = restore_noise(frames, keyed_rng(self.seed, "frames", 0), detector=options.detector)
        return electrons, recoil_components(frames)

    def read(self, path: Path, key: str | None = None, dark: NDArray[Any] | None = None) -> Images:
        """Return the frames of a file in ADU, with negative pixels set to 0.

        Raw frames (1152, 2048) are dark-subtracted, binned and smoothed as the experiment does; smaller ones
        are assumed to be binned already.

        Raises:
            DataError: a file that cannot be read or does not contain frames.
        """
        return Images(self.as_images(read_array(path, key), dark), axes=("y", "x"), source=str(path))

    def as_images(self, raw: NDArray[Any], dark: NDArray[Any] | None = None) -> Array:
        """Return raw or binned frames as images (n, 1, H, W) in ADU; see `read`."""
        detector = self.options.detector
        height, width = (length * detector.binning for length in detector.shape)
        if raw.shape[-2:] == (height, width):
            return detector.preprocess(raw.reshape(-1, height, width), dark)[:, None]
        return np.maximum(super().as_images(raw, dark), 0)

    def visible(self, images: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return a rectangle around what stands out of the noise; all of an image without any.

        Pixels 4 sigma above the noise with 5 more above 3 sigma beside them count, which finds most of an electron
        outside the nuclear recoil, and 4 pixels all round are added for the rest.
        """
        blobs = nuclear_blob(images[:, 0], seed=4, min_pixels=6, grow=4)
        boxes = [bounding_box(blob) if blob.any() else ~blob for blob in blobs]
        return np.stack(boxes)[:, None]

    def regions_of_interest(self, image: Array) -> Sequence[tuple[slice, ...]] | None:
        """Return a window of `data.size` around every whole nuclear recoil of a larger frame."""
        size = self.options.size
        if (
            any(length < side for length, side in zip(image.shape[1:], size, strict=True))
            or image.shape[1:] == size
        ):
            return None
        tracks = find_tracks(image)
        found = tracks.loc[tracks["recoil"], ["rowmin", "rowmax", "colmin", "colmax"]].to_numpy()
        middles = found.reshape(-1, 2, 2).sum(axis=2) // 2
        starts = (middles - np.array(size) // 2).clip(0, np.array(image.shape[1:]) - size)
        return [
            tuple(slice(at, at + side) for at, side in zip(start, size, strict=True)) for start in starts.tolist()
        ]

    def convert(self, source: Path, out: Path) -> int:
        """Turn the authors' tensors or dataframe into an HDF5 file of samples."""
        return convert(source, out)
