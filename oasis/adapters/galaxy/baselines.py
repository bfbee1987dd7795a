"""Baselines on the same blends: the image itself, an oracle that splits its pixels, SEP, and scarlet2.

Each returns maps (b, N, B, H, W) in nmgy for a batch, as a separator does; `Sep` also measures fluxes as
catalogues do.

References:
    Bertin and Arnouts (1996), A&AS 117, 393: SExtractor. Barbary (2016), JOSS 1, 58: SEP.
    Beucher and Lantuejoul (1979): the watershed, by which photutils deblends sources as well.
    Melchior et al. (2018), A&C 24, 129: scarlet; https://github.com/pmelchior/scarlet2.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.photometry import noise_of
from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.samples import Batch, Sample, collate
from oasis.errors import import_extra
from oasis.options import Options

Floats = NDArray[np.float64]

MATCH_PIXELS = 5.0  # largest distance between a detection and the galaxy that it is matched with
KRON_ELLIPSE = 6.0  # isophotal radii within which the Kron radius is measured, as SExtractor does
MODEL_SIGMA = 0.7  # pixels, width of the point-spread function of the model frame, the default of scarlet2
FIRST_SIZE = 3.0  # pixels
FINE = 5  # subpixels along each axis
CORRECTIONS = np.linspace(0.5, 2.0, 301)
GRID: Mapping[str, Sequence[Any]] = {
    "kernel": ("gaussian", "mexhat"),
    "kernel_fwhm": (2.0, 2.5, 3.0, 3.5, 4.0, 5.0),
    "thresh": (0.3, 0.5, 0.7, 1.0, 1.5, 3.0),
    "minarea": (1, 3, 5, 10),
    "deblend_nthresh": (32, 64, 128),
    "deblend_cont": (1e-5, 1e-4, 1e-3, 5e-3, 2e-2),
    "clean": (True, False),
    "grow": (None, 0.2, 0.5, 1.0, 1.5),
    "grow_sigma": (0.5, 0.7, 1.0, 1.5, 2.0),
    "flux": ("kron", "isophotal"),
    "kron_factor": (1.5, 2.0, 2.5, 3.0),
    "min_radius": (1.75, 3.5, 7.0),
    "neighbours": ("mirror", "mask", "none"),
}


def input_maps(batch: Batch) -> Tensor:
    """Return the image itself as the map of every class: the result without any deblending."""
    return batch.image.unsqueeze(1).expand_as(batch.target)


def oracle_mask_maps(batch: Batch) -> Tensor:
    """Return the image split among the classes: each pixel is assigned to the class that is truly brightest there.

    No segmentation into disjoint masks can do better. Pixels without any true flux are assigned to no class.

    Example:
        >>> target = torch.tensor([3.0, 1.0, 0.0, 1.0, 2.0, 0.0]).view(1, 2, 1, 1, 3)
        >>> image = target.sum(dim=1) + 0.5
        >>> oracle_mask_maps(Batch(image, target, torch.ones(1, 1, 1, 3, dtype=bool), [{}])).flatten(1)
        tensor([[4.5000, 0.0000, 0.0000, 0.0000, 3.5000, 0.0000]])
    """
    brightest = batch.target.max(dim=1, keepdim=True)
    classes = torch.arange(batch.target.shape[1], device=batch.target.device).view(1, -1, 1, 1, 1)
    mine = (brightest.indices == classes) & (brightest.values > 0)
    return torch.where(mine, batch.image.unsqueeze(1), 0)


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


@dataclass(frozen=True)
class Sep:
    """Detection and deblending in the sum of all bands, and photometry in each, by SEP.

    The bands are summed in units of their noise, which a sample's meta states as `noise_<band>`.

    Attributes:
        bands: names of the B bands.
        rest: if true, the first class is the galaxy at the image's centre and the last one all others together;
            otherwise each class is one galaxy, and detections are matched with the true positions.
        options: of detection, deblending and photometry.
    """

    bands: Sequence[str]
    rest: bool
    options: SepOptions = field(default_factory=SepOptions)

    def maps(self, batch: Batch) -> Tensor:
        """Return for each class the image within the segments of its detections."""
        maps = np.zeros(tuple(batch.target.shape), np.float32)
        for into, (sample, catalogue, owners) in zip(maps, self.measured(batch), strict=True):
            of_pixel = np.concatenate([[-1], owners])[catalogue.segments]
            for index, one in enumerate(into):
                np.copyto(one, sample.image, where=of_pixel == index)
        return torch.from_numpy(maps).to(batch.image.device)

    def fluxes(self, batch: Batch) -> Floats:
        """Return the flux of each class (b, N, B), nmgy; NaN where nothing was detected."""
        return np.array(
            [
                _sums(catalogue.flux, owners, len(sample.target))
                for sample, catalogue, owners in self.measured(batch)
            ]
        )

    def measured(self, batch: Batch) -> Iterator[tuple[Sample, Catalogue, NDArray[np.intp]]]:
        """Yield each sample, its image with 0 in invalid pixels, its catalogue and the class of each detection.

        A detection without a class has -1.
        """
        for sample in batch.samples():
            sample = sample.replace(image=np.where(sample.valid, sample.image, 0))
            catalogue = catalogue_of(sample.image, noise_of(sample.meta, self.bands), self.options)
            yield sample, catalogue, self._owners(sample, catalogue.place)

    def _owners(self, sample: Sample, place: Floats) -> NDArray[np.intp]:
        if not self.rest:
            return match(place, centroids(sample.target))
        centre = np.array(sample.image.shape[1:]) // 2
        others = len(sample.target) - 1
        return np.where(match(place, centre[None]) == 0, 0, others)


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


def centroids(maps: NDArray[np.floating]) -> Floats:
    """Return row and column of maps (N, B, H, W), weighted by the flux of all bands, (N, 2); NaN for empty maps.

    Example:
        >>> centroids(np.eye(3)[None, None])
        array([[1., 1.]])
    """
    light = maps.sum(axis=1, dtype=float)
    total = light.sum(axis=(1, 2))
    places = [light.sum(axis=3 - axis) @ np.arange(light.shape[axis]) for axis in (1, 2)]
    return np.stack(places, axis=1) / np.where(total > 0, total, np.nan)[:, None]


def match(found: Floats, wanted: Floats, within: float = MATCH_PIXELS) -> NDArray[np.intp]:
    """Return for every detection the index of the galaxy matched with it, -1 for none (Hungarian algorithm).

    Args:
        found: (n, 2) positions of detections, pixels.
        wanted: (m, 2) positions of galaxies, pixels; NaN for none.
        within: largest distance between them, pixels.

    Example:
        >>> match(np.array([[9.0, 9.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [30.0, 0.0]]))
        array([-1,  0])
    """
    distance = np.linalg.norm(found[:, None] - wanted, axis=2)
    near = distance <= within
    pairs = linear_sum_assignment(np.where(near, distance, 1e6))
    owners = np.full(len(found), -1)
    for one, other in zip(*pairs, strict=True):
        owners[one] = other if near[one, other] else -1
    return owners


def _sums(flux: Floats, owners: NDArray[np.intp], classes: int) -> Floats:
    """Return the flux of each class (N, B), NaN for those without any detection."""
    belongs = owners == np.arange(classes)[:, None]
    return np.where(belongs.any(axis=1, keepdims=True), belongs @ flux, np.nan)


@dataclass(frozen=True)
class Scarlet:
    """A joint fit of all galaxies that SEP detects, through the point-spread function, by scarlet2.

    A galaxy is a spectrum times a shape: a Sersic profile, or non-negative pixels without further assumptions,
    which leave the division of light ambiguous where galaxies overlap. Every blend is compiled and fitted
    separately, which takes seconds.

    Attributes:
        sep: detects galaxies and assigns them to classes.
        psf_fwhm: full width at half maximum of the Moffat profile in each of the B bands, arcsec.
        pixel_scale: arcsec.
        shape: `sersic` or `pixels`.
        iterations: steps of the fit at most.
    """

    sep: Sep
    psf_fwhm: Sequence[float]
    pixel_scale: float
    shape: Literal["sersic", "pixels"] = "sersic"
    iterations: int = 1000

    def maps(self, batch: Batch) -> Tensor:
        """Return the fitted galaxies that belong to each class, as they appear in the image.

        Raises:
            MissingExtraError: scarlet2 is not installed.
        """
        maps = torch.zeros(batch.target.shape)
        for into, (sample, catalogue, owners) in zip(maps, self.sep.measured(batch), strict=True):
            known = owners >= 0
            if len(owners):
                fitted = self._fit(sample, catalogue.place)
                into.index_add_(0, torch.from_numpy(owners[known]), torch.from_numpy(fitted[known]))
        return maps.to(batch.image.device)

    def _fit(self, sample: Sample, places: Floats) -> NDArray[np.float32]:
        """Return the map of the galaxy at each place (n, B, H, W)."""
        scarlet = import_extra("scarlet2", extra="scarlet")
        scarlet.set_validation(False)  # it prints its progress
        image, noise = sample.image.astype(float), noise_of(sample.meta, self.sep.bands)[:, None, None]
        blend = scarlet.Observation(
            image,
            weights=np.broadcast_to(sample.valid / noise**2, image.shape),
            psf=scarlet.ArrayPSF(_moffat(np.array(self.psf_fwhm) / self.pixel_scale)),
            channels=list(self.sep.bands),
        )
        frame = scarlet.Frame.from_observations(blend, model_psf=scarlet.GaussianPSF(MODEL_SIGMA))
        with scarlet.Scene(frame) as scene:
            for place in places:
                self._add_source(scarlet, place, image, noise)
        self._set_parameters(scarlet, scene)
        fitted = scene.fit(blend, max_iter=self.iterations, progress_bar=False)
        return np.stack([np.asarray(blend.render(fitted.evaluate_source(one))) for one in fitted.sources])

    def _add_source(self, scarlet: ModuleType, place: Floats, image: Floats, noise: Floats) -> None:
        jnp = import_extra("jax.numpy", extra="scarlet")
        row, column = (int(at) for at in np.round(place))
        around = image[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        spectrum = jnp.asarray(np.maximum(around.mean(axis=(1, 2)), noise.ravel()))
        size, round_, box = jnp.asarray(FIRST_SIZE), jnp.full(2, 0.01), (2 * (image.shape[1] // 2) - 1,) * 2
        if self.shape == "sersic":
            shape = scarlet.SersicMorphology(jnp.asarray(1.0), size, round_, shape=box)
        else:
            shape = jnp.clip(scarlet.GaussianMorphology(size, round_, shape=box)(), 1e-6, 1 - 1e-6)
        scarlet.Source(jnp.asarray(place), spectrum, shape)

    def _set_parameters(self, scarlet: ModuleType, scene: Any) -> None:
        """Declare the fitted parameters with their bounds and step sizes."""
        constraints = import_extra("numpyro.distributions", extra="scarlet").constraints
        with scarlet.Parameters(scene):
            for number, one in enumerate(scene.sources):
                shape = one.morphology
                fitted: list[tuple[Any, ...]] = [
                    (one.spectrum, constraints.positive, partial(scarlet.relative_step, factor=0.05))
                ]
                if self.shape == "sersic":
                    fitted += [
                        (one.center, None, 0.05),
                        (shape.n, constraints.interval(0.5, 5.0), 0.05),
                        (shape.size, constraints.interval(0.3, 30.0), 0.05),
                        (shape.ellipticity, constraints.interval(-0.65, 0.65), 0.03),
                    ]
                else:
                    fitted.append((shape, constraints.unit_interval, 0.1))
                for index, (values, bounds, step) in enumerate(fitted):
                    scarlet.Parameter(values, name=f"{number}:{index}", constraint=bounds, stepsize=step)


def _moffat(fwhm: Floats) -> Floats:
    """Return Moffat profiles averaged over pixels (n, k, k), each with a sum of 1; widths are in pixels."""
    side = 2 * int(np.ceil(2 * fwhm.max())) + 1
    fine = (np.arange(side * FINE) + 0.5) / FINE - side / 2
    scale = np.array([survey.moffat_scale(one) for one in fwhm])
    profile = (1 + (fine**2 + fine[:, None] ** 2) / scale[:, None, None] ** 2) ** -survey.MOFFAT_BETA
    pixels = profile.reshape(-1, side, FINE, side, FINE).sum(axis=(2, 4))
    return np.asarray(pixels / pixels.sum(axis=(1, 2), keepdims=True))


class TunedSep(NamedTuple):
    """The result of tuning SEP.

    Attributes:
        sep: SEP with the options that measure fluxes best.
        error: its mean absolute flux error on the samples used for tuning, each error capped at 100 %, in %.
        trials: every setting that was tried, with its `error`.
    """

    sep: Sep
    error: float
    trials: pd.DataFrame


def tune_sep(
    dataset: SampleDataset,
    bands: Sequence[str],
    rest: bool,
    classes: Sequence[int] | None = None,
    samples: int = 300,
    draws: int = 60,
    seed: int = 0,
) -> TunedSep:
    """Tune detection, deblending and photometry by SEP: minimise the mean absolute flux error in all bands.

    A missed object counts as an error of 100 %, and larger errors are capped there: a faint galaxy that is
    assigned the flux of a bright one is off by thousands of per cent, and minimising the mean of such errors would
    favour fluxes that are too low.

    The defaults and random settings from `GRID` are tried first; from the best of them, one option after the other
    is changed for as long as the error falls. Every setting has its own best factor for the fluxes of each band.

    Args:
        dataset: validation samples.
        bands: names of the B bands.
        rest: as for `Sep`.
        classes: indices of the classes whose fluxes count; all if None.
        samples: number of samples to use, from the first on.
        draws: number of random settings.
        seed: the seed of the draw.
    """
    batches = [collate([dataset[index]]) for index in range(min(samples, len(dataset)))]
    true = np.concatenate([batch.target.double().sum(dim=(3, 4)).numpy() for batch in batches])
    chosen = list(range(true.shape[1]) if classes is None else classes)
    tried: dict[SepOptions, tuple[float, SepOptions]] = {}

    def error(options: SepOptions) -> float:
        if options not in tried:
            sep = Sep(bands, rest, options)
            fluxes = np.concatenate([sep.fluxes(batch) for batch in batches])
            value, correction = _best_correction(fluxes[:, chosen], true[:, chosen])
            tried[options] = value, options.model_copy(update={"correction": correction})
        return tried[options][0]

    rng = keyed_rng(seed, "sep", 0)
    drawn = [
        SepOptions(**{name: values[int(rng.integers(len(values)))] for name, values in GRID.items()})
        for _ in range(draws)
    ]
    best = _improved(min([SepOptions(), *drawn], key=error), error)
    table = pd.DataFrame([options.model_dump() | {"error": value} for value, options in tried.values()])
    value, options = tried[best]
    return TunedSep(Sep(bands, rest, options), value, table)


def _improved(best: SepOptions, error: Callable[[SepOptions], float]) -> SepOptions:
    """Change one option after the other for as long as the error falls."""
    improved = True
    while improved:
        improved = False
        for name, values in GRID.items():
            other = min((best.model_copy(update={name: value}) for value in values), key=error)
            if error(other) < error(best):
                best, improved = other, True
    return best


def _best_correction(fluxes: Floats, true: Floats) -> tuple[float, tuple[float, ...]]:
    """Return the mean absolute error of fluxes (n, N, B) in %, and the factor of each band that minimises it.

    Errors are capped at 100 %, and objects without true flux are ignored.
    """
    errors, factors = [], []
    for band in range(true.shape[-1]):
        known = true[..., band] > 0
        ratio = np.nan_to_num(fluxes[..., band][known] / true[..., band][known])
        tried = np.minimum(np.abs(CORRECTIONS[:, None] * ratio - 1), 1).mean(axis=1)
        errors.append(100 * tried.min())
        factors.append(float(CORRECTIONS[tried.argmin()]))
    return float(np.mean(errors)), tuple(factors)
