"""The galaxy adapters: blends of simulated or measured galaxies, and how the results are evaluated."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.fluxes import Fluxes
from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.convert import Conversion, convert
from oasis.adapters.galaxy.detection import detect
from oasis.adapters.galaxy.duplicates import together
from oasis.adapters.galaxy.figures import flux_figure
from oasis.adapters.galaxy.flux_tables import EDGES
from oasis.adapters.galaxy.measuring import Training, catalogue_columns
from oasis.adapters.galaxy.photometry import noise_of, object_columns
from oasis.adapters.galaxy.scene import NEIGHBOURS, STARS, TARGET, GalaxyScene
from oasis.adapters.galaxy.simulation import simulate_galaxies
from oasis.adapters.galaxy.singles import single_galaxies
from oasis.adapters.galaxy.sky_images import SkyImages
from oasis.adapters.galaxy.stamps import Stamps, reference_band
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.sources import Column, Sources
from oasis.adapters.study import Study
from oasis.data.images import Images
from oasis.data.mixing import split_indices
from oasis.data.samples import Array, Sample
from oasis.errors import ConfigError, DataError
from oasis.instances.grouping import Grouping

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

GALAXIES = ("galaxy_1", "galaxy_2", "galaxy_3", "galaxy_4")
FRACTIONS = {"train": 0.6, "val": 0.15, "test": 0.25}
PRESENT_NMGY = 0.01  # per pixel; the sky of DECaLS has a noise of 0.003 to 0.015
PRESENT_SIGMA = PRESENT_NMGY / survey.sky_noise("r")  # the same in units of the noise in the reference band
DECALS_NOISE = (0.0028, 0.0063, 0.0153)  # nmgy


class _BlendAdapter(SkyImages):
    """The common base of both adapters."""

    @property
    @abstractmethod
    def single(self) -> tuple[bool, ...]:
        """Which maps have one object at most."""

    study: ClassVar[Study]

    @property
    def thresholds(self) -> float:
        """Flux per pixel above which a galaxy is present: 0.01 nmgy for DECaLS, else as far above the noise."""
        if self.options.survey == "decals" and not self.options.band:
            return PRESENT_NMGY
        return float(PRESENT_SIGMA * self.sky_noise[reference_band(self.band_names)])

    @property
    def sky_noise(self) -> NDArray[np.float64]:
        """Noise of a pixel of sky by band, nmgy."""
        options = self.options
        scale = self.population.scale(self.known_bands)
        return options.blend.noise * options.blend.sky_noise(self.known_bands, scale)

    @property
    def _scaling(self) -> dict[str, Any]:
        """The scaling by the noise of the sky."""
        decals = self.options.survey == "decals" and self.band_names == survey.BANDS and not self.options.band
        noise = list(DECALS_NOISE) if decals else [float(f"{one:.3g}") for one in self.sky_noise]
        return {"name": "asinh", "noise": noise}

    def scene(self, split: str) -> GalaxyScene:
        """Return the scene from which the blends of a split are mixed.

        Raises:
            ConfigError: a split without galaxies.
            DataError: a library that cannot be used.
        """
        options, galaxies = self.options, self._galaxies(split)
        return GalaxyScene(self.library, galaxies, self.classes, options.blend, self.known_bands, options.varying)

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return flux, magnitude, colour, position and shape of every galaxy: `photometry.COLUMNS`."""
        noise = noise_of(sample.meta, self.band_names)
        scale = float(sample.meta.get("pixel_scale", self.pixel_scale))
        several = not np.all(self.single)
        known = sample.has_instances or not several
        rows = object_columns(
            prediction.maps,
            sample.target,
            noise,
            self.band_names,
            scale,
            sample.image,
            sample.valid,
            self.single,
            single_galaxies(sample, several) if known else None,
            [sample.meta.get(f"gain_{name}", one) for name, one in zip(self.band_names, self.gain, strict=True)],
        )
        return dict(zip(self.classes, rows, strict=True))

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return the figure `flux`: flux errors, and the fractions missed and confused, against blendedness."""
        study = self.study
        rows = study.rows(table)
        return {"flux": flux_figure({study.what: rows}, study.group if study.group in rows else None)}

    @property
    def fluxes(self) -> Fluxes:
        """The flux of every band, calibrated in bins of the blendedness that maps show."""
        study = self.study
        return Fluxes((study.name, *study.interchangeable), self.band_names, "blendedness", EDGES[1:-1])

    @property
    def gain(self) -> list[float]:
        """Electrons per nmgy in each band."""
        return [float(one) for one in self.options.blend.gains(self.known_bands)]

    @cached_property
    def library(self) -> Stamps:
        """All galaxies: those of the files in their order, then the simulated ones.

        Raises:
            ConfigError: no galaxies.
            DataError: a file that is no library, or libraries that do not fit together.
        """
        return self._library[0]

    @cached_property
    def _library(self) -> tuple[Stamps, int]:
        """The library, and how many of its galaxies are measured."""
        options = self.options.library
        parts = [Stamps.load(file) for file in options.files]
        measured = sum(map(len, parts))
        if options.simulated:
            parts.append(simulate_galaxies(options.simulated, self.seed, self.population, self.known_bands))
        if not parts:
            raise ConfigError("data.library: no galaxies: name files, or set simulated to a number above 0")
        try:
            library = Stamps.concatenate(parts)
        except DataError as error:
            raise DataError(
                f"data.library: {error}; size and pixel scale of simulated galaxies are set by population.size "
                "and population.pixel_scale"
            ) from None
        if library.bands != self.band_names:
            raise DataError(
                f"data.library.files: stamps in {list(library.bands)}, expected {list(self.band_names)}: convert "
                "them with convert.bands, or set data.bands"
            )
        return library, measured

    def _galaxies(self, split: str) -> NDArray[np.intp]:
        """Return which galaxies a split uses; measured and simulated ones are divided separately."""
        library, measured = self._library
        parts, simulated = [], len(library) - measured
        if measured:
            divided = split_indices(measured, FRACTIONS, self.seed)
            parts.append(together(library.table, measured, divided)[split])
        if simulated and (split == "train" or self.options.library.held_out == "all"):
            parts.append(measured + split_indices(simulated, FRACTIONS, self.seed)[split])
        if not parts:
            raise ConfigError("data.library.held_out: files, but data.library.files is empty: name a library")
        return np.concatenate(parts)

    def regions_of_interest(self, image: Array) -> Sequence[tuple[slice, ...]] | None:
        """Return a window of the size of a blend around every galaxy that SEP detects, if it lies inside."""
        size = self.options.blend.size
        starts = np.floor(detect(image, options=self.options.detection) + 0.5).astype(int) - size // 2
        inside = ((starts >= 0) & (starts + size <= image.shape[1:])).all(axis=1)
        return [tuple(slice(at, at + size) for at in start) for start in starts[inside].tolist()]

    detectors = ("sep", "centre")
    catalogue_radius = "r50"

    def detect(self, images: Images, detector: str) -> NDArray[np.float64]:
        """Return the positions of galaxies: those that SEP detects (`sep`), or the middle of the image (`centre`).

        Raises:
            DataError: an image without noise, or too crowded for SEP.
        """
        if detector == "centre":
            return np.array([[length // 2 for length in images.image.shape[2:]]], np.float64)
        bad = None if images.mask is None else ~images.mask[0, 0]
        known = None if images.background is None else (images.background[0, 0], images.background[0, 1])
        return detect(images.image[0], bad, self.options.detection, known)

    def catalogue(self, sources: Sources) -> Mapping[str, Column]:
        """Return flux, magnitude and colour per band, blendedness and flags; see `measuring.catalogue_columns`."""
        return catalogue_columns(sources, self.training)

    @cached_property
    def training(self) -> Training:
        """What the model was trained on, to which images are compared."""
        library, blend, names, scale = self.options.library, self.options.blend, self.band_names, self.pixel_scale
        ranges = [library.population.magnitudes] if library.simulated else []
        widths = [np.array(library.population.widths(self.known_bands))] if library.simulated else []
        for stamps in map(Stamps.load, library.files):
            found = survey.magnitude(stamps.table[f"flux_{names[reference_band(names)]}"])
            ranges.append((float(found.min()), float(found.max())))
            widths.append(stamps.psf_fwhm.astype(float))
        low, high = np.array(ranges or [(np.nan, np.nan)]).T
        gain = np.full(len(names), np.inf) if not blend.poisson else blend.gains(self.known_bands)
        width = widths[0] if widths else np.full(len(names), np.nan)
        noise = blend.noise * blend.sky_noise(self.known_bands, scale)
        varying = self.options.varying
        factors = {name: varying.ranges(name, names) for name in ("seeing", "noise")}
        return Training(
            names, scale, noise, width, gain, (low.min(), high.max()), factors["seeing"], factors["noise"]
        )

    def convert(self, source: Path, out: Path) -> int:
        """Turn images of single galaxies into a library of stamps, as `data.convert` says; see `convert`."""
        report = convert(source, out, self._conversion())
        logger.info("%s", report)
        return report.kept

    def _conversion(self) -> Conversion:
        """Return how images become stamps: in bands and pixels of the survey, unless `convert` names others."""
        options, given = self.options.convert, self.options.convert.model_fields_set
        own = {"bands": self.band_names, "pixel_scale": self.known_bands.pixel_scale}
        return options.model_copy(update={name: one for name, one in own.items() if name not in given})


def _defaults(weights: Mapping[int, float], scaling: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": {"name": "unet", "base_channels": 16, "norm": "batch"},
        "head": {"name": "denoised"},
        "scaling": dict(scaling),
        "loss": {"region_weights": {"rule": "size", "weights": dict(weights)}, "smoothness": 0.0},
    }


class GalaxyAdapter(_BlendAdapter):
    """The galaxy in the middle of an image of the sky and its neighbours, in nanomaggies."""

    classes = (TARGET, NEIGHBOURS)
    centred = (TARGET,)
    grouping = MappingProxyType(dict.fromkeys(classes, Grouping(method="watershed")))
    single: tuple[bool, ...] = (True, False)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Default values of the domain."""
        return _defaults({2: 2}, self._scaling)

    study = Study(
        name=TARGET,
        quantity="blendedness",
        label="blendedness of the target",
        edges=EDGES,
        group="target_galaxy",
    )


class GalaxiesAdapter(_BlendAdapter):
    """Up to four galaxies that overlap on the sky, one map each in any order, in nanomaggies."""

    centred = GALAXIES
    interchangeable = (GALAXIES,)

    @property
    def classes(self) -> tuple[str, ...]:
        """Four galaxies, and `stars` where images have any."""
        return (*GALAXIES, STARS) if self.options.varying.stars.number[1] else GALAXIES

    @property
    def single(self) -> tuple[bool, ...]:
        """Which maps have one object at most: those of galaxies."""
        return tuple(name in GALAXIES for name in self.classes)

    @property
    def grouping(self) -> Mapping[str, Grouping]:
        """Stars are separated by watersheds."""
        return {STARS: Grouping(method="watershed")} if STARS in self.classes else {}

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Default values of the domain."""
        return _defaults(dict.fromkeys(range(2, len(self.classes) + 1), 2), self._scaling)

    study = Study(
        name="galaxy_1",
        quantity="blendedness",
        label="blendedness",
        edges=EDGES,
        group="id",
        interchangeable=GALAXIES[1:],
    )
