"""A joint fit of all galaxies through the point-spread function, by scarlet2.

References:
    Melchior et al. (2018), A&C 24, 129: scarlet; https://github.com/pmelchior/scarlet2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.baselines.sep import Sep
from oasis.adapters.galaxy.photometry import noise_of
from oasis.data.samples import Batch, Sample
from oasis.errors import import_extra

Floats = NDArray[np.float64]

MODEL_SIGMA = 0.7  # pixels, width of the point-spread function of the model frame, the default of scarlet2
FIRST_SIZE = 3.0  # pixels
FINE = 5  # subpixels along each axis


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
        maps = np.stack([np.asarray(blend.render(fitted.evaluate_source(one))) for one in fitted.sources])
        jax = import_extra("jax", extra="scarlet")
        jax.clear_caches()  # no other blend uses what was compiled, and after some sixty LLVM has no memory left
        return maps

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
