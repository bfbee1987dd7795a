"""Fields: simulated images of the sky with galaxies at known places, as large as those of a survey."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.adapters.galaxy.scene import GalaxyScene
from oasis.adapters.galaxy.varying import Conditions
from oasis.data.mixing import Placed, add_up, keyed_rng
from oasis.data.samples import Array
from oasis.errors import ConfigError


class Field(NamedTuple):
    """A simulated image.

    Attributes:
        image: (B, size, size) nmgy per pixel.
        variance: (B, size, size) of its noise, nmgy^2.
        truth: a row for each galaxy: `galaxy` (its number in the library), `row` and `col` of its centroid,
            `flux_<band>` within the image (nmgy), `r50` (arcsec) and `blendedness` in the reference band.
        conditions: of the image, where they vary in the scene; else None.
    """

    image: Array
    variance: Array
    truth: pd.DataFrame
    conditions: Conditions | None = None


def simulate_field(
    scene: GalaxyScene,
    size: int,
    galaxies: int,
    slope: float = 0.3,
    close: float = 0.3,
    distances: tuple[float, float] = (4.0, 24.0),
    seed: int = 0,
) -> Field:
    """Draw galaxies of a scene at random places of an image, without stars.

    Args:
        scene: the galaxies, and the noise.
        size: rows and columns of the image, pixels.
        galaxies: how many.
        slope: numbers grow as 10^(slope x magnitude), if the library is flat.
        close: the fraction of galaxies that are placed near another one.
        distances: how near, least and most, pixels.
        seed: the seed of places and noise.

    Raises:
        ConfigError: no galaxies, or an image smaller than a pixel.
    """
    if galaxies < 1 or size < 1:
        raise ConfigError(f"a field of {galaxies} galaxies on {size} pixels: expected at least one of each")
    rng = keyed_rng(seed, "field", size)
    conditions = None if scene.draw is None else scene.draw(rng)
    weights = 10 ** (slope * (scene.magnitudes - scene.magnitudes[0]))
    numbers = scene.indices[rng.choice(len(scene.indices), galaxies, p=weights / weights.sum())]
    centres = _places(rng, galaxies, size, close, distances)
    stamps = [scene.stamp("", number, centre, rng) for number, centre in zip(numbers, centres, strict=True)]
    stamps = stamps if conditions is None else scene.seen(stamps, conditions)
    sky, gain = (scene.sky, scene.gain) if conditions is None else (conditions.sky, conditions.gain)
    bands = len(scene.stamps.bands)
    light = add_up(stamps, [""], (bands, size, size))[0]
    variance = sky[:, None, None] ** 2 + light / gain[:, None, None]
    image = light + np.sqrt(variance) * rng.standard_normal(light.shape, np.float32)
    if conditions is not None:
        image += conditions.plane(image.shape)
    rows = [_row(scene, light, stamp) for stamp in stamps]
    return Field(image.astype(np.float32), variance.astype(np.float32), pd.DataFrame(rows), conditions)


def _places(
    rng: np.random.Generator, count: int, size: int, close: float, distances: tuple[float, float]
) -> NDArray[np.intp]:
    """Return the pixels (n, 2) on which galaxies are centred: uniform, or near one that is."""
    near = round(close * count) if count > 1 else 0
    first = rng.integers(0, size, (count - near, 2))
    host = first[rng.integers(0, len(first), near)]
    radius, angle = rng.uniform(*distances, near), rng.uniform(0, 2 * np.pi, near)
    second = host + np.rint(radius * np.array([np.sin(angle), np.cos(angle)])).astype(int).T
    return np.concatenate([first, np.clip(second, 0, size - 1)])


def _row(scene: GalaxyScene, light: Array, stamp: Placed) -> dict[str, float]:
    """Return the truth of a galaxy in the image, of its stamp as far as it lies inside."""
    start = np.array(stamp.origin)
    low = np.maximum(start, 0)
    high = np.minimum(start + stamp.values.shape[1:], light.shape[1:])
    within = tuple(map(slice, (low - start).tolist(), (high - start).tolist()))
    own = stamp.values[:, *within].astype(np.float64)
    inside = tuple(map(slice, low.tolist(), high.tolist()))
    both = light[scene.reference][inside]
    mine = own[scene.reference]
    at = np.array([(mine.sum(axis=1) @ np.arange(low[0], high[0])), mine.sum(axis=0) @ np.arange(low[1], high[1])])
    row, col = at / mine.sum()
    fluxes = {f"flux_{band}": float(one.sum()) for band, one in zip(scene.stamps.bands, own, strict=True)}
    return {
        "galaxy": stamp.meta["galaxy"],
        "row": float(row),
        "col": float(col),
        **fluxes,
        "r50": float(stamp.meta["r50"]),
        "blendedness": float(1 - (mine**2).sum() / (mine * both).sum()),
    }
