"""Blurring: galaxies with a wider point-spread function, and on larger pixels, than those of their library."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import kn

from oasis.adapters.galaxy.survey import moffat_scale
from oasis.data.samples import Array

Floats = NDArray[np.float64]

LARGEST, STEPS = 60.0, 6000  # of the argument k a, where a Moffat profile transfers less than 1e-20


class Blur(NamedTuple):
    """What turns stamps into those that another image shows.

    Attributes:
        transfer: (B, 2 s, s + 1) factors of the Fourier transform of a stamp that is padded to twice its side.
        rows: (s, 2 s) the values of all waves in the rows of the new image.
        columns: (s + 1, s) those in its columns.
        noise: (B,) standard deviation of white noise afterwards, as a fraction of that before.
    """

    transfer: NDArray[np.float32]
    rows: NDArray[np.complex64]
    columns: NDArray[np.complex64]
    noise: Floats

    def __call__(self, flux: Array) -> Array:
        """Return a stamp (B, s, s) as the other image shows it, with its middle in the same pixel."""
        side = flux.shape[-1]
        waves = np.fft.rfft2(flux, s=(2 * side, 2 * side)).astype(np.complex64)
        waves *= self.transfer
        image = (self.rows @ waves @ self.columns).real
        return np.maximum(image, 0)  # stamps end at their edges, which makes ripples around 0


def moffat_transfer(argument: NDArray[np.floating]) -> Floats:
    r"""Return the natural logarithm of the Fourier transform of the Moffat profile with beta = 3.

    For :math:`I(r) \propto (1 + r^2 / a^2)^{-3}` it is :math:`(k a)^2 K_2(k a) / 2`, with the modified Bessel
    function :math:`K_2` (Trujillo et al. 2001, MNRAS 328, 977, for any beta).

    Args:
        argument: k a, with k the angular frequency.

    Example:
        >>> moffat_transfer(np.array([0.0, 1.0])).round(3)
        array([ 0.   , -0.208])
    """
    values, slopes = _table()
    place = np.minimum(argument, LARGEST) * ((STEPS - 1) / LARGEST)
    index = place.astype(np.intp)
    return np.asarray(values[index] + (place - index) * slopes[index])


@cache
def _table() -> tuple[Floats, Floats]:
    """Return values at equal steps, and their increases."""
    nodes = np.linspace(0, LARGEST, STEPS)[1:]
    values = np.insert(np.log(nodes**2 * kn(2, nodes) / 2), 0, 0)
    return values, np.append(np.diff(values), 0)


def blur(side: int, old_widths: Floats, new_widths: Floats, old_scale: float, new_scale: float) -> Blur:
    """Return what draws stamps of a side with other point-spread functions and pixels.

    The Fourier transform of a stamp is divided by those of the old profile and pixel, multiplied by those of the
    new ones, and evaluated at the middles of the new pixels: no pixel is interpolated otherwise.

    Args:
        side: rows and columns of the stamps.
        old_widths: (B,) full widths at half maximum of the stamps, arcsec.
        new_widths: (B,) those wanted, at least as wide.
        old_scale: of the pixels of the stamps, arcsec.
        new_scale: of the pixels wanted, at least as large.
    """
    frequencies = 2 * np.pi * np.fft.fftfreq(2 * side), 2 * np.pi * np.fft.rfftfreq(2 * side)  # per old pixel
    radius = np.hypot(frequencies[0][:, None], frequencies[1][None]) / old_scale
    transfer = np.ones((len(old_widths), *radius.shape))
    for one, old, new in zip(transfer, old_widths, new_widths, strict=True):
        if old != new:
            one *= np.exp(
                moffat_transfer(radius * moffat_scale(new)) - moffat_transfer(radius * moffat_scale(old))
            )
    ratio = new_scale / old_scale
    if ratio != 1:
        edges = [np.sinc(each * ratio / (2 * np.pi)) / np.sinc(each / (2 * np.pi)) for each in frequencies]
        transfer *= edges[0][:, None] * edges[1][None]
        beyond = [np.abs(each) * ratio > np.pi for each in frequencies]  # which new pixels cannot carry
        transfer[:, beyond[0]] = 0
        transfer[:, :, beyond[1]] = 0
    transfer *= ratio**2  # flux per pixel
    places = side // 2 + ratio * (np.arange(side) - side // 2)  # in old pixels
    inside = (places > -0.5) & (places < side - 0.5)  # beyond, the padded stamp would repeat itself
    waves = [np.exp(1j * places[:, None] * each) for each in frequencies]
    rows = np.where(inside[:, None], waves[0], 0) / (2 * side)
    twice = np.where(np.isin(np.arange(side + 1), (0, side)), 1, 2)  # the other half of the spectrum
    columns = np.where(inside[:, None], waves[1] * twice, 0).T / (2 * side)
    every = np.broadcast_to(twice, transfer.shape)
    noise = np.sqrt((transfer**2 * every).mean(axis=(1, 2)) * (side + 1) / (2 * side))
    return Blur(transfer.astype(np.float32), rows.astype(np.complex64), columns.astype(np.complex64), noise)
