"""The options of the neutrino adapters: the section `data`."""

from typing import Literal

from pydantic import Field, field_validator

from oasis.adapters.neutrino.physics import HIGHEST
from oasis.adapters.neutrino.refinement import RefinementOptions
from oasis.adapters.neutrino.simulation import Detector
from oasis.adapters.options import MOST, DataOptions
from oasis.options import Options


class EventCounts(Options):
    """How many samples each split has; all there are of the release and 20,000, 1,000 and 4,000 simulated ones.

    Attributes:
        train: new ones in every epoch.
        val: the same ones in every epoch.
        test: held out.
    """

    train: int | None = Field(None, ge=1, le=MOST)
    val: int | None = Field(None, ge=1, le=MOST)
    test: int | None = Field(None, ge=1, le=MOST)


class NeutrinoOptions(DataOptions):
    """The section `data` of a run on neutrino vertices.

    Attributes:
        events: samples per split.
        order: the order of the protons' maps: by decreasing `energy`, or `any`, which leaves it to the separator
            which proton each map belongs to.
        release: the folder of the public data set, to be used instead of the simulation.
        files: an HDF5 file of samples by split, to be used instead of both.
        energies: the energies of simulated nuclei, MeV.
        least_charge: p.e. from which a map counts as a particle that is found.
        detector: its light; for the release only what energies are measured with.
        refinement: how `--refine` fits particles to images.
    """

    events: EventCounts = EventCounts()  # type: ignore[assignment]
    order: Literal["energy", "any"] = "energy"
    release: str | None = None
    energies: tuple[float, float] = (1.0, 60.0)
    least_charge: float = Field(50.0, gt=0, le=1e9)
    detector: Detector = Detector()
    refinement: RefinementOptions = RefinementOptions()

    @field_validator("energies")
    @classmethod
    def _bounds(cls, energies: tuple[float, float]) -> tuple[float, float]:
        if not 0 < energies[0] < energies[1] <= HIGHEST:
            raise ValueError(f"expected two rising energies above 0 and up to {HIGHEST:g} MeV")
        return energies
