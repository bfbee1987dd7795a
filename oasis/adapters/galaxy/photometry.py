"""Photometry of predicted galaxies compared with the true ones: flux, colour, position, shape and blendedness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from oasis.adapters.galaxy.stamps import half_light_radius, reference_band
from oasis.data.samples import Scalar
from oasis.errors import DataError, import_extra
from oasis.stats.bins import bins_of
from oasis.stats.intervals import bootstrap, group_column, rate

Floats = NDArray[np.float64]

DETECTION_SIGMA = 5.0  # from this signal-to-noise on an object counts as detected
CATASTROPHIC_MAG = 0.75  # a factor of 2 in flux
APERTURE_ARCSEC = 2.0  # radius
SSIM_PIXELS = 7  # side of the window, scikit-image's default
MAD_TO_SIGMA = 1.4826  # of a normal distribution
EDGES = (0.0, 0.05, 0.2, 0.5, 0.9)  # of blendedness
TOLERANCE = 1e-4  # relative change of the moments below which they have converged
ITERATIONS = 50  # at most

COLUMNS = {
    "flux_<band>_true": "sum of the true map, nmgy",
    "flux_<band>_predicted": "sum of the predicted map, nmgy",
    "flux_<band>_error": "(predicted - true) / true flux x 100, %; NaN without true flux",
    "magnitude_<band>_error": "predicted - true, mag; NaN without true flux or where `magnitude_<band>_failed`",
    "magnitude_<band>_failed": "1 where there is true flux and the predicted one is not positive, else 0",
    "colour_<blue>_<red>_error": "predicted - true colour of neighbouring bands, mag; NaN with either magnitude",
    "aperture_<band>_true": f"flux within {APERTURE_ARCSEC:g} arcsec of the true centroid, nmgy",
    "aperture_<band>_predicted": "the same for the predicted map, at the same position",
    "aperture_<band>_error": "their difference in % of the true one",
    "catastrophic": f"1 where the magnitude is off by more than {CATASTROPHIC_MAG} or has failed, or the object "
    "is missed, else 0; NaN without true flux",
    "snr": "signal-to-noise of the true map, all bands: sqrt(sum (g / sigma)^2); NaN without an object",
    "missed": f"1 where the predicted map, filtered by the true one, stays below {DETECTION_SIGMA:g} sigma, else "
    "0; NaN where there is no object or its own `snr` stays below",
    "invented": f"1 where there is no object and the predicted footprint has an snr from {DETECTION_SIGMA:g} on, "
    "else 0; NaN if there is one",
    "blendedness": "1 - sum(g^2) / sum(g x blend) of the true maps: 0 alone, towards 1 under a brighter one",
    "separation": "to the nearest other galaxy, in units of the sum of both r50; NaN if there is none",
    "magnitude_difference": "magnitude of the object minus that of the brightest other map",
    "r50": "radius around the true centroid that contains half of the true flux, arcsec, including the PSF",
    "footprint": "pixels in which the true map has a signal-to-noise of 1 or more, in quadrature over bands",
    "overlap_<k>_true": "true flux in its footprint where exactly k objects are present, itself included, nmgy",
    "overlap_<k>_error": "flux error within these pixels, %",
    "ssim": f"structural similarity (window of {SSIM_PIXELS} pixels) averaged in the footprint; the data range is "
    "the peak of the true map",
    "psnr": "peak of the true map over the root mean square error in the footprint, dB",
    "cosine": "cosine between predicted and true map",
    "centroid_offset": "distance between the adaptive centroids of predicted and true map, arcsec",
    "size_true": "det(covariance)^(1/4) of the adaptive moments of the true map, arcsec, including the PSF",
    "size_error": "(predicted - true) / true size x 100, %",
    "ellipticity_true": "|e| of the true map, e = (xx - yy, 2 xy) / (xx + yy) of the adaptive moments",
    "e1_error": "predicted - true e1; x runs along columns",
    "e2_error": "predicted - true e2",
    "shape_failed": "1 where the moments of the predicted or the true map do not converge, else 0",
    "conservation_error": "(sum of predicted maps - image) / image x 100 in the footprints of all objects, %; one "
    "value per event",
    "residual_chi2": "mean of ((image - sum of predicted maps) / sigma)^2 over valid pixels and bands, near 1 if "
    "the maps describe the image; one value per event",
}
"""What `object_columns` returns; quantities without a band are those of the reference band, `snr` and `footprint`
of all bands. Those of single galaxies (aperture, r50, separation, shape) are NaN for a map of several galaxies."""


def noise_of(meta: Mapping[str, Scalar], bands: Sequence[str]) -> Floats:
    """Return the noise per pixel of each band (B,) in nmgy, from a sample's `noise_<band>`.

    Raises:
        DataError: the sample does not state it, or a value is 0 or negative.
    """
    noise = np.array([meta.get(f"noise_{band}", np.nan) for band in bands], dtype=float)
    if not (noise > 0).all():
        raise DataError(
            f"sample {meta.get('id', '')}: noise {noise.tolist()} in the bands {list(bands)}: expected the "
            "positive noise of a pixel in nmgy as noise_<band> in the sample's meta"
        )
    return noise


@dataclass(frozen=True)
class _Event:
    """An event in float64, with 0 in invalid pixels; units and axes as for `object_columns`."""

    predicted: Floats
    true: Floats
    noise: Floats
    bands: Sequence[str]
    pixel_scale: float
    single: NDArray[np.bool_]

    @property
    def reference(self) -> int:
        return reference_band(self.bands)

    @cached_property
    def sigma(self) -> Floats:
        """(B, 1, 1)."""
        return self.noise[:, None, None]

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """(N,) whether the true map contains an object."""
        return np.asarray((self.true > 0).any(axis=(1, 2, 3)))

    @cached_property
    def footprint(self) -> NDArray[np.bool_]:
        """(N, H, W)."""
        return _footprint(self.true, self.sigma)

    @cached_property
    def centroid(self) -> Floats:
        """(N, 2) row and column of the true map, weighted by flux; NaN where it is empty."""
        light = self.true[:, self.reference]
        rows, columns = (np.arange(length) for length in light.shape[1:])
        first = np.stack([light.sum(axis=2) @ rows, light.sum(axis=1) @ columns], axis=1)
        return _ratio(first, light.sum(axis=(1, 2))[:, None])

    @cached_property
    def radius(self) -> Floats:
        """(N, H, W) distance of every pixel from the true centroid, pixels."""
        rows, columns = np.ogrid[: self.true.shape[2], : self.true.shape[3]]
        row, column = self.centroid.T[:, :, None, None]
        return np.asarray(np.hypot(rows - row, columns - column))


def object_columns(
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    noise: ArrayLike,
    bands: Sequence[str],
    pixel_scale: float,
    image: NDArray[np.floating] | None = None,
    valid: NDArray[np.bool_] | None = None,
    single: bool | Sequence[bool] = True,
) -> list[dict[str, float]]:
    """Return the columns `COLUMNS` of one event, one mapping per class.

    Args:
        predicted: (N, B, H, W) nmgy per pixel.
        true: (N, B, H, W) nmgy per pixel, free of noise.
        noise: (B,) standard deviation of a pixel of sky, nmgy.
        bands: names of the B bands, blue to red.
        pixel_scale: arcsec.
        image: (B, H, W) the blend as observed; the columns `conservation_error` and `residual_chi2` need it.
        valid: (1, H, W) or (H, W), pixels that count; all if None.
        single: whether a map contains one galaxy at most, for all maps or for each.

    Example:
        >>> rows, columns = np.mgrid[:32, :32]
        >>> galaxy = np.exp(-((rows - 16) ** 2 + (columns - 16) ** 2) / (2 * 3.0**2))[None, None]
        >>> (row,) = object_columns(0.9 * galaxy, galaxy, [0.01], ["r"], pixel_scale=0.262)
        >>> [round(row[name], 3) for name in ("flux_r_error", "magnitude_r_error", "size_true", "cosine")]
        [-10.0, 0.114, 0.786, 1.0]
    """
    counted = np.ones(true.shape[2:], bool) if valid is None else np.reshape(valid, true.shape[2:])
    event = _Event(
        np.where(counted, predicted, 0).astype(float),
        np.where(counted, true, 0).astype(float),
        np.asarray(noise, dtype=float),
        bands,
        pixel_scale,
        np.broadcast_to(single, len(true)),
    )
    columns = _detection_columns(event)
    true_flux, flux = (maps.sum(axis=(2, 3)) for maps in (event.true, event.predicted))
    columns |= flux_columns(true_flux, flux, columns["missed"], bands)
    columns |= _aperture_columns(event) | _truth_columns(event) | _overlap_columns(event)
    columns |= _pixel_columns(event) | _shape_columns(event)
    if image is not None:
        columns |= _blend_columns(event, np.asarray(image, dtype=float), counted)
    return [{name: float(values[k]) for name, values in columns.items()} for k in range(len(true))]


def flux_columns(true: Floats, predicted: Floats, missed: Floats, bands: Sequence[str]) -> dict[str, Floats]:
    """Return the columns that follow from fluxes alone, (n,) each: flux, magnitude, colour and `catastrophic`.

    Args:
        true: (n, B) nmgy.
        predicted: (n, B) nmgy.
        missed: (n,) 1 for objects that were not found, NaN for objects too faint to be detected.
        bands: names of the B bands.
    """
    columns: dict[str, Floats] = {}
    ratios = _ratio(predicted, true)
    magnitudes = _magnitude(ratios)
    for at, band in enumerate(bands):
        columns[f"flux_{band}_true"] = true[:, at]
        columns[f"flux_{band}_predicted"] = predicted[:, at]
        columns[f"flux_{band}_error"] = _percent(predicted[:, at], true[:, at])
        columns[f"magnitude_{band}_error"] = magnitudes[:, at]
        columns[f"magnitude_{band}_failed"] = (ratios[:, at] <= 0).astype(float)
    for at, (blue, red) in enumerate(pairwise(bands)):
        columns[f"colour_{blue}_{red}_error"] = magnitudes[:, at] - magnitudes[:, at + 1]
    reference = bands[reference_band(bands)]
    known = np.isfinite(columns[f"flux_{reference}_error"])
    off = np.abs(columns[f"magnitude_{reference}_error"]) > CATASTROPHIC_MAG
    off |= (columns[f"magnitude_{reference}_failed"] == 1) | (missed == 1)
    return columns | {"catastrophic": np.where(known, off, np.nan)}


def _detection_columns(event: _Event) -> dict[str, Floats]:
    def filtered(maps: Floats) -> Floats:
        return np.asarray((maps * event.true / event.sigma**2).sum(axis=(1, 2, 3)))

    snr = np.sqrt(filtered(event.true))
    found = _ratio(filtered(event.predicted), snr) >= DETECTION_SIGMA
    light = np.where(_footprint(event.predicted, event.sigma)[:, None], event.predicted / event.sigma, 0)
    appears = np.sqrt((light**2).sum(axis=(1, 2, 3))) >= DETECTION_SIGMA
    return {
        "snr": np.where(event.present, snr, np.nan),
        "missed": np.where(snr >= DETECTION_SIGMA, ~found, np.nan),
        "invented": np.where(event.present, np.nan, appears),
    }


def _aperture_columns(event: _Event) -> dict[str, Floats]:
    edge = APERTURE_ARCSEC / event.pixel_scale + 0.5
    weight = np.clip(edge - event.radius, 0, 1)  # fraction of a pixel inside a circle, to first order
    true, predicted = (np.einsum("nbhw,nhw->nb", maps, weight) for maps in (event.true, event.predicted))
    columns: dict[str, Floats] = {}
    for at, band in enumerate(event.bands):
        values = {
            "true": true[:, at],
            "predicted": predicted[:, at],
            "error": _percent(predicted[:, at], true[:, at]),
        }
        columns |= {f"aperture_{band}_{name}": np.where(event.single, one, np.nan) for name, one in values.items()}
    return columns


def _truth_columns(event: _Event) -> dict[str, Floats]:
    light = event.true[:, event.reference]
    flux = light.sum(axis=(1, 2))
    others = np.where(np.eye(len(flux), dtype=bool), 0, flux).max(axis=1)
    blended = 1 - _ratio((light**2).sum(axis=(1, 2)), (light * light.sum(axis=0)).sum(axis=(1, 2)))
    r50 = np.where(event.single, half_light_radius(light, event.pixel_scale), np.nan)
    distance = np.linalg.norm(event.centroid[:, None] - event.centroid, axis=2) * event.pixel_scale
    distance /= r50[:, None] + r50
    nearest = np.where(np.eye(len(flux), dtype=bool) | np.isnan(distance), np.inf, distance).min(axis=1)
    return {
        "blendedness": np.maximum(blended, 0),
        "separation": np.where(np.isfinite(nearest), nearest, np.nan),
        "magnitude_difference": _magnitude(_ratio(flux, others)),
        "r50": r50,
        "footprint": event.footprint.sum(axis=(1, 2)).astype(float),
    }


def _overlap_columns(event: _Event) -> dict[str, Floats]:
    true, predicted = event.true[:, event.reference], event.predicted[:, event.reference]
    objects = event.footprint.sum(axis=0)
    columns = {}
    for count in range(1, len(true) + 1):
        where = event.footprint & (objects == count)
        of_true, of_predicted = (np.where(where, maps, 0).sum(axis=(1, 2)) for maps in (true, predicted))
        columns[f"overlap_{count}_true"] = of_true
        columns[f"overlap_{count}_error"] = _percent(of_predicted, of_true)
    return columns


def _pixel_columns(event: _Event) -> dict[str, Floats]:
    metrics = import_extra("skimage.metrics", extra="galaxy")
    peak = event.true[:, event.reference].max(axis=(1, 2))[:, None, None]
    true, predicted = (_ratio(maps[:, event.reference], peak) for maps in (event.true, event.predicted))
    _, similar = metrics.structural_similarity(
        true, predicted, win_size=SSIM_PIXELS, data_range=1, channel_axis=0, full=True
    )
    pixels = event.footprint.sum(axis=(1, 2))
    error = _ratio(np.where(event.footprint, (predicted - true) ** 2, 0).sum(axis=(1, 2)), pixels)
    product, *squares = (
        np.einsum("nhw,nhw->n", one, other)
        for one, other in ((true, predicted), (true, true), (predicted, predicted))
    )
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(error)
    return {
        "ssim": _ratio(np.where(event.footprint, similar, 0).sum(axis=(1, 2)), pixels),
        "psnr": psnr,
        "cosine": _ratio(product, np.sqrt(squares[0] * squares[1])),
    }


def _shape_columns(event: _Event) -> dict[str, Floats]:
    true, predicted = (adaptive_moments(maps[:, event.reference]) for maps in (event.true, event.predicted))
    e_true, e_predicted = true.ellipticity, predicted.ellipticity
    offset = np.linalg.norm(predicted.centroid - true.centroid, axis=1)
    columns = {
        "centroid_offset": offset * event.pixel_scale,
        "size_true": true.size * event.pixel_scale,
        "size_error": _percent(predicted.size, true.size),
        "ellipticity_true": np.linalg.norm(e_true, axis=1),
        "e1_error": e_predicted[:, 0] - e_true[:, 0],
        "e2_error": e_predicted[:, 1] - e_true[:, 1],
        "shape_failed": np.isnan(offset).astype(float),
    }
    asked = event.present & event.single
    return {name: np.where(asked, values, np.nan) for name, values in columns.items()}


def _blend_columns(event: _Event, image: Floats, counted: NDArray[np.bool_]) -> dict[str, Floats]:
    total = event.predicted.sum(axis=0)
    where = event.footprint.any(axis=0)
    of_image, of_total = (maps[event.reference][where].sum() for maps in (image, total))
    chi = ((image - total) / event.sigma)[:, counted]
    values = {
        "conservation_error": _percent(of_total, of_image),
        "residual_chi2": np.mean(chi**2),
    }
    return {name: np.full(len(event.true), value) for name, value in values.items()}


class Moments(NamedTuple):
    """Adaptive moments of n maps; NaN where they do not converge.

    Attributes:
        centroid: (n, 2) x (along columns) and y, pixels.
        covariance: (n, 3) xx, xy and yy, pixels squared.
    """

    centroid: Floats
    covariance: Floats

    @property
    def size(self) -> Floats:
        """Return det(covariance)^(1/4), pixels: the standard deviation of a round Gaussian."""
        return np.asarray(_determinant(self.covariance) ** 0.25)

    @property
    def ellipticity(self) -> Floats:
        """Return (xx - yy, 2 xy) / (xx + yy), (n, 2)."""
        xx, xy, yy = self.covariance.T
        return np.asarray(np.stack([xx - yy, 2 * xy], axis=1) / (xx + yy)[:, None])


def adaptive_moments(maps: NDArray[np.floating]) -> Moments:
    r"""Return centroid and covariance of maps, weighted by the elliptical Gaussian that fits each of them best.

    The weight `w` has the centroid and the covariance `C` at which

    .. math:: \langle x \rangle_w = x_0, \qquad \langle (x - x_0)(x - x_0)^T \rangle_w = C / 2,

    so that noise and distant neighbours hardly contribute (Bernstein and Jarvis 2002, AJ 123, 583; Hirata and
    Seljak 2003, MNRAS 343, 459). Each step treats the map as a Gaussian and divides the product by the weight.

    Args:
        maps: (n, H, W).

    Example:
        >>> y, x = np.mgrid[:64, :64]
        >>> moments = adaptive_moments(np.exp(-((x - 30) ** 2 / 2 / 4.0**2 + (y - 33) ** 2 / 2 / 2.0**2))[None])
        >>> moments.centroid.round(3), moments.size.round(3), moments.ellipticity[:, 0].round(3)
        (array([[30., 33.]]), array([2.828]), array([0.6]))
    """
    light = maps.reshape(len(maps), -1).astype(float)
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[: maps.shape[1], : maps.shape[2]])
    powers = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    centroid, covariance = np.full((len(maps), 2), np.nan), np.full((len(maps), 3), np.nan)
    todo = np.flatnonzero(light.max(axis=1) > 0)
    at, spread = _first_guess(light[todo], powers)
    for _ in range(ITERATIONS):
        if not len(todo):
            break
        new_at, new_spread = _next_moments(light[todo], powers, at, spread)
        area = spread[:, 0] + spread[:, 2]
        change = np.abs(new_spread - spread).max(axis=1) / area
        change = np.maximum(change, np.abs(new_at - at).max(axis=1) / np.sqrt(area))
        settled, going = change < TOLERANCE, change >= TOLERANCE  # neither where they are lost
        centroid[todo[settled]], covariance[todo[settled]] = new_at[settled], new_spread[settled]
        todo, at, spread = todo[going], new_at[going], new_spread[going]
    return Moments(centroid, covariance)


def _first_guess(light: Floats, powers: Floats) -> tuple[Floats, Floats]:
    """Return the brightest pixel, and a round Gaussian as wide as the region above half of its value."""
    pixels = (light > light.max(axis=1, keepdims=True) / 2).sum(axis=1)
    variance = pixels / (2 * np.pi * np.log(2))  # of the Gaussian whose half maximum encloses as many
    return powers[1:3, light.argmax(axis=1)].T, variance[:, None] * [1, 0, 1]


def _next_moments(light: Floats, powers: Floats, at: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Return centroid and covariance, assuming a Gaussian map; NaN where no such Gaussian lies in the image."""
    weight = _inverse(spread)
    pull = _times(weight, at)
    exponent = np.column_stack([(pull * at).sum(axis=1) / -2, pull, weight * [-0.5, -1, -0.5]])
    sums = (light * np.exp(exponent @ powers)) @ powers.T
    _, x, y, *squares = _ratio(sums, sums[:, :1]).T
    mean, product = np.stack([x, y], axis=1), np.stack(squares, axis=1) - np.stack([x * x, x * y, y * y], axis=1)
    sharper = _inverse(product)
    # A map that falls more slowly than any Gaussian widens the weight instead.
    inverse = sharper - weight
    gaussian = (_determinant(inverse) > 0) & (inverse[:, 0] > 0)
    new = np.where(gaussian[:, None], _inverse(inverse), 2 * product)
    new_at = np.where(gaussian[:, None], _times(new, _times(sharper, mean) - pull), mean)
    last = powers[1:3].max(axis=1)
    fits = ((new_at >= 0) & (new_at <= last)).all(axis=1) & (new[:, 0] + new[:, 2] < last.max() ** 2)
    fits &= (_determinant(new) > 0) & (new[:, 0] > 0)
    return np.where(fits[:, None], new_at, np.nan), np.where(fits[:, None], new, np.nan)


