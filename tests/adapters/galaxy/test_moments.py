"""Adaptive moments against known Gaussians and galsim."""

import numpy as np
import pytest

from oasis.adapters.galaxy.moments import adaptive_moments

SCALE = 0.262
Y, X = np.mgrid[:64, :64]


def gaussian(x, y, a, b=None, angle=0.0, flux=1.0):
    """(H, W): an elliptical Gaussian with standard deviations a and b (pixels), turned by an angle in degrees."""
    b = a if b is None else b
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = (X - x) * c + (Y - y) * s, (Y - y) * c - (X - x) * s
    image = np.exp(-(along**2 / a**2 + across**2 / b**2) / 2)
    return flux * image / (2 * np.pi * a * b)


def test_moments_of_gaussians_are_their_parameters():
    parameters = [(30.3, 33.8, 4.0, 2.0, 25.0), (20.0, 40.5, 3.0, 3.0, 0.0), (33.3, 31.1, 5.0, 2.5, -70.0)]
    moments = adaptive_moments(np.stack([gaussian(*each) for each in parameters]))
    for centroid, size, ellipticity, (x, y, a, b, angle) in zip(
        moments.centroid, moments.size, moments.ellipticity, parameters, strict=True
    ):
        assert centroid == pytest.approx([x, y], abs=1e-3)
        assert size == pytest.approx(np.sqrt(a * b), rel=1e-3)
        e = (a**2 - b**2) / (a**2 + b**2)
        twice = np.radians(2 * angle)
        assert ellipticity == pytest.approx([e * np.cos(twice), e * np.sin(twice)], abs=1e-3)


def test_moments_are_those_of_galsim():
    galsim = pytest.importorskip("galsim")
    rng = np.random.default_rng(3)
    psf = galsim.Moffat(beta=3, fwhm=1.2)
    for index in (1, 1, 2.5, 2.5, 4, 4):
        galaxy = galsim.Sersic(index, half_light_radius=rng.uniform(0.6, 2), trunc=8)
        galaxy = galaxy.shear(q=rng.uniform(0.3, 1), beta=rng.uniform(0, 180) * galsim.degrees)
        image = galsim.Convolve(galaxy.shift(*rng.uniform(-1, 1, 2)), psf).drawImage(nx=64, ny=64, scale=SCALE)
        ours = adaptive_moments(image.array[None])
        theirs = galsim.hsm.FindAdaptiveMom(image)
        assert ours.size[0] == pytest.approx(theirs.moments_sigma, rel=2e-3)
        shape = [theirs.observed_shape.e1, theirs.observed_shape.e2]
        assert ours.ellipticity[0] == pytest.approx(shape, abs=2e-3)
        centroid = [theirs.moments_centroid.x - 1, theirs.moments_centroid.y - 1]
        assert ours.centroid[0] == pytest.approx(centroid, abs=5e-3)


def test_moments_of_what_is_no_galaxy_do_not_settle():
    nothing, point = np.zeros((64, 64)), np.zeros((64, 64))
    point[30, 30] = 1
    moments = adaptive_moments(np.stack([nothing, point, -gaussian(32, 32, 3), gaussian(32, 32, 3)]))
    np.testing.assert_array_equal(np.isnan(moments.size), [True, True, True, False])
    np.testing.assert_array_equal(np.isnan(moments.centroid).all(axis=1), np.isnan(moments.size))
