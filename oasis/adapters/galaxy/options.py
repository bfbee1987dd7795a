"""The options of the galaxy adapters: the section `data`."""

from typing import Literal

from pydantic import Field

from oasis.adapters.galaxy.convert import Conversion
from oasis.adapters.galaxy.cutout import Reading
from oasis.adapters.galaxy.detection import Detection
from oasis.adapters.galaxy.scene import BlendOptions
from oasis.adapters.galaxy.simulation import GalaxyOptions
from oasis.adapters.galaxy.surveys import BandOptions, SurveyName
from oasis.adapters.galaxy.varying import Varying
from oasis.adapters.options import DataOptions, SplitCounts
from oasis.options import Options


class LibraryOptions(Options):
    """The galaxies that blends are made of. Each belongs to one split alone.

    Attributes:
        simulated: how many are simulated.
        population: the distributions of their properties, and the grid on which they are drawn.
        files: libraries of stamps that `oasis convert --adapter galaxy` wrote, whose galaxies join the simulated
            ones; all of one pixel scale and one size of stamps.
        held_out: which of them validation and test blends are made of: `all`, or only those of `files`.
    """

    simulated: int = Field(2000, ge=0, le=10_000_000)
    population: GalaxyOptions = GalaxyOptions()
    files: tuple[str, ...] = ()
    held_out: Literal["all", "files"] = "all"


class GalaxyAdapterOptions(DataOptions):
    """The section `data` of a run on galaxies.

    Attributes:
        survey: whose bands, pixels, point-spread function and noise images have: `decals` (g, r, z), `dr10`
            (g, r, i, z), `hsc` (g, r, i, z, y), `rubin` (u, g, r, i, z, y), `euclid` (IE, YE, JE, HE) or `hst`
            (F814W of COSMOS); see `oasis.adapters.galaxy.surveys`.
        bands: the bands of images, of any number and in any order; by default those of the survey.
        band: facts by band that replace those of the survey, or of bands that it does not have.
        library: the galaxies.
        blend: how they are placed on one another and observed.
        varying: what differs from image to image, such as the seeing; by default nothing.
        events: blends per split.
        files: by split: an HDF5 file of samples, used instead of mixing.
        convert: how `oasis convert` makes a library of stamps from images.
        detection: how galaxies are found in larger images.
        reading: facts that the files read by `oasis predict` do not state, such as their pixel scale.
    """

    survey: SurveyName = "decals"
    bands: tuple[str, ...] = ()
    band: dict[str, BandOptions] = {}
    library: LibraryOptions = LibraryOptions()
    blend: BlendOptions = BlendOptions()
    varying: Varying = Varying()
    events: SplitCounts = SplitCounts(train=6000, val=500, test=2000)
    convert: Conversion = Conversion()
    reading: Reading = Reading()
    detection: Detection = Detection()
