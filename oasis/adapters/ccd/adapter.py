"""The CCD adapter: decays of 135Xe and muons in thick CCDs, simulated or measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from oasis.adapters.base import Adapter
from oasis.adapters.ccd.options import CcdOptions
from oasis.adapters.ccd.reading import calibrated, read_ccd
from oasis.adapters.ccd.scene import BETA, CE, DIAGNOSTIC, ELECTRON, MUON, PHOTON, CcdScene
from oasis.adapters.ccd.tracks import load_library
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.reading import level_and_noise
from oasis.data.images import Images
from oasis.data.samples import Array, Sample
from oasis.instances.grouping import Grouping
from oasis.io.arrays import SUFFIXES
from oasis.io.fits import FITS

LEAST = 60.0  # e- of an object
FRAGMENT = 40_000.0  # e- (144 keV): of more charge are few pieces of other objects, and most electrons
LIT = 0.05  # of the pixels, with ten times the objects of the paper: for images as full as these
SIGNIFICANT = 4.0  # sigma of a pixel that belongs to something
AROUND = 4  # pixels around what is significant
OTHER = 3.0  # ratio of the noise to that in training, or its inverse, from which on the gain is doubted
LOWERED = 5.0  # ratio of the depth of an image to its height from which on its sign is doubted


class CcdAdapter(Adapter[CcdOptions]):
    """Electrons and photons of 135Xe decays, and muons, in images of thick CCDs, in electrons of charge."""

    unit = "e-"
    thresholds = 5.0  # 3 sigma of the noise
    suffixes = (*SUFFIXES, *FITS)

    @property
    def classes(self) -> tuple[str, ...]:
        """The kinds of particle; for the diagnostic sample, where electrons come from."""
        if self.options.sample == "diagnostic":
            return DIAGNOSTIC
        return (ELECTRON, PHOTON, MUON) if self.options.merge_electrons else (BETA, CE, PHOTON, MUON)

    @property
    def grouping(self) -> Mapping[str, Grouping]:
        """Components, muons as lines; what has little charge joins a larger object that it touches.

        Electrons that stop near the pixels light a single one, brightly: the least size is one of charge.
        """
        return MappingProxyType(
            {
                name: Grouping(
                    method="lines" if name == MUON else "components",
                    intensity=LEAST,
                    joins=tuple(other for other in self.classes if other != name),
                    fragment=1.0,
                    fragment_intensity=FRAGMENT,
                    fragment_lit=LIT,
                )
                for name in self.classes
            }
        )

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Default values of the domain for a run; a rare class needs a weight, or it vanishes."""
        weights = {} if self.options.sample == "diagnostic" else {PHOTON: 5}
        return {
            "model": {"name": "unet", "base_channels": 16, "norm": "batch"},
            "head": {"name": "fraction"},
            "scaling": {"name": "asinh", "noise": self.options.sensor.noise_e or 1.0},
            "loss": {"class_weights": weights, "region_weights": {"rule": "size", "weights": {2: 2}}},
        }

    def scene(self, split: str) -> CcdScene:
        """Return the scene of a split; splits share no electron track.

        Raises:
            DataError: the library of tracks cannot be read.
        """
        return CcdScene(self.options, self.classes, split, load_library(self.options.tracks))

    def instance_rows(self, prediction: EventPrediction, sample: Sample) -> Sequence[Mapping[str, float]]:
        """Return the energy (keV) of the charge of every true object in the image, `visible_kev`."""
        if sample.instances is None:
            return ()
        energy = sample.instances.intensity[:, 0] * self.options.sensor.pair_ev / 1e3
        return [{"visible_kev": float(one)} for one in energy]

    def read(self, path: Path, key: str | None = None, dark: NDArray[Any] | None = None) -> Images:
        """Return the images of a file in e-, with offsets of rows and columns subtracted and saturation masked.

        A FITS file may be compressed and have an image in several units (a sensor each); `key` names one. Gain and
        overscan are those of its header where the options do not state them.

        Raises:
            DataError: the file cannot be read, or has no image of two axes.
        """
        if path.name.lower().endswith(FITS):
            raw, headers = read_ccd(path, key)
            return calibrated(raw, self.options.read, path, dark, headers)
        return calibrated(super().read(path, key).image[:, 0], self.options.read, path, dark)

    def doubt(self, images: Images) -> str:
        """Return that a sensor has another noise than in training, as with another gain, or the other sign."""
        expected = self.options.sensor.noise_e
        for number, image in enumerate(images.image):
            pixels = image if images.mask is None else image[images.mask[number]]
            _, noise = level_and_noise(pixels)
            if expected > 0 and noise > 0 and not 1 / OTHER < noise / expected < OTHER:
                return (
                    f"image {number} has a noise of {noise:.3g} e-, in training it was {expected:g}: check the "
                    "gain of the sensor, data.read.adu_per_electron"
                )
            if pixels.size and -pixels.min() > LOWERED * max(float(pixels.max()), SIGNIFICANT * noise):
                return (
                    f"image {number} reaches from {pixels.min():.4g} to {pixels.max():.4g} e-: where charge "
                    "lowers the signal, data.read.adu_per_electron is negative"
                )
        return ""

    def reads_parts(self, path: Path) -> bool:
        """Return False: offsets of rows and columns need the whole image."""
        return False

    def regions_of_interest(self, image: Array) -> Sequence[tuple[slice, ...]] | None:
        """Return the boxes of what is above the noise; boxes that touch are one."""
        level = SIGNIFICANT * max(self.options.sensor.noise_e, 1e-6)
        near = ndimage.binary_dilation(image[0] > level, np.ones((3, 3)), iterations=AROUND)
        groups, _ = ndimage.label(near, np.ones((3, 3)))
        return [box for box in ndimage.find_objects(groups) if box is not None]
