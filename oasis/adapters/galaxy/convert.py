"""Conversion of sky images to a library of isolated galaxies: one grid, no sky, no neighbours."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.catalogue import Selection, find_images, pixel_scales, read_catalogue, why_not
from oasis.adapters.galaxy.cutout import Cutout, Reading
from oasis.adapters.galaxy.duplicates import Seen
from oasis.adapters.galaxy.files import Entry, entries, find_files
from oasis.adapters.galaxy.grid import on_grid
from oasis.adapters.galaxy.stamps import Stamps, reference_band
from oasis.adapters.galaxy.survey import Arcsec, Magnitude
from oasis.adapters.options import Rising
from oasis.data.samples import Array
from oasis.errors import DataError, import_extra
from oasis.io.files import readable
from oasis.io.tables import write_csv
from oasis.options import Options
from oasis.progress import watched

Mask = NDArray[np.bool_]
Reason = Literal[
    "unreadable",
    "catalogue",
    "no image",
    "approximate",
    "duplicate",
    "coarse pixels",
    "no sky",
    "no galaxy",
    "too large",
    "not isolated",
    "bad pixels",
    "magnitude",
]

THRESHOLD, FEWEST_PIXELS = 1.5, 8
"""Detection threshold of a pixel in units of the noise, and the minimum number of pixels of an object."""

LEVELS, CONTRAST = 64, 0.002
"""Number of deblending levels, and the fraction of the flux from which on a peak becomes an object of its own.

With SExtractor's 32 and 0.005, stars of 4 % of a galaxy's flux remain part of it, as they do in a smoothed image.
"""

KRON = 2.5
"""Extent of a galaxy in Kron radii, with 94-99 % of its flux (Kron 1980, ApJS 43, 305; Bertin & Arnouts 1996)."""

GROW = 0.8
"""Distance by which neighbours extend beyond their detected pixels, arcsec."""

OFF_CENTRE = 2.0
"""Largest distance of a galaxy from the centre of its image, arcsec."""

UNEVEN = 2.0
"""Ratio of the scatter of the sky to that of its differences, above which the sky contains more than noise."""


class Conversion(Options):
    """Options of the conversion of images to a library of stamps.

    Attributes:
        pixel_scale: the pixel scale of the library, arcsec.
        size: the size of a stamp, pixels.
        bands: the bands of the library, in its order.
        psf_fwhm: full width at half maximum of the point-spread function per band, arcsec, stored with the
            library; None where unknown.
        reading: facts that the files do not state.
        catalogue: a Galaxy Zoo catalogue, which gives pixel scales and the selection; None accepts all images.
        selection: the selection from the catalogue.
        magnitudes: from the brightest to the faintest magnitude in the reference band (r), or None for any.
        approximate: whether pictures are accepted, whose flux is approximate.
        neighbours: largest flux of neighbours within the galaxy, and largest flux that may be filled in, both as
            fractions of the galaxy's.
        lost: largest part of the galaxy beyond the stamp (fraction of its flux) or the image (of its area).
        limit: largest number of galaxies, or None for all.
    """

    pixel_scale: Arcsec = survey.PIXEL_SCALE
    size: int = Field(128, ge=8, le=8192)
    bands: tuple[str, ...] = Field(survey.BANDS, min_length=1)
    psf_fwhm: tuple[Arcsec, ...] | None = None
    reading: Reading = Reading()
    catalogue: Path | None = None
    selection: Selection = Selection()
    magnitudes: Annotated[tuple[Magnitude, Magnitude], Rising] | None = None
    approximate: bool = True
    neighbours: float = Field(0.1, ge=0, le=1e6)
    lost: float = Field(0.02, ge=0, le=1)
    limit: int | None = Field(None, ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.bands)) != len(self.bands):
            raise ValueError("bands must differ from one another")
        if self.psf_fwhm is not None and len(self.psf_fwhm) != len(self.bands):
            raise ValueError(f"psf_fwhm has {len(self.psf_fwhm)} values for {len(self.bands)} bands")
        return self


@dataclass(frozen=True)
class LeftOut:
    """A galaxy that is not in the library, and the reason."""

    name: str
    path: str
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Report:
    """The result of a conversion.

    Attributes:
        kept: number of galaxies in the library.
        left_out: the others.
    """

    kept: int
    left_out: tuple[LeftOut, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of galaxies left out by reason, the most frequent first."""
        return dict(Counter(one.reason for one in self.left_out).most_common())

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.counts.items())
        return f"{self.kept} galaxies" + (f", left out {len(self.left_out)}: {reasons}" if reasons else "")

    def save(self, path: str | Path) -> None:
        """Write the galaxies that were left out to a CSV file, one row each.

        Raises:
            DataError: a path that cannot be written to.
        """
        rows = [(readable(one.name), readable(one.path), one.reason, one.detail) for one in self.left_out]
        write_csv(pd.DataFrame(rows, columns=["name", "path", "reason", "detail"]), path)