def _determinant(symmetric: Floats) -> Floats:
    xx, xy, yy = symmetric.T
    return np.asarray(xx * yy - xy * xy)


def _inverse(symmetric: Floats) -> Floats:
    """Return the inverse of symmetric matrices (n, 3); NaN where they are not positive definite."""
    xx, xy, yy = symmetric.T
    return _ratio(np.stack([yy, -xy, xx], axis=1), _determinant(symmetric)[:, None])


def _times(symmetric: Floats, vector: Floats) -> Floats:
    (xx, xy, yy), (x, y) = symmetric.T, vector.T
    return np.stack([xx * x + xy * y, xy * x + yy * y], axis=1)


def _footprint(maps: Floats, sigma: Floats) -> NDArray[np.bool_]:
    return np.asarray(((np.maximum(maps, 0) / sigma) ** 2).sum(axis=1) >= 1)


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Divide; NaN where the denominator is 0 or negative."""
    below = np.asarray(denominator, dtype=float)
    return np.asarray(numerator / np.where(below > 0, below, np.nan))


def _magnitude(flux: Floats) -> Floats:
    """Return magnitudes; NaN where the flux is 0 or negative."""
    return -2.5 * np.log10(np.where(flux > 0, flux, np.nan))


def _percent(predicted: ArrayLike, true: ArrayLike) -> Floats:
    return 100 * (_ratio(predicted, true) - 1)


def with_fluxes(table: pd.DataFrame, fluxes: ArrayLike, bands: Sequence[str]) -> pd.DataFrame:
    """Return an event table with the fluxes of a catalogue instead of those summed from maps.

    All columns that depend on them are recomputed: errors, magnitudes, colours, `catastrophic`, `missed`,
    `intensity_predicted` and `delta_percent`. An object that is not in the catalogue has a flux of 0, so an error
    of -100 %.

    Args:
        table: with the columns of `object_columns`.
        fluxes: (rows, B) nmgy in the table's order, or (samples, N, B); NaN for objects that are not in it.
        bands: names of the B bands.
    """
    measured = np.asarray(fluxes, dtype=float).reshape(len(table), len(bands))
    true = table[[f"flux_{band}_true" for band in bands]].to_numpy(float)
    absent = np.isnan(measured).any(axis=1)
    missed = np.where(table["missed"].isna(), np.nan, absent)
    measured = np.where(absent[:, None], 0, measured)
    columns = flux_columns(true, measured, missed, bands) | {"missed": missed}
    if "intensity_true" in table:
        columns["intensity_predicted"] = measured.sum(axis=1)
        columns["delta_percent"] = _percent(measured.sum(axis=1), table["intensity_true"])
    return table.assign(**columns)


def flux_error_table(
    table: pd.DataFrame,
    by: str = "blendedness",
    edges: Sequence[float] = EDGES,
    band: str = "r",
    group: str | None = None,
) -> pd.DataFrame:
    """Return flux errors in bins of a quantity, with 95 % intervals.

    Every object with true flux counts, also one that was missed.

    Args:
        table: an event table, or the rows of one class.
        by: the column to bin by.
        edges: the edges of the bins.
        band: whose fluxes.
        group: the column that identifies the galaxy, if a galaxy can appear in several rows: whole groups are
            resampled.

    Returns:
        One row per bin and a last one for all objects: `low`, `high`, `objects`, `undetectable` (number of objects
        for which `missed` is undefined); the `median` of `flux_<band>_error`, its mean absolute value `mape` and
        `sigma_mad` = 1.4826 x median absolute deviation, all in %; the fractions `catastrophic` (in the reference
        band) and `missed`. Each also has `_low` and `_high`.
    """
    objects = table[table[f"flux_{band}_true"] > 0]
    bins = [(*one, one.contains(objects[by])) for one in bins_of(edges)]
    bins.append((-np.inf, np.inf, (objects["snr"] > 0).to_numpy()))
    return pd.DataFrame([_flux_row(objects[where], low, high, band, group) for low, high, where in bins])


def _flux_row(objects: pd.DataFrame, low: float, high: float, band: str, group: str | None) -> dict[str, float]:
    row = {"low": low, "high": high, "objects": len(objects), "undetectable": int(objects["missed"].isna().sum())}
    errors, groups = objects[f"flux_{band}_error"].to_numpy(float), group_column(objects, group)
    errors = np.where(np.isfinite(errors), errors, np.nan)
    estimates = {
        "median": bootstrap(errors, lambda one: np.nanmedian(one, axis=-1), groups=groups),
        "mape": bootstrap(np.abs(errors), lambda one: np.nanmean(one, axis=-1), groups=groups),
        "sigma_mad": bootstrap(errors, _sigma_mad, groups=groups),
    }
    for name in ("catastrophic", "missed"):
        known = objects[objects[name].notna()]
        estimates[name] = rate(known[name] == 1, group_column(known, group))
    for name, estimate in estimates.items():
        row |= estimate.columns(name)
    return row


def _sigma_mad(errors: Floats) -> Floats:
    centre = np.nanmedian(errors, axis=-1, keepdims=True)
    return MAD_TO_SIGMA * np.asarray(np.nanmedian(np.abs(errors - centre), axis=-1))
