"""What a real camera adds to or takes from an image beside noise, each off by default.

Brightness and rates differ from run to run and are not published: measure those of your own frames.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.migdal.detector import Array, Detector
from oasis.adapters.options import Rising
from oasis.options import Options

Probability = Annotated[float, Field(ge=0, le=1)]
Light = Annotated[float, Field(ge=0, le=1e9)]  # ADU


class Artefacts(Options):
    """The section `data.artefacts`.

    Attributes:
        pile_up: the probability of a second nuclear recoil in the window, which belongs to the map of nuclear
            recoils.
        afterglow: the probability that a nuclear recoil of the frame before still glows.
        afterglow_share: the share of its light that remains.
        shutter_cut: the probability that the rolling shutter hides the rows above or below a row within the
            tracks, in the image and in the maps.
        sparks: the probability of a round spot of light that belongs to no class.
        spark_adu: the light of a spark.
        spark_mm: the sigma of a spark.
        hot_pixels: the mean number of bright pixels in a window, which smoothing widens.
        hot_adu: the light of a hot pixel.
        column_adu: the sigma of an offset per column that is left after the dark frame was subtracted, before
            smoothing.
        saturation: the light at which a pixel is full; None for no limit. The maps are not limited.

    Example:
        >>> Artefacts(pile_up=0.1).pile_up
        0.1
    """

    pile_up: Probability = 0.0
    afterglow: Probability = 0.0
    afterglow_share: Probability = 0.02
    shutter_cut: Probability = 0.0
    sparks: Probability = 0.0
    spark_adu: Annotated[tuple[Light, Light], Rising] = (20_000.0, 200_000.0)
    spark_mm: float = Field(1.0, gt=0, le=1000)
    hot_pixels: float = Field(0.0, ge=0, le=10_000)
    hot_adu: Annotated[tuple[Light, Light], Rising] = (100.0, 1000.0)
    column_adu: Light = 0.0
    saturation: float | None = Field(None, gt=0, le=1e9)

    def visible_rows(self, rows: tuple[int, int], height: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which of `height` rows the shutter leaves; it cuts within `rows`, the first and the last."""
        seen = np.ones(height, bool)
        low, high = max(rows[0], 0), min(rows[1], height)
        if low + 1 < high and happens(self.shutter_cut, rng):
            cut, hidden_above = int(rng.integers(low + 1, high)), rng.random() < 0.5
            seen[:cut] = not hidden_above
            seen[cut:] = hidden_above
        return seen

    def background(self, shape: tuple[int, int], detector: Detector, rng: np.random.Generator) -> Array:
        """Return the light of sparks and hot pixels and the offsets of columns (H, W), ADU."""
        light, sharp = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        if happens(self.sparks, rng):
            light += _spot(shape, self.spark_mm / detector.pixel_mm, rng) * np.float32(
                rng.uniform(*self.spark_adu)
            )
        if self.hot_pixels:
            count = rng.poisson(self.hot_pixels)
            places = tuple(rng.integers(0, side, count) for side in shape)
            np.add.at(sharp, places, rng.uniform(*self.hot_adu, count).astype(np.float32))
        if self.column_adu:
            sharp += np.float32(self.column_adu) * rng.standard_normal(shape[1], np.float32)
        return light + detector.smooth(sharp) if sharp.any() else light

    def saturate(self, image: Array) -> Array:
        """Return an image whose full pixels are cut off."""
        return image if self.saturation is None else np.minimum(image, np.float32(self.saturation))


def happens(probability: float, rng: np.random.Generator) -> bool:
    """Return whether something of a probability happens; nothing is drawn for what never does."""
    return probability > 0 and bool(rng.random() < probability)


def _spot(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Array:
    """Return a Gaussian of sum 1 at a random place."""
    rows, cols = (np.exp(-0.5 * ((np.arange(side) - rng.uniform(0, side)) / sigma) ** 2) for side in shape)
    spot = np.outer(rows, cols)
    return np.asarray(spot / spot.sum(), np.float32)