class RefusedError(DataError):
    """An image from which no stamp can be made."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Galaxy:
    """A galaxy cut out of an image.

    Attributes:
        flux: (B, s, s) nmgy per pixel, without sky and neighbours, 0 outside the galaxy.
        noise: (B,) of a pixel of sky, nmgy.
        neighbours: flux of neighbours within the galaxy, as a fraction of its own, in the reference band.
        filled: fraction of its flux that was filled in.
        lost: fraction of its flux beyond the stamp.
    """

    flux: Array
    noise: NDArray[np.float64]
    neighbours: float
    filled: float
    lost: float


def convert(source: str | Path, out: str | Path, options: Conversion | None = None) -> Report:
    """Make a library of stamps from the images in a file or folder, and report what was left out and why.

    The galaxies left out are also listed in `<out>.left_out.csv`, next to the library.

    Args:
        source: images as `oasis.adapters.galaxy.files.read_cutouts` reads them, with one galaxy in the centre.
        out: the library, HDF5.
        options: see `Conversion`.

    Raises:
        DataError: nothing to read, or no image from which a stamp can be made.
    """
    options = options or Conversion()
    found, left_out = _chosen(source, options)
    names: list[str] = []
    facts: list[tuple[bool, float, float]] = []
    galaxies: list[Galaxy] = []
    seen = Seen()
    for entry in watched(found, "convert", unit="images"):
        try:
            cutout = _read(entry, options)
            galaxy = extract(cutout, options)
            earlier = seen.add(cutout)
            if earlier is not None:
                raise RefusedError("duplicate", f"the same pixels as, or the position of, {earlier}")
        except DataError as error:
            reason = error.reason if isinstance(error, RefusedError) else "unreadable"
            left_out.append(LeftOut(entry.name, str(entry.path), reason, str(error)))
            continue
        galaxies.append(galaxy)
        names.append(entry.name)
        facts.append((cutout.approximate, cutout.ra, cutout.dec))
        if len(names) == options.limit:
            break
    report = Report(len(names), tuple(left_out))
    report.save(f"{out}.left_out.csv")
    if not galaxies:
        raise DataError(f"{source}: no stamp could be made from any image ({report}); see {out}.left_out.csv")
    Stamps.measure(
        np.stack([one.flux for one in galaxies]),
        options.bands,
        options.pixel_scale,
        {"name": np.array(names), **_columns(facts, galaxies)},
        np.stack([one.noise for one in galaxies]),
        options.psf_fwhm,
    ).save(out)
    return report


def _columns(facts: list[tuple[bool, float, float]], galaxies: list[Galaxy]) -> dict[str, NDArray[Any]]:
    """Return the columns of the library's table, besides the names."""
    known = zip(("approximate", "ra", "dec"), zip(*facts, strict=True), strict=True)
    measured = ((key, [getattr(one, key) for one in galaxies]) for key in ("neighbours", "filled", "lost"))
    return {key: np.array(column) for key, column in (*known, *measured)}


