"""Photometry of predicted galaxies compared with the true ones: flux, colour, position, shape and blendedness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oasis.adapters.galaxy import btk
from oasis.adapters.galaxy.arithmetic import magnitude_or_nan, percent, ratio
from oasis.adapters.galaxy.moments import adaptive_moments
from oasis.adapters.galaxy.singles import Singles, confused
from oasis.adapters.galaxy.stamps import half_light_radius, reference_band
from oasis.data.samples import Scalar
from oasis.errors import DataError, import_extra

Floats = NDArray[np.float64]

DETECTION_SIGMA = 5.0  # from this signal-to-noise on an object counts as detected
CATASTROPHIC_MAG = 0.75  # a factor of 2 in flux
APERTURE_ARCSEC = 2.0  # radius
SSIM_PIXELS = 7  # side of the window, scikit-image's default

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
    "confused": "1 where the predicted map, fitted as a sum of the true maps of all galaxies, has more light of "
    "another galaxy than of the object itself, else 0; NaN where single galaxies are unknown or there is none",
    "invented": f"1 where there is no object and the predicted footprint has an snr from {DETECTION_SIGMA:g} on, "
    "else 0; NaN if there is one",
    "blendedness": "1 - sum(g^2) / sum(g x blend) of the true maps: 0 alone, towards 1 under a brighter one",
    "blendedness_predicted": "the same for the predicted maps; NaN for an empty one",
    "separation": "to the nearest other galaxy, in units of the sum of both r50; NaN if there is none",
    "magnitude_difference": "magnitude of the object minus that of the brightest other map",
    "r50": "radius around the true centroid that contains half of the true flux, arcsec, including the PSF",
    "footprint": "pixels in which the true map has a signal-to-noise of 1 or more, in quadrature over bands",
    "overlap_<k>_true": "true flux in its footprint where exactly k objects are present, itself included, nmgy",
    "overlap_<k>_error": "flux error within these pixels, %",
    "ssim": f"structural similarity (window of {SSIM_PIXELS} pixels) averaged in the footprint; the data range is "
    "the peak of the true map",
    "psnr": "peak of the true map over the root mean square error in the footprint, dB",
    "btk_snr": "BTK's signal-to-noise, with the shot noise of the object: sqrt(sum g^2 / (g / gain + sigma^2))",
    "btk_mse": "BTK's MSE, which is a root mean square: of predicted - true over the whole map, nmgy",
    "btk_psnr": "BTK's PSNR over the whole map, each map divided by its own peak, so that flux does not count, dB",
    "btk_struct_sim": "BTK's SSIM over the whole map, each map divided by its own peak",
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
of all bands. `btk_*` are as the Blending ToolKit defines them (see `oasis.adapters.galaxy.btk`). Those of single
galaxies (aperture, r50, separation, shape) are NaN for a map of several galaxies."""


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
        return ratio(first, light.sum(axis=(1, 2))[:, None])

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
    galaxies: Singles | None = None,
    gain: ArrayLike = np.inf,
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
        galaxies: the true map of every galaxy, for the column `confused`.
        gain: electrons per nmgy, for all bands or for each (B,), for the column `btk_snr`.

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
    columns |= _pixel_columns(event) | _btk_columns(event, gain) | _shape_columns(event)
    columns["confused"] = np.full(len(true), np.nan)
    if galaxies is not None:
        counted_only = galaxies._replace(maps=np.where(counted, galaxies.maps, 0))
        columns["confused"] = np.where(
            event.single, confused(event.predicted, counted_only, event.reference), np.nan
        )
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
    ratios = ratio(predicted, true)
    magnitudes = magnitude_or_nan(ratios)
    for at, band in enumerate(bands):
        columns[f"flux_{band}_true"] = true[:, at]
        columns[f"flux_{band}_predicted"] = predicted[:, at]
        columns[f"flux_{band}_error"] = percent(predicted[:, at], true[:, at])
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
    found = ratio(filtered(event.predicted), snr) >= DETECTION_SIGMA
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
            "error": percent(predicted[:, at], true[:, at]),
        }
        columns |= {f"aperture_{band}_{name}": np.where(event.single, one, np.nan) for name, one in values.items()}
    return columns


