"""Detection, deblending and photometry of the objects of one image by SEP, the library of SExtractor.

References:
    Bertin and Arnouts (1996), A&AS 117, 393: SExtractor. Barbary (2016), JOSS 1, 58: SEP.
    Beucher and Lantuejoul (1979): the watershed, by which photutils deblends sources as well.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter

from oasis.errors import import_extra
from oasis.options import Options

Floats = NDArray[np.float64]

KRON_ELLIPSE = 6.0  # isophotal radii within which the Kron radius is measured, as SExtractor does


class SepOptions(Options):
    """Options of detection, deblending and photometry by SEP.

    The defaults suit crowded images: a Mexican-hat filter, which SExtractor recommends for them, separates
    galaxies, and a watershed then divides the pixels between them.

    Attributes:
        kernel: the filter of the detection image: `gaussian`, or `mexhat`, minus the Gaussian's Laplacian.
        kernel_fwhm: the full width at half maximum of the Gaussian, pixels; 0 for no filter.
        thresh: the detection threshold in the filtered image, in units of its noise.
        minarea: the least number of pixels of a detection above the threshold.
        deblend_nthresh: thresholds between `thresh` and the peak, spaced logarithmically.
        deblend_cont: fraction of the flux from which on a branch is an object of its own.
        clean: remove objects that would not be detected without their brighter neighbour.
        grow: by a watershed, grow segments down to this level of the smoothed detection image, in units of the
            noise of the unsmoothed one; None for the segments that SEP gives.
        grow_sigma: standard deviation of the Gaussian that smooths it, pixels.
        flux: `kron`, within an ellipse of `kron_factor` Kron radii, or `isophotal`, in the object's own segment.
        kron_factor: SExtractor's first PHOT_AUTOPARAMS.
        min_radius: the smallest radius of the ellipse, pixels; a smaller ellipse becomes a circle of this radius.
        neighbours: replacement for pixels of other objects: `mirror`, the pixels opposite the object's centre
            (SExtractor's MASK_TYPE CORRECT); `mask`, the mean of the ellipse; `none`, no replacement.
        correction: factor for the fluxes of each band; 1 if empty.
    """

    kernel: Literal["gaussian", "mexhat"] = "mexhat"
    kernel_fwhm: float = Field(3.5, ge=0)
    thresh: float = Field(0.7, gt=0)
    minarea: int = Field(3, ge=1)
    deblend_nthresh: int = Field(64, ge=1)
    deblend_cont: float = Field(1e-4, ge=0, le=1)
    clean: bool = True
    grow: float | None = 0.5
    grow_sigma: float = Field(1.0, gt=0)
    flux: Literal["kron", "isophotal"] = "isophotal"
    kron_factor: float = Field(2.5, gt=0)
    min_radius: float = Field(1.75, ge=0)
    neighbours: Literal["mirror", "mask", "none"] = "mirror"
    correction: tuple[float, ...] = ()


class Catalogue(NamedTuple):
    """The catalogue that SEP makes of one image.

    Attributes:
        place: (n, 2) row and column of the centroids.
        flux: (n, B) nmgy.
        segments: (H, W) the number of the object that a pixel belongs to, from 1 on; 0 for none.
    """

    place: Floats
    flux: Floats
    segments: NDArray[np.int32]


def catalogue_of(image: NDArray[np.floating], noise: Floats, options: SepOptions) -> Catalogue:
    """Detect, deblend and measure the objects of one image.

    Args:
        image: (B, H, W) nmgy, without background.
        noise: (B,) of a pixel, nmgy.
        options: of detection, deblending and photometry.
    """
    sep = import_extra("sep", extra="galaxy")
    bands = image.astype(np.float64)
    detection = (bands / noise[:, None, None]).sum(axis=0) / np.sqrt(len(noise))
    objects, segments = sep.extract(
        detection,
        options.thresh,
        err=1.0,
        minarea=options.minarea,
        filter_kernel=_kernel(options),
        deblend_nthresh=options.deblend_nthresh,
        deblend_cont=options.deblend_cont,
        clean=options.clean,
        segmentation_map=True,
    )
    if options.grow is not None:
        segments = _grown(detection, segments, options.grow, options.grow_sigma)
    flux = np.empty((len(objects), len(bands)))
    for index in range(len(objects)):
        own = segments == index + 1
        if options.flux == "isophotal":
            flux[index] = bands[:, own].sum(axis=1)
        else:
            others = (segments > 0) & ~own
            flux[index] = _kron_flux(np.stack([detection, *bands]), objects[[index]], others, options)
    place = np.stack([objects["y"], objects["x"]], axis=1)
    return Catalogue(place, flux * (options.correction or 1.0), segments)


def _kron_flux(
    images: Floats, found: NDArray[np.void], others: NDArray[np.bool_], options: SepOptions
) -> list[float]:
    """Return the flux of one object (1,) in each band; the first image is the one for detection."""
    sep = import_extra("sep", extra="galaxy")
    x, y, a, b = (found[name] for name in ("x", "y", "a", "b"))
    theta = np.clip(found["theta"], -np.pi / 2, np.pi / 2)  # rounding can exceed it
    mask = others if options.neighbours == "mask" else None
    if options.neighbours == "mirror":
        images = _mirrored(images, others, float(y[0]), float(x[0]))
    kron, _ = sep.kron_radius(images[0], x, y, a, b, theta, KRON_ELLIPSE, mask=mask)
    radius = options.kron_factor * np.nan_to_num(kron)
    if radius[0] * np.sqrt(a[0] * b[0]) < options.min_radius:
        a, b, radius = np.ones(1), np.ones(1), np.full(1, options.min_radius)
    return [float(sep.sum_ellipse(band, x, y, a, b, theta, radius, mask=mask)[0][0]) for band in images[1:]]


def _mirrored(images: Floats, others: NDArray[np.bool_], row: float, column: float) -> Floats:
    """Return images (n, H, W) with pixels of other objects replaced by those opposite a centre, or by 0."""
    filled = np.where(others, 0, images)
    rows, columns = np.nonzero(others)
    opposite = round(2 * row) - rows, round(2 * column) - columns
    inside = (opposite[0] >= 0) & (opposite[0] < others.shape[0])
    inside &= (opposite[1] >= 0) & (opposite[1] < others.shape[1])
    from_rows, from_columns = (at[inside] for at in opposite)
    values = filled[:, from_rows, from_columns]
    filled[:, rows[inside], columns[inside]] = values
    return filled


def _kernel(options: SepOptions) -> Floats | None:
    """Return the filter of the detection image, wide enough to contain 99 % of a Gaussian."""
    if options.kernel_fwhm == 0:
        return None
    sigma = options.kernel_fwhm / np.sqrt(8 * np.log(2))
    reach = np.arange(-int(np.ceil(4 * sigma)), int(np.ceil(4 * sigma)) + 1)
    half_square = (reach**2 + reach[:, None] ** 2) / (2 * sigma**2)
    kernel = np.exp(-half_square)
    if options.kernel == "mexhat":
        kernel *= 1 - half_square
        kernel -= kernel.mean()
    return np.asarray(kernel / np.abs(kernel).sum())


def _grown(detection: Floats, segments: NDArray[np.int32], level: float, sigma: float) -> NDArray[np.int32]:
    """Return segments grown by a watershed: they extend down to a level and meet in the valleys between them."""
    watershed = import_extra("skimage.segmentation", extra="galaxy").watershed
    smooth = gaussian_filter(detection, sigma)
    return np.asarray(watershed(-smooth, segments, mask=(smooth > level) | (segments > 0)), np.int32)