def _chosen(source: str | Path, options: Conversion) -> tuple[Iterator[Entry], list[LeftOut]]:
    """Return the images to read, and the galaxies of the catalogue that are not selected."""
    if options.catalogue is None:
        return entries(find_files(source), options.reading, bands=options.bands), []
    table = read_catalogue(options.catalogue)
    paths, missing = find_images(table, source)
    reasons = {str(name): why for name, why in why_not(table.loc[list(paths)], options.selection).items()}
    left_out = [LeftOut(name, "", "no image", "in the catalogue, but not in the folder") for name in missing]
    left_out += [LeftOut(name, str(paths[name]), "catalogue", why) for name, why in reasons.items() if why]
    chosen = [path for name, path in paths.items() if not reasons[name]]
    scales = pixel_scales(table) if "petro_th50" in table else {}
    return entries(chosen, options.reading, scales, options.bands), left_out


def _read(entry: Entry, options: Conversion) -> Cutout:
    cutout = entry.read()
    if cutout.approximate and not options.approximate:
        raise RefusedError("approximate", "a picture, whose flux is approximate")
    missing = [band for band in options.bands if band not in cutout.bands]
    if missing:
        raise RefusedError("unreadable", f"has the bands {', '.join(cutout.bands)}, not {', '.join(missing)}")
    return cutout


def extract(cutout: Cutout, options: Conversion) -> Galaxy:
    """Cut the central galaxy out of an image.

    The image is resampled to the grid of the library. Objects are detected and deblended by SEP, the library of
    SExtractor, on the sum of its bands, each divided by the square of its noise. The galaxy is the object in the
    centre: its detected pixels and an ellipse of 2.5 Kron radii. Within these, bad pixels and pixels of neighbours
    get the value on the opposite side of the galaxy's centroid, since galaxies look much the same when rotated by
    180 degrees. Outside them the stamp is 0. Nothing is shifted by fractions of a pixel.

    Raises:
        RefusedError: no stamp can be made from the image.
        MissingExtraError: sep is not installed.
    """
    flux, bad = _wanted(cutout, options)
    field = _detect(flux, bad, options.pixel_scale)
    central = _central(field, options.pixel_scale)
    reach = _disc(GROW / options.pixel_scale)
    others = ndimage.binary_dilation((field.labels > 0) & (field.labels != central), reach)
    seen = ndimage.binary_opening(field.labels == central, reach)  # without the fringes that noise makes
    parts, _ = ndimage.label(seen | _ellipse(field, central, bad | others, options.lost))
    inside = parts == np.bincount(parts[parts > 0]).argmax()
    return _cut(field, inside, others, bad, field.centre(central), options)


def _wanted(cutout: Cutout, options: Conversion) -> tuple[Array, Mask]:
    """Return the wanted bands and the bad pixels on the library's grid."""
    old, new = cutout.pixel_scale, options.pixel_scale
    if old > options.reading.coarser * new:
        raise RefusedError("coarse pixels", f"pixels of {old:.3g} arcsec, the library's have {new:g}")
    gridded = on_grid(cutout, new)
    bad = np.zeros(gridded.flux.shape[1:], bool) if gridded.bad is None else gridded.bad
    return gridded.flux[[cutout.bands.index(band) for band in options.bands]], bad


@dataclass(frozen=True)
class _Field:
    """An image and the objects detected in it.

    Attributes:
        flux: (B, H, W) without sky, nmgy per pixel.
        noise: (B,) of a pixel of sky.
        detection: (H, W) the sum of bands on which objects were detected, in units of its noise.
        objects: SEP's table of objects.
        labels: (H, W) the object that each pixel belongs to, from 1 on; 0 for none.
    """

    flux: Array
    noise: NDArray[np.float64]
    detection: Array
    objects: NDArray[Any]
    labels: NDArray[np.int32]

    def centre(self, label: int) -> tuple[float, float]:
        """Return row and column of an object's centroid."""
        one = self.objects[label - 1]
        return float(one["y"]), float(one["x"])


