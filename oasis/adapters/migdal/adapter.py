"""The MIGDAL adapter: simulated events, measured recoils and the authors' files, with their study."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.migdal.candidates import candidate_columns, light_yield
from oasis.adapters.migdal.figures import detection_figure
from oasis.adapters.migdal.frames import (
    SIGMA_ADU,
    boxes_of,
    nuclear_blob,
    read_frames,
    recoil_components,
    restore_noise,
    track_boxes,
)
from oasis.adapters.migdal.options import MigdalOptions
from oasis.adapters.migdal.reference import ReferenceFrames, ReferenceTensors, convert
from oasis.adapters.migdal.scene import ER, NR, PRESENT_ADU, MigdalScene
from oasis.adapters.migdal.search import search_regions
from oasis.adapters.migdal.topology import axis_columns, topology_figure
from oasis.adapters.migdal.tracks import load_library
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.reading import level_and_noise
from oasis.adapters.study import Study
from oasis.data.components import Components
from oasis.data.images import Images
from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.quantities import Quantities, Quantity
from oasis.data.samples import Array, Sample
from oasis.instances.grouping import Grouping

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


SEED = 5.0  # the level of frames over the noise of the camera from which on it is not that of dark ones


class MigdalAdapter(Adapter[MigdalOptions]):
    """Electron recoils (ER) under nuclear recoils (NR) in camera images of the MIGDAL optical TPC, in ADU."""

    classes = (ER, NR)
    # The smallest of 200 simulated electrons of 3-15 keV lights 281 pixels, the smallest of 400 recoils 184.
    grouping = MappingProxyType({ER: Grouping(method="gaps", pixels=50), NR: Grouping(pixels=50)})
    quantities = Quantities(classes=(ER,), of_object=(Quantity(name="energy", centre=8, width=3),))  # keV
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
        },  # half of the events deliberately have no ER
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
        """Return the scene of a split; splits share no track.

        Raises:
            DataError: a library or a file of recoils cannot be read.
        """
        return MigdalScene(self.options, split, *self._libraries)

    def samples(self, path: Path, split: str) -> SampleDataset:
        """Return the samples of an HDF5 file, of the authors' data frame or of a folder of their tensors.

        Raises:
            DataError: the file is invalid.
        """
        if path.is_dir():
            return ReferenceTensors(path, split, protocol=self.options.protocol)
        if path.suffix == ".pkl":
            return ReferenceFrames(path, protocol=self.options.protocol)
        return super().samples(path, split)

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return the angles between predicted and true axis of the electron at the vertex: see `axis_columns`."""
        electron = self.classes.index(ER)
        predicted = np.where(sample.valid[0], prediction.maps[electron, 0], 0)
        return {ER: axis_columns(predicted, sample.target[electron, 0], sample.meta)}

    def caption(self, prediction: EventPrediction, sample: Sample) -> str:
        """Return the angle between predicted and true axis of the electron."""
        angle = self.event_rows(prediction, sample).get(ER, {}).get("axis_angle_map", np.nan)
        return f"Δθ {angle:.0f}°" if np.isfinite(angle) else ""

    @property
    def measures_events(self) -> bool:
        """Whether the measurement of axes is requested."""
        return self.options.topology

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return the figure `detection`, and `topology` if the table contains axes."""
        figures = {"detection": detection_figure(table, self.unit)}
        return figures | ({"topology": topology_figure(table)} if "axis_angle_map" in table else {})

    @cached_property
    def _libraries(self) -> tuple[Components, Components]:
        """Return simulated electron recoils, and simulated or measured nuclear recoils."""
        options = self.options
        electrons, recoils = load_library(options.tracks)
        if options.recoils is None:
            return electrons, recoils
        frames = read_frames(options.recoils, detector=options.detector)
        if options.restore_noise:
            frames = restore_noise(frames, keyed_rng(self.seed, "frames", 0), detector=options.detector)
        return electrons, recoil_components(frames)

    def as_images(self, raw: NDArray[Any], dark: NDArray[Any] | None = None) -> Array:
        """Return frames as images (n, 1, H, W) in ADU, with negative pixels set to 0.

        Raw frames (1152, 2048) are dark-subtracted, binned and smoothed as in the experiment; smaller ones are
        assumed to be binned already.

        Raises:
            DataError: the array does not contain frames.
        """
        detector = self.options.detector
        height, width = (length * detector.binning for length in detector.shape)
        if raw.shape[-2:] == (height, width):
            return detector.preprocess(raw.reshape(-1, height, width), dark)[:, None]
        return np.maximum(super().as_images(raw, dark), 0)

    def doubt(self, images: Images) -> str:
        """Return that frames lack the noise of the camera, have its offset, or are larger than the field."""
        brightest, (level, _) = float(images.image.max()), level_and_noise(images.image)
        size, field = images.image.shape[2:], self.options.detector.shape
        if any(length > side for length, side in zip(size, field, strict=True)):
            return (
                f"frames of {size[0]} x {size[1]} pixels are larger than the field of {field[0]} x {field[1]} and "
                "taken as binned: check the order of their axes, and their binning"
            )
        if level > SEED * SIGMA_ADU:
            return (
                f"half of the pixels are above {level:.4g} ADU, {level / SIGMA_ADU:.3g} times the noise of the "
                "camera: subtract a dark frame (--dark), and check that they are binned as those in training"
            )
        if brightest < SIGMA_ADU:
            return (
                f"no pixel is above {brightest:.3g} ADU, the noise of the camera is {SIGMA_ADU:g}: check that "
                "frames are in ADU, and that no dark frame was subtracted twice"
            )
        return ""

    def visible(self, images: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the box of every track, or the whole image if there is none.

        Pixels 4 sigma above the noise next to 5 more above 3 sigma count, which finds most of an electron outside
        the nuclear recoil; 4 pixels are added on every side for the rest. What lies between two tracks of a frame
        is background.
        """
        blobs = nuclear_blob(images[:, 0], seed=4, min_pixels=6, grow=4)
        return np.stack([boxes_of(blob) if blob.any() else ~blob for blob in blobs])[:, None]

    def regions_of_interest(self, image: Array) -> Sequence[tuple[slice, ...]] | None:
        """Return the box of every track; boxes that overlap are one."""
        return track_boxes(image[0])

    def as_regions(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return the boxes of a table of the experiment's search as regions; another table as it is."""
        return search_regions(table)

    def region_columns(self, maps: Array, box: Sequence[slice], size: Sequence[int]) -> Mapping[str, NDArray[Any]]:
        """Return energies, distance and cuts of the tracks of a region in a frame; see `candidate_columns`."""
        options, detector = self.options, self.options.detector
        if tuple(size) != detector.shape:
            return {}
        scale = options.energy_scale
        direct = scale.adu_per_kev or detector.gain
        spread = 1 + detector.halo
        per_kev = (direct if options.clean_electrons else direct * spread, direct * spread)
        corner = (box[0].start, box[1].start)
        return candidate_columns(maps, corner, self._light_yield, per_kev, scale, detector.pixel_mm)

    @cached_property
    def _light_yield(self) -> Array:
        return light_yield(self.options.energy_scale, self.options.detector)

    def convert(self, source: Path, out: Path) -> int:
        """Convert the authors' tensors or data frame to an HDF5 file of samples."""
        return convert(source, out)
