"""The options of the neutrino adapters: the section `data`."""

from typing import Literal

from pydantic import Field, field_validator

from oasis.adapters.neutrino.fit_options import RefinementOptions
from oasis.adapters.neutrino.physics import HIGHEST
from oasis.adapters.neutrino.simulation import Detector
from oasis.adapters.options import MOST, DataOptions
from oasis.options import Options


class EventCounts(Options):
    """Number of samples of each split; by default all of the release, or 20,000, 1,000 and 4,000 simulated ones.

    Attributes:
        train: training samples, new ones in every epoch.
        val: validation samples, the same ones in every epoch.
        test: held-out samples.
    """

    train: int | None = Field(None, ge=1, le=MOST)
    val: int | None = Field(None, ge=1, le=MOST)
    test: int | None = Field(None, ge=1, le=MOST)


class NeutrinoOptions(DataOptions):
    """The section `data` of a run on neutrino vertices.

    Attributes:
        events: samples per split.
        order: the order of the protons' maps: by decreasing `energy`, or `any`, with interchangeable protons.
        release: the folder of the public data set, used instead of the simulation.
        files: an HDF5 file of samples by split, used instead of both.
        energies: the energies of simulated nuclei, MeV.
        least_charge: charge from which a map counts as a detected particle, p.e.
        detector: the response of the detector; with the release only used to measure energies.
        refinement: options of the fit with `--refine`.
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
            raise ValueError(f"expected two increasing energies above 0 and up to {HIGHEST:g} MeV")
        return energies