def _detect(flux: Array, bad: Mask, pixel_scale: float) -> _Field:
    """Detect objects and subtract the sky between them; then repeat both on the sky-subtracted image."""
    sep = import_extra("sep", "galaxy")
    empty = ~bad
    _require_sky(empty)
    for _ in range(2):
        sky, noise = np.array([_clipped(band[empty]) for band in flux]).T
        if not noise.all():
            raise RefusedError(
                "no sky", "most of the sky has one value: there is no noise to set a detection threshold from"
            )
        flux = flux - sky[:, None, None].astype(np.float32)
        total = np.tensordot(1 / noise**2, flux, 1)
        middle, scatter = _clipped(total[empty])
        detection = np.ascontiguousarray((total - middle) / scatter, np.float32)
        detector = {"err": 1.0, "mask": bad, "minarea": FEWEST_PIXELS, "filter_kernel": None}
        detector |= {"deblend_nthresh": LEVELS, "deblend_cont": CONTRAST, "segmentation_map": True}
        try:
            objects, labels = sep.extract(detection, THRESHOLD, **detector)
        except Exception as error:  # sep raises nothing narrower
            raise RefusedError("unreadable", f"detection failed: {error}") from None
        empty = ~bad & ~ndimage.binary_dilation(labels > 0, _disc(2 * GROW / pixel_scale))
        _require_sky(empty)
    unevenness = _unevenness(detection, empty, round(0.6 / pixel_scale) + 1)
    if unevenness > UNEVEN:
        raise RefusedError("no sky", f"the sky between objects varies {unevenness:.1f} times as much as its noise")
    return _Field(flux, noise, detection, objects, labels)


def _require_sky(empty: Mask) -> None:
    if empty.mean() < 0.1:
        raise RefusedError("no sky", f"objects and bad pixels cover {1 - empty.mean():.0%} of the image")


