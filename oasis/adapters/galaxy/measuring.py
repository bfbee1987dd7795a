"""Measuring: the rows of a catalogue for galaxies that were separated one by one, without truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.stamps import half_light_radius, reference_band
from oasis.adapters.sources import Column, Sources

Floats = NDArray[np.float64]

MASKED: Final = 0.01  # of the light of a galaxy on bad pixels, from which on it is flagged
WIDER: Final = 0.1  # relative difference of the point-spread function from that in training
NOISIER: Final = 1.5  # ratio of the noise to that in training, or its inverse
POGSON: Final = 2.5 / np.log(10)


@dataclass(frozen=True)
class Training:
    """What the model was trained on, to which images are compared.

    Attributes:
        bands: the B bands, blue to red.
        pixel_scale: arcsec.
        noise: (B,) of a pixel of sky, nmgy.
        psf_fwhm: (B,) arcsec, NaN where unknown.
        gain: (B,) electrons per nmgy, infinite without shot noise.
        magnitudes: of the brightest and the faintest galaxy in the reference band.
        seeing: (2, B) least and largest factor of `psf_fwhm` that images had.
        depth: (2, B) least and largest factor of `noise`.
    """

    bands: Sequence[str]
    pixel_scale: float
    noise: Floats
    psf_fwhm: Floats
    gain: Floats
    magnitudes: tuple[float, float]
    seeing: Floats | float = 1.0
    depth: Floats | float = 1.0


def catalogue_columns(sources: Sources, training: Training) -> dict[str, Column]:
    """Return flux, magnitude and colour per band with errors, sizes, blendedness and flags.

    The error of a flux is that of an unweighted fit of the map as a profile of fixed shape to the image,
    sqrt(sum(p^2 v)) / sum(p^2), with p the share of the map in a pixel and v the variance of the noise there, as
    the file states it, else of the measured sky and the photons of all galaxies. It contains the noise, and not
    the error that the network makes in dividing light between galaxies.
    """
    reference = reference_band(training.bands)
    flux = sources.maps.sum(axis=(2, 3), dtype=np.float64)
    error = _flux_errors(sources, training)
    columns: dict[str, Column] = {}
    for at, band in enumerate(training.bands):
        columns[f"flux_{band}"] = Column(flux[:, at], "nmgy", f"sum of the map in {band}")
        columns[f"flux_{band}_error"] = Column(error[:, at], "nmgy", "its noise, for the shape of the map")
    magnitudes, spread = _magnitudes(flux, error)
    for at, band in enumerate(training.bands):
        columns[f"magnitude_{band}"] = Column(magnitudes[:, at], "mag", f"AB magnitude in {band}")
        columns[f"magnitude_{band}_error"] = Column(spread[:, at], "mag", "by the error of the flux")
    for (blue, one), (red, other) in pairwise(enumerate(training.bands)):
        colour = magnitudes[:, blue] - magnitudes[:, red]
        columns[f"colour_{one}_{other}"] = Column(colour, "mag", f"AB magnitude in {one} minus that in {other}")
        columns[f"colour_{one}_{other}_error"] = Column(
            np.hypot(spread[:, blue], spread[:, red]), "mag", "its error"
        )
    radius = half_light_radius(sources.maps[:, reference], _pixel_scale(sources, training))
    columns["r50"] = Column(radius, "arcsec", "radius that contains half of the map's light, with the PSF")
    columns["blendedness"] = Column(_blendedness(sources, reference), "", "1 - sum(g^2) / sum(g x all maps)")
    return columns | _flags(sources, training, magnitudes[:, reference], reference)


def _flux_errors(sources: Sources, training: Training) -> Floats:
    noise = np.where(np.isfinite(sources.noise), sources.noise, training.noise)[None, :, None, None]
    photons = np.maximum(sources.maps + sources.rest, 0) / training.gain[:, None, None]
    variance = noise**2 + photons
    if sources.deviation is not None:
        variance = np.where(sources.deviation > 0, sources.deviation.astype(np.float64) ** 2, variance)
    total = sources.maps.sum(axis=(2, 3), keepdims=True, dtype=np.float64)
    profile = np.where(sources.inside, sources.maps / np.where(total > 0, total, np.nan), 0)
    power = (profile**2).sum(axis=(2, 3))
    return np.asarray(np.sqrt((profile**2 * variance).sum(axis=(2, 3))) / power)


def _magnitudes(flux: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return magnitudes and their errors, NaN without flux."""
    positive = np.where(flux > 0, flux, np.nan)
    return survey.magnitude(positive), POGSON * error / positive


def _blendedness(sources: Sources, reference: int) -> Floats:
    """Return 1 - sum(g^2) / sum(g x blend) in a band, as in the Blending ToolKit (arXiv:2409.06986)."""
    own = sources.maps[:, reference].astype(np.float64)
    both = (own * (own + sources.rest[:, reference])).sum(axis=(1, 2))
    return np.asarray(1 - (own**2).sum(axis=(1, 2)) / np.where(both > 0, both, np.nan))


def _flags(sources: Sources, training: Training, magnitudes: Floats, reference: int) -> dict[str, Column]:
    light = sources.maps[:, reference]
    total = np.maximum(light.sum(axis=(1, 2), dtype=np.float64), np.finfo(float).tiny)
    bad = (sources.inside & ~sources.good)[:, 0]
    share = np.asarray((light * bad).sum(axis=(1, 2)) / total)
    seen = light > training.noise[reference]
    saturated = sources.flags.get("saturated", np.zeros_like(sources.good))[:, 0]
    low, high = training.magnitudes
    outside = ~((magnitudes >= low) & (magnitudes <= high))
    count = len(sources)
    return {
        "masked_fraction": Column(share, "", "of the light of the map on bad pixels"),
        "flag_masked": Column(np.asarray(share > MASKED), "", f"masked_fraction above {MASKED:g}"),
        "flag_edge": Column(
            np.asarray(~sources.inside.all(axis=(1, 2, 3))), "", "the window reaches beyond the image"
        ),
        "flag_saturated": Column(
            np.asarray((saturated & seen).any(axis=(1, 2))), "", "saturated pixels in the galaxy"
        ),
        "flag_psf": Column(
            np.full(count, _differs_in_psf(sources.facts, training)),
            "",
            f"the PSF is known to differ by more than {WIDER:.0%} from those in training",
        ),
        "flag_noise": Column(
            np.full(count, _differs_in_noise(sources, training)),
            "",
            f"the noise differs by a factor of more than {NOISIER:g} from those in training",
        ),
        "flag_range": Column(np.asarray(outside), "", f"magnitude outside of {low:g} to {high:g}"),
    }


def _differs_in_psf(facts: Mapping[str, float], training: Training) -> bool:
    found = np.array([facts.get(f"psf_fwhm_{band}", np.nan) for band in training.bands])
    low, high = np.broadcast_to(training.seeing, (2, len(found))) * training.psf_fwhm
    return bool(((found < low * (1 - WIDER)) | (found > high * (1 + WIDER))).any())


def _differs_in_noise(sources: Sources, training: Training) -> bool:
    noise = sources.noise * (training.pixel_scale / _pixel_scale(sources, training))
    low, high = np.broadcast_to(training.depth, (2, len(noise))) * training.noise
    return bool(((noise < low / NOISIER) | (noise > high * NOISIER)).any())


def _pixel_scale(sources: Sources, training: Training) -> float:
    """Return the side of a pixel of the image, which differs from the library's where that varies in training."""
    return sources.facts.get("pixel_scale", training.pixel_scale)
