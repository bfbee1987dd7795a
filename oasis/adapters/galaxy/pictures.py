"""Pictures: PNG and JPEG images of surveys, whose stretched intensities are converted back to flux."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oasis.adapters.galaxy.cutout import Cutout, Reading, checked, object_name
from oasis.adapters.galaxy.survey import BANDS, PIXEL_SCALE
from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.io.files import check_file
from oasis.io.files import reading as guarded


def galaxy_zoo_flux(picture: NDArray[np.uint8]) -> Array:
    r"""Undo the stretch of the Galaxy Zoo DECaLS pictures, approximately.

    .. math:: v_b = \frac{A(f_b/s_b) - A(-0.5)}{A(300) - A(-0.5)}, \qquad A = \mathrm{arcsinh}

    with :math:`s` = 0.008, 0.014, 0.019 nmgy in g, r, z, in blue, green, red. Brighter pixels are clipped, and the
    colour contrast of faint pixels is reduced in the published pictures, which is not undone. Source: arXiv
    2102.08414, sec. 2.3, and https://github.com/zooniverse/decals.

    Args:
        picture: (H, W, 3) red, green, blue.

    Returns:
        (3, H, W) in g, r, z: nmgy per pixel of 0.262 arcsec.

    Example:
        >>> galaxy_zoo_flux(np.full((1, 1, 3), 255, np.uint8)).ravel().round(1)
        array([2.4, 4.3, 5.8], dtype=float32)
    """
    low, high = np.arcsinh(-0.5), np.arcsinh(300.0)
    value = (picture.transpose(2, 0, 1)[::-1] + 0.5) / 255
    scales = np.array([0.008, 0.014, 0.019])[:, None, None]
    return np.asarray(scales * np.sinh(low + value * (high - low)), np.float32)


def viewer_flux(picture: NDArray[np.uint8]) -> Array:
    r"""Undo the stretch of the Legacy Survey viewer for g, r, z, approximately.

    .. math:: v_b = x_b \, \frac{\mathrm{arcsinh}(Q I)}{\sqrt{Q} \, I}, \qquad x_b = s_b f_b + m, \qquad
              I = \tfrac{1}{3} \sum_b \max(x_b, 0)

    with :math:`s` = 6, 3.4, 2.2 per nmgy in g, r, z, in blue, green, red, :math:`m` = 0.03 and :math:`Q` = 20.
    Pixels clipped at 1 come out too faint. Source: `dr2_rgb` in https://github.com/legacysurvey/imagine, which
    serves the layers of DR2 to DR9.

    Args:
        picture: (H, W, 3) red, green, blue.

    Returns:
        (3, H, W) in g, r, z: nmgy per pixel of 0.262 arcsec.
    """
    value = (picture.transpose(2, 0, 1)[::-1] + 0.5) / 255
    mean = value.mean(axis=0)
    intensity = np.sinh(np.sqrt(20.0) * mean) / 20
    scales = np.array([6.0, 3.4, 2.2])[:, None, None]
    return np.asarray((value * intensity / mean - 0.03) / scales, np.float32)


_FLUX = {"galaxy_zoo": galaxy_zoo_flux, "viewer": viewer_flux}


def read_picture(path: Path, reading: Reading, pixel_scale: float | None) -> Cutout:
    """Read a picture of 8 bits in red, green and blue.

    Raises:
        DataError: a file that is damaged or of another kind, or whose pixel scale (arcsec) is not known.
    """
    check_file(path)
    with guarded(path, "damaged, or not a picture"), Image.open(path) as image:
        mode, picture = image.mode, np.asarray(image)
    if mode != "RGB":
        raise DataError(f"{path}: a picture of mode {mode}, expected RGB with 8 bits each")
    if pixel_scale is None:
        raise DataError(
            f"{path}: a picture does not state its pixel scale: set reading.pixel_scale, or name a catalogue with "
            "its petro_th50 and petro_th90"
        )
    return from_picture(path, picture, reading.stretch, pixel_scale, object_name(path))


def from_picture(
    where: Path | str,
    picture: NDArray[np.uint8],
    stretch: str,
    pixel_scale: float,
    name: str,
    ra: float = float("nan"),
    dec: float = float("nan"),
) -> Cutout:
    """Make a cutout from a picture (H, W, 3) whose first row is the northernmost."""
    flux = _FLUX[stretch](picture)[:, ::-1]
    cutout = Cutout(flux, BANDS, pixel_scale, name, approximate=True, ra=ra, dec=dec)
    return checked(where, cutout, PIXEL_SCALE)
