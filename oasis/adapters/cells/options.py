"""The section `data` of simulated cells."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from oasis.adapters.camera import Camera
from oasis.adapters.options import DataOptions, Rising, SplitCounts

Side = Annotated[int, Field(ge=32, le=4096)]
Pixels = Annotated[float, Field(gt=0, le=4096)]
Light = Annotated[float, Field(gt=0, le=1e6)]  # photoelectrons
Count = Annotated[int, Field(ge=0, le=1000)]


class CellsOptions(DataOptions):
    """The section `data` of simulated cells; lengths are in pixels of about 0.2 µm.

    Attributes:
        size: rows and columns of an image.
        events: samples per split.
        presence: the probability that a class is in an image.
        cells: range of the number of cells in an image.
        nucleus_radius: range of the mean radius of a nucleus.
        nucleus_peak: range of its light in the brightest pixel, before the chromatin's texture.
        texture: rms of the texture of the chromatin, relative to the light of the nucleus.
        vesicles: range of the number of vesicles of a cell.
        vesicle_light: range of the light of a vesicle, uniform in the logarithm.
        vesicle_width: range of the standard deviation of a vesicle, without the blur of the microscope.
        filaments: range of the number of filaments of a cell.
        filament_light: range of the light of a filament per pixel of its length, uniform in the logarithm.
        filament_length: range of the length of a filament.
        persistence: the length over which the direction of a filament is lost; twice it, of the mean cosine in 2D.
        spread: standard deviation of the places of vesicles and filaments around the centre of their cell.
        blur: standard deviation of the point-spread function of the microscope.
        background: range of the light between the cells, photoelectrons per pixel.
        camera: offset and gain of measured images, and the read noise of simulated ones.
    """

    size: tuple[Side, Side] = (128, 128)
    events: SplitCounts = SplitCounts(train=4000, val=300, test=1000)
    presence: float = Field(0.85, gt=0, le=1)
    cells: Annotated[tuple[Count, Count], Rising] = (1, 3)
    nucleus_radius: Annotated[tuple[Pixels, Pixels], Rising] = (16.0, 28.0)
    nucleus_peak: Annotated[tuple[Light, Light], Rising] = (15.0, 80.0)
    texture: float = Field(0.2, ge=0, le=1)
    vesicles: Annotated[tuple[Count, Count], Rising] = (5, 25)
    vesicle_light: Annotated[tuple[Light, Light], Rising] = (100.0, 1000.0)
    vesicle_width: Annotated[tuple[Pixels, Pixels], Rising] = (0.5, 1.5)
    filaments: Annotated[tuple[Count, Count], Rising] = (2, 7)
    filament_light: Annotated[tuple[Light, Light], Rising] = (20.0, 80.0)
    filament_length: Annotated[tuple[Pixels, Pixels], Rising] = (40.0, 120.0)
    persistence: Pixels = 60.0
    spread: Pixels = 20.0
    blur: Annotated[float, Field(gt=0, le=100)] = 1.0
    background: Annotated[tuple[Light, Light], Rising] = (2.0, 8.0)
    camera: Camera = Camera(read_noise=1.6)

    @model_validator(mode="after")
    def _has_cells(self) -> Self:
        if not self.cells[1] or not (self.vesicles[1] or self.filaments[1]):
            raise ValueError("cells, vesicles, filaments: expected some, found none")
        return self
