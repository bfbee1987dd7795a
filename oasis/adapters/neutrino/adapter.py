"""The neutrino adapters: simulated vertices or those of the public release, and how the results are evaluated."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.neutrino.comparing import quantity_columns
from oasis.adapters.neutrino.figures import (
    counting_sources,
    multiplicity_figure,
    nuclei_figure,
    visible_energy_figure,
)
from oasis.adapters.neutrino.learned import LearnedRenderer
from oasis.adapters.neutrino.metrics import Measurement, calibrate
from oasis.adapters.neutrino.options import NeutrinoOptions
from oasis.adapters.neutrino.refinement import particles_of, refine, refined_columns
from oasis.adapters.neutrino.release import Release, ReleaseScene
from oasis.adapters.neutrino.renderer import Renderer
from oasis.adapters.neutrino.scene import (
    AXES,
    CONFIGURATION_1,
    CONFIGURATION_2,
    CONTEXT,
    EXIT_COLUMNS,
    Composition,
    SimulatedScene,
    VertexScene,
    muon_context,
    muon_exits,
)
from oasis.adapters.neutrino.simulation import CUBE, CUBES
from oasis.adapters.neutrino.successor import convert_successor, is_successor
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.study import Study
from oasis.data.images import Images
from oasis.data.mixing import Scene
from oasis.data.quantities import Quantities, Quantity
from oasis.data.samples import Array, Sample
from oasis.errors import ConfigError, DataError
from oasis.io.arrays import read_array, read_named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DIRECTION = tuple(f"d{axis}" for axis in AXES)
SIMULATED = {"train": 20_000, "val": 1_000, "test": 4_000}


class NeutrinoAdapter(Adapter[NeutrinoOptions]):
    """A muon and 1 to 5 protons from one neutrino vertex, in a scintillator of 10 mm cubes, in photoelectrons.

    Attributes:
        composition: the composition of the events.
    """

    composition: ClassVar[Composition] = CONFIGURATION_1
    spatial_dims = 3
    size = (CUBES,) * 3
    context = CONTEXT
    oriented = True
    unit = "p.e."
    thresholds = 0.5  # charges are whole photoelectrons
    defaults = {
        "model": {"name": "unet", "base_channels": 32, "depth": 2},
        "head": {"name": "fraction", "background": False},  # every photoelectron belongs to a particle
        "objects": {"weight": 0.1},
        "scaling": {"name": "log", "scale": 10.0, "peak": False},
        "loss": {
            "region_weights": {"rule": "size", "weights": {2: 3, 3: 4, 4: 5, 5: 6, 6: 7}},
            "smoothness": 0.0,
        },
    }
    study = Study(
        name="proton_1",
        quantity="proton_1_ke",
        label="kinetic energy of the most energetic proton (MeV)",
        edges=tuple(range(0, 61, 10)),
    )

    @property
    def classes(self) -> tuple[str, ...]:
        """The muon and every particle that an event can have."""
        return self.composition.classes

    @property
    def interchangeable(self) -> tuple[tuple[str, ...], ...]:
        """The protons, where their maps may come in any order."""
        protons = tuple(name for name in self.classes if name.startswith("proton"))
        return (protons,) if self.options.order == "any" else ()

    @property
    def quantities(self) -> Quantities:
        """Energy and direction of every nucleus, and the vertex."""
        return Quantities(
            classes=self.classes[1:],
            of_object=(
                Quantity(name="ke", centre=30, width=15),
                *(Quantity(name=one, width=0.5) for one in DIRECTION),
            ),
            of_image=tuple(Quantity(name=f"vertex_{axis}", width=8) for axis in AXES),
            directions=(DIRECTION,),
            ordered=(tuple(name for name in self.classes if name.startswith("proton")),),
        )

    def scene(self, split: str) -> VertexScene:
        """Return the scene of the release, or the simulation.

        Raises:
            ConfigError: a release with cubes of another size.
            DataError: a release that cannot be read.
        """
        cube = self.options.detector.cube_mm
        if self.options.release is not None and cube != CUBE:
            raise ConfigError(
                f"data.detector.cube_mm: {cube:g} mm, but the cubes of the public data set have {CUBE:g} mm: "
                "leave it out"
            )
        if self._release is not None:
            return ReleaseScene(self._release, split)
        return SimulatedScene(self.composition, self.options.detector, self.options.energies)

    def count(self, split: str, scene: Scene) -> int:
        """Return the number of samples of a split: at most those of the release, by default all of them."""
        wanted: int | None = getattr(self.options.events, split)
        if isinstance(scene, ReleaseScene):
            return min(wanted or len(scene), len(scene))
        return wanted or SIMULATED[split]

    @cached_property
    def _release(self) -> Release | None:
        folder = self.options.release
        return None if folder is None else Release(folder, self.composition)

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return charge, energy, direction and number of particles, from maps and from quantities.

        See `metrics.COLUMNS`, `comparing.OF_QUANTITIES` and `comparing.OF_FIT`.
        """
        rows = self._measurement.columns(prediction.maps, sample)
        for kind in ("predicted", "refined"):
            if f"ke_{kind}" in prediction.quantities:
                own = quantity_columns(self.classes, prediction.quantities, kind, sample.meta)
                rows = {name: rows[name] | own[name] for name in self.classes}
        return rows

    def refine(
        self,
        images: Array,
        context: Array | None,
        maps: Array,
        quantities: Mapping[str, NDArray[Any]],
    ) -> Mapping[str, NDArray[Any]]:
        """Fit the particles that are predicted to be present to the images; see `refinement`.

        Raises:
            ConfigError: a run without the section `objects`, whose quantities are the starting point of the fit.
        """
        if "ke_predicted" not in quantities or context is None:
            raise ConfigError("refine: the fit starts from predicted particles: train with the section objects")
        initial = particles_of(quantities)
        exits = torch.from_numpy(muon_exits(context, self.options.detector.cube_mm)).float()
        image = torch.from_numpy(images[:, 0])
        ids = [
            crc32(one.tobytes()) for one in images
        ]  # so that a fit does not depend on the other events of its batch
        options = self.options.refinement
        return refined_columns(refine(image, exits, initial, self._renderer, options, self.seed, ids))

    @cached_property
    def _renderer(self) -> Renderer:
        species = [name.partition("_")[0] for name in self.classes[1:]]
        path = self.options.refinement.renderer
        if path is not None:
            return LearnedRenderer(species, self.options.detector).load(path)
        return Renderer(species, self.options.detector)

    @cached_property
    def _measurement(self) -> Measurement:
        options = self.options
        calibration = calibrate(self.composition, options.detector, options.energies)
        return Measurement(self.classes, options.detector, calibration, options.least_charge)

    def convert(self, source: Path, out: Path) -> int:
        """Write the particles of the public data set, or of its successor, to one file and return their number.

        Raises:
            DataError: the folder is neither, or a particle is invalid.
        """
        if is_successor(source):
            return convert_successor(source, out)
        if not source.is_dir():
            raise DataError(f"{source}: expected the folder with dataset_p, dataset_mu and metadata")
        return Release(source, self.composition).convert(out)

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return figures of multiplicity, visible energy and nuclei where the table has their columns."""
        if "nuclei_found" not in table:
            return {}
        return {
            **{
                "_".join(["multiplicity", *source.name.split()]): multiplicity_figure(table, source.number)
                for source in counting_sources(table)
            },
            "visible_energy": visible_energy_figure(table),
            "nuclei": nuclei_figure(table),
        }

    def read(self, path: Path, key: str | None = None, dark: NDArray[Any] | None = None) -> Images:
        """Return charges in cubes (n, 1, 7, 7, 7), p.e., and the muons of the array `exit` (n, 7) as context.

        Raises:
            DataError: a file that cannot be read, a volume of another size, or muons that are missing, NaN or
                infinite.
        """
        image = self.as_images(read_array(path, key), dark)
        if image.shape[2:] != self.size:
            found = " x ".join(map(str, image.shape[2:]))
            raise DataError(
                f"{path}: an image of {found} cubes, but the model's volume has {CUBES} on each axis: crop it to "
                "that"
            )
        return Images(image, _read_muons(path, self.options.detector.cube_mm), axes=AXES, source=str(path))


class NeutrinoIonsAdapter(NeutrinoAdapter):
    """A muon and 0 to 4 protons, 0 or 1 deuteron and 0 or 1 triton from one neutrino vertex, in photoelectrons."""

    composition = CONFIGURATION_2
    defaults = {
        **NeutrinoAdapter.defaults,
        "loss": {
            "region_weights": {"rule": "size", "weights": {2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 8}},
            "smoothness": 0.0,
        },
    }


def _read_muons(path: Path, cube: float) -> Array:
    """Return the context of a file's images: from its array `exit` (n, 7).

    Raises:
        DataError: a file without that array, or with one of another shape.
    """
    wanted = "an array exit (events, 7): position in mm, kinetic energy in MeV and unit direction of the muon"
    try:
        exits = read_named(path, "exit")
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ").partition(": choose")[0]
        raise DataError(f"{path}: needs, in addition to the images, {wanted} ({reason})") from None
    if exits.ndim != 2 or exits.shape[1] != len(EXIT_COLUMNS) or not np.isfinite(exits).all():
        raise DataError(f"{path}: exit has shape {exits.shape} or is not finite, expected {wanted}")
    return muon_context(exits, cube)