def _clipped(values: NDArray[Any]) -> tuple[float, float]:
    """Return the 3-sigma-clipped median, and sigma from the lower half, which sources do not affect."""
    ordered = np.sort(values)
    for _ in range(5):
        middle = ordered[len(ordered) // 2]
        sigma = middle - ordered[int(0.158655 * len(ordered))]
        low = np.searchsorted(ordered, middle - 3 * sigma)
        ordered = ordered[low : np.searchsorted(ordered, middle + 3 * sigma, side="right")]
    return float(middle), float(sigma)


def _unevenness(image: Array, empty: Mask, lag: int) -> float:
    """Return the ratio of the scatter of empty pixels to that of differences of pixels with independent noise."""
    pairs = empty[:, lag:] & empty[:, :-lag]
    differences = (image[:, lag:] - image[:, :-lag])[pairs]
    if not differences.size:
        return math.inf
    return _clipped(image[empty])[1] / max(_clipped(differences)[1] / math.sqrt(2), 1e-30)


def _disc(radius: float) -> Mask:
    reach = max(math.ceil(radius), 1)
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(np.hypot(rows, cols) <= max(radius, 1))


def _central(field: _Field, pixel_scale: float) -> int:
    """Return the label of the object in the centre of the image."""
    row, col = (length // 2 for length in field.labels.shape)
    if field.labels[row, col]:
        return int(field.labels[row, col])
    if not len(field.objects):
        raise RefusedError("no galaxy", "no object is detected above the noise")
    distances = pixel_scale * np.hypot(field.objects["y"] - row, field.objects["x"] - col)
    if distances.min() > OFF_CENTRE:
        raise RefusedError("no galaxy", f"the nearest object is {distances.min():.1f} arcsec off the centre")
    return int(distances.argmin()) + 1


def _ellipse(field: _Field, central: int, masked: Mask, lost: float) -> Mask:
    """Return the pixels within the galaxy's ellipse; refuse an ellipse that extends beyond the image."""
    sep = import_extra("sep", "galaxy")
    x, y, a, b, theta = ([field.objects[key][central - 1]] for key in ("x", "y", "a", "b", "theta"))
    radius, _ = sep.kron_radius(field.detection, x, y, a, b, theta, 6.0, mask=masked)
    reach = max(3.5, KRON * float(radius[0]))  # 3.5 at least, and if there is no radius, as in SExtractor
    inside = np.zeros(field.labels.shape, bool)
    sep.mask_ellipse(inside, x, y, a, b, theta, [reach])
    beyond = 1 - inside.sum() / (math.pi * a[0] * b[0] * reach**2)
    if beyond > max(lost, 0.01):  # pixels follow an ellipse only roughly
        raise RefusedError("too large", f"{beyond:.0%} of its area lies beyond the image")
    return inside


def _cut(
    field: _Field, inside: Mask, others: Mask, bad: Mask, centre: tuple[float, float], options: Conversion
) -> Galaxy:
    """Fill hidden pixels of the galaxy from the opposite side, and cut the stamp."""
    whole, filled = _mirrored(field.flux, inside, ~(others | bad), centre)
    stamp = _window(whole, centre, options.size)
    name = options.bands[reference_band(options.bands)]
    light, before = (images[reference_band(options.bands)].astype(np.float64) for images in (whole, field.flux))
    kept = float(stamp[reference_band(options.bands)].sum(dtype=np.float64))
    if not (light.sum() > 0 and kept > 0):
        raise RefusedError("no galaxy", f"its flux in {name} is not above 0")

    def share(image: NDArray[np.float64], where: Mask) -> float:
        return float(image[where].sum() / light.sum())

    lost = 1 - kept / float(light.sum())
    neighbours, covered = share(before - light, inside & others & ~bad), share(light, filled & others)
    if lost > options.lost:
        raise RefusedError("too large", f"{lost:.1%} of its flux lies beyond {options.size} pixels")
    if share(light, filled & bad) > options.lost:
        raise RefusedError("bad pixels", f"{share(light, filled & bad):.1%} of its flux falls on bad pixels")
    if max(neighbours, covered) > options.neighbours:
        raise RefusedError("not isolated", f"neighbours add {neighbours:.0%} to its flux and cover {covered:.0%}")
    magnitude = float(survey.magnitude(kept))
    if options.magnitudes and not options.magnitudes[0] <= magnitude <= options.magnitudes[1]:
        low, high = options.magnitudes
        raise RefusedError("magnitude", f"{name} = {magnitude:.2f} is not within {low:g} and {high:g}")
    return Galaxy(stamp, field.noise, neighbours, share(light, filled), lost)


def _mirrored(flux: Array, inside: Mask, known: Mask, centre: tuple[float, float]) -> tuple[Array, Mask]:
    """Return the galaxy, 0 outside, with unknown pixels taken from the opposite side, and the mask of these."""
    height, width = inside.shape
    rows, cols = round(2 * centre[0]) - np.arange(height), round(2 * centre[1]) - np.arange(width)
    exists = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    opposite = np.ix_(rows.clip(0, height - 1), cols.clip(0, width - 1))
    filled = inside & ~known & exists & known[opposite]
    turned = flux[:, opposite[0], opposite[1]]
    return np.where(inside & known, flux, np.where(filled, turned, np.float32(0))), filled


def _window(images: Array, centre: tuple[float, float], size: int) -> Array:
    """Return the pixels (B, size, size) with `centre` in the pixel size // 2, padded with 0."""
    padded = np.pad(images, ((0, 0), (size, size), (size, size)))
    top, left = (round(middle) + size - size // 2 for middle in centre)
    return padded[:, top : top + size, left : left + size]