def _truth_columns(event: _Event) -> dict[str, Floats]:
    light = event.true[:, event.reference]
    flux = light.sum(axis=(1, 2))
    others = np.where(np.eye(len(flux), dtype=bool), 0, flux).max(axis=1)
    r50 = np.where(event.single, half_light_radius(light, event.pixel_scale), np.nan)
    distance = np.linalg.norm(event.centroid[:, None] - event.centroid, axis=2) * event.pixel_scale
    distance /= r50[:, None] + r50
    nearest = np.where(np.eye(len(flux), dtype=bool) | np.isnan(distance), np.inf, distance).min(axis=1)
    return {
        "blendedness": _blendedness(light),
        "blendedness_predicted": _blendedness(event.predicted[:, event.reference]),
        "separation": np.where(np.isfinite(nearest), nearest, np.nan),
        "magnitude_difference": magnitude_or_nan(ratio(flux, others)),
        "r50": r50,
        "footprint": event.footprint.sum(axis=(1, 2)).astype(float),
    }


def _blendedness(light: Floats) -> Floats:
    """Return 1 - sum(g^2) / sum(g x blend) of maps (N, H, W), at least 0."""
    blended = 1 - ratio((light**2).sum(axis=(1, 2)), (light * light.sum(axis=0)).sum(axis=(1, 2)))
    return np.maximum(blended, 0)


def _overlap_columns(event: _Event) -> dict[str, Floats]:
    true, predicted = event.true[:, event.reference], event.predicted[:, event.reference]
    objects = event.footprint.sum(axis=0)
    columns = {}
    for count in range(1, len(true) + 1):
        where = event.footprint & (objects == count)
        of_true, of_predicted = (np.where(where, maps, 0).sum(axis=(1, 2)) for maps in (true, predicted))
        columns[f"overlap_{count}_true"] = of_true
        columns[f"overlap_{count}_error"] = percent(of_predicted, of_true)
    return columns


def _pixel_columns(event: _Event) -> dict[str, Floats]:
    metrics = import_extra("skimage.metrics", extra="galaxy")
    peak = event.true[:, event.reference].max(axis=(1, 2))[:, None, None]
    true, predicted = (ratio(maps[:, event.reference], peak) for maps in (event.true, event.predicted))
    _, similar = metrics.structural_similarity(
        true, predicted, win_size=SSIM_PIXELS, data_range=1, channel_axis=0, full=True
    )
    pixels = event.footprint.sum(axis=(1, 2))
    error = ratio(np.where(event.footprint, (predicted - true) ** 2, 0).sum(axis=(1, 2)), pixels)
    product, *squares = (
        np.einsum("nhw,nhw->n", one, other)
        for one, other in ((true, predicted), (true, true), (predicted, predicted))
    )
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(error)
    return {
        "ssim": ratio(np.where(event.footprint, similar, 0).sum(axis=(1, 2)), pixels),
        "psnr": psnr,
        "cosine": ratio(product, np.sqrt(squares[0] * squares[1])),
    }


def _btk_columns(event: _Event, gain: ArrayLike) -> dict[str, Floats]:
    at = event.reference
    true, predicted = event.true[:, at], event.predicted[:, at]
    electrons = np.broadcast_to(gain, len(event.bands))[at]
    values = {
        "btk_snr": btk.snr(true, event.noise[at] ** 2, electrons),
        "btk_mse": btk.mse(true, predicted),
        "btk_psnr": btk.psnr(true, predicted),
        "btk_struct_sim": btk.struct_sim(true, predicted),
    }
    return {name: np.where(event.present, each, np.nan) for name, each in values.items()}


def _shape_columns(event: _Event) -> dict[str, Floats]:
    true, predicted = (adaptive_moments(maps[:, event.reference]) for maps in (event.true, event.predicted))
    e_true, e_predicted = true.ellipticity, predicted.ellipticity
    offset = np.linalg.norm(predicted.centroid - true.centroid, axis=1)
    columns = {
        "centroid_offset": offset * event.pixel_scale,
        "size_true": true.size * event.pixel_scale,
        "size_error": percent(predicted.size, true.size),
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
        "conservation_error": percent(of_total, of_image),
        "residual_chi2": np.mean(chi**2),
    }
    return {name: np.full(len(event.true), value) for name, value in values.items()}


def _footprint(maps: Floats, sigma: Floats) -> NDArray[np.bool_]:
    return np.asarray(((np.maximum(maps, 0) / sigma) ** 2).sum(axis=1) >= 1)
