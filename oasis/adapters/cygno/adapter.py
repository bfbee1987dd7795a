"""The CYGNO adapter: simulated recoils on simulated or measured noise, and measured images."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.cygno.figures import selection_figure
from oasis.adapters.cygno.files import (
    ROOT,
    Pedestal,
    check_not_midas,
    read_pedestal,
    read_pictures,
    read_vignetting,
)
from oasis.adapters.cygno.metrics import selection_columns
from oasis.adapters.cygno.noise import STOCK, Noise, SyntheticNoise
from oasis.adapters.cygno.options import CygnoOptions
from oasis.adapters.cygno.pedestals import MapNoise, MeasuredNoise, pedestal_of
from oasis.adapters.cygno.scene import RECOIL, TRACK, CygnoScene, log_rms
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.reading import level_and_noise, say_saturated
from oasis.adapters.study import Study
from oasis.data.images import Images
from oasis.data.mixing import split_indices
from oasis.data.samples import Sample
from oasis.errors import ConfigError, DataError
from oasis.instances.grouping import Grouping
from oasis.io.arrays import SUFFIXES, as_image_array, read_array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Read = TypeVar("Read")

PRESENT = {RECOIL: 0.05, TRACK: 0.5}  # counts; recoils are cut at a share of their light instead
FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
FEWEST = 20  # frames of a pedestal run that are divided among splits; fewer are shared
WITH_CONTEXT = (".npz", ".h5", ".hdf5")
OTHER = 3.0  # level over the rms of the pedestal, or ratio of the noise to it or its inverse, that is doubted


class CygnoAdapter(Adapter[CygnoOptions]):
    """Faint recoils in sCMOS camera images of the CYGNO optical TPC, alone or under tracks, in counts."""

    unit = "counts"
    context = 1
    suffixes: Sequence[str] = (*SUFFIXES, ROOT)
    defaults: Mapping[str, Any] = {
        "model": {"name": "unet", "base_channels": 16, "depth": 3, "stride": 4, "norm": "batch"},
        "head": {"name": "softplus", "presence": True, "gate": True},
        "scaling": {"name": "asinh", "noise": 2.3},
        "loss": {"region_weights": {RECOIL: 4}},
        "calibration": {"quantities": {RECOIL: "recoil_energy"}},
    }

    @property
    def classes(self) -> tuple[str, ...]:
        """`recoil`, and `track` where tracks are simulated."""
        return (RECOIL, TRACK) if self.options.tracks else (RECOIL,)

    @property
    def thresholds(self) -> dict[str, float]:
        """Counts above which a class is present."""
        return {name: PRESENT[name] for name in self.classes}

    @property
    def grouping(self) -> dict[str, Grouping]:
        """Recoils are spots of some hundred pixels, tracks may have gaps."""
        how = {RECOIL: Grouping(method="gaps", gap=2, pixels=12), TRACK: Grouping(method="gaps", gap=4, pixels=12)}
        return {name: how[name] for name in self.classes}

    @property
    def study(self) -> Study:
        """The error of the light of recoils in their true pixels, against their energy."""
        return Study(
            name=RECOIL,
            quantity="recoil_energy",
            label="energy of the recoil (keV)",
            edges=self._edges,
            signal="recoil_electrons > 0",
            background="recoil_electrons == 0",
        )

    @property
    def _edges(self) -> tuple[float, ...]:
        energies = np.unique(self.options.energies)
        between = np.sqrt(energies[1:] * energies[:-1])
        return (float(energies[0]) / 2, *map(float, between), float(energies[-1]) * 2)

    def scene(self, split: str) -> CygnoScene:
        """Return the scene of a split; splits share no measured frame if there are at least 20.

        Raises:
            DataError: a file is invalid, or measured frames are smaller than an image.
        """
        return CygnoScene(self.options, split, self.noise(split), self._vignetting)

    def noise(self, split: str) -> Noise:
        """Return the noise of a split; training images have the pixels of one simulated sensor, others new ones.

        Raises:
            DataError: the pedestal run is invalid.
        """
        pedestal = self.pedestal
        if pedestal is None:
            return SyntheticNoise(self.options.noise, STOCK if split == "train" else 0)
        if pedestal.frames is None:
            return MapNoise(pedestal.rms)
        frames, mean, rms = pedestal.frames, pedestal.mean, pedestal.rms
        if len(frames) >= FEWEST:
            parts = split_indices(len(frames), FRACTIONS)
            mean, rms = pedestal_of(frames[parts["train"]], str(self.options.pedestal))
            frames = frames[parts[split]]
        return MeasuredNoise(frames, mean, rms, self.options.whole_frames)

    @cached_property
    def pedestal(self) -> Pedestal | None:
        """The measured pedestal, if the options name one."""
        path = self.options.pedestal
        return None if path is None else _named("pedestal", read_pedestal, path)

    @cached_property
    def _vignetting(self) -> NDArray[np.float32] | None:
        path = self.options.vignetting
        return None if path is None else _named("vignetting", read_vignetting, path)

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return how well the predicted map selects the pixels of the recoil: see `selection_columns`."""
        return {RECOIL: selection_columns(prediction.maps[0, 0], sample, self.options.select)}

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return the figure `selection`: found recoils and their light against the energy."""
        return {"selection": selection_figure(table[table["class"] == RECOIL])}

    def read(self, path: Path, key: str | None = None, dark: NDArray[Any] | None = None) -> Images:
        """Return measured images in counts above the pedestal, and the logarithm of the rms of their pixels.

        Raw images need a pedestal run, `data.pedestal`. An `.npz` or HDF5 file with an array `context` has images
        whose pedestal was subtracted. Pixels of at least `data.saturated` raw counts and dead ones are masked.

        Raises:
            DataError: the file cannot be read, has no images, or not those of the camera of the pedestal.
        """
        check_not_midas(path)
        if path.suffix.lower() == ROOT:
            raw = self.as_images(read_pictures(path, key), dark)
        else:
            values = read_array(path, key)
            say_saturated(path, values)
            raw = self.as_images(values, dark)
            context = _stored_context(path)
            if context is not None:
                return Images(raw, context, source=str(path))
        pedestal = self.pedestal
        if pedestal is None:
            raise DataError(f"{path}: raw images need a pedestal run: name its file in data.pedestal")
        if raw.shape[2:] != pedestal.mean.shape:
            raise DataError(
                f"{path}: images of {raw.shape[2:]} pixels, but the pedestal {self.options.pedestal} has "
                f"{pedestal.mean.shape}: name one of the same camera and binning"
            )
        if dark is not None:
            raise DataError(f"{path}: data.pedestal is subtracted from raw images: give no dark frame (--dark)")
        good = (raw < self.options.saturated) & (pedestal.rms > 0)
        context = np.broadcast_to(log_rms(pedestal.rms), raw.shape).astype(np.float32)
        return Images(raw - pedestal.mean, context, good, axes=("y", "x"), source=str(path))

    def doubt(self, images: Images) -> str:
        """Return that images are not those of the pedestal: they have another level, or another noise."""
        if images.context is None:
            return ""
        significance = images.image / np.exp(images.context)
        level, noise = level_and_noise(significance if images.mask is None else significance[images.mask])
        if np.isnan(level):  # no pixel is valid
            return ""
        if abs(level) < OTHER and not (noise > 0 and not 1 / OTHER < noise < OTHER):
            return ""
        return (
            f"half of the pixels are above {level:.3g} times the rms of the pedestal, with a noise of {noise:.3g} "
            "times it: check that the pedestal is that of these images, and is subtracted once"
        )


def _named(key: str, read: Callable[[Path], Read], path: str) -> Read:
    """Read a file that an option names.

    Raises:
        ConfigError: it cannot be used, whatever image it is for.
    """
    try:
        return read(Path(path))
    except DataError as error:
        raise ConfigError(f"data.{key}: {error}") from None


def _stored_context(path: Path) -> NDArray[np.float32] | None:
    """Return the array `context` of a file, None if it has none."""
    if path.suffix.lower() not in WITH_CONTEXT:
        return None
    try:
        context = as_image_array(read_array(path, "context"), f"{path}: context")
    except DataError:
        return None
    return context if context.ndim == 4 else context.reshape(-1, 1, *context.shape[-2:])
