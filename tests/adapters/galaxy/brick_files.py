"""Files as the Legacy Surveys write the coadded images of a brick, with the cards of DR10 that matter."""

import numpy as np

BANDS = ("g", "r", "i", "z")
FILTERS = {"g": "g DECam SDSS c0001 4720.0 1520.0", "r": "r DECam SDSS c0002 6415.0 1480.0"}
UNITS = {"image": "nanomaggy", "invvar": "1/nanomaggy^2", "psfsize": "arcsec"}


def cards(kind, band, shape, scale=0.262):
    """Return the cards of a plane: the image of one band lists all bands of its brick."""
    height, width = shape
    common = {
        "SURVEY": "DECaLS+BASS+MzLS",
        "BRICK": "0489m442",
        "BANDS": "".join(BANDS),
        **{f"BAND{index}": name for index, name in enumerate(BANDS)},
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 48.9168278529981,
        "CRVAL2": -44.25,
        "CRPIX1": (width + 1) / 2,
        "CRPIX2": (height + 1) / 2,
        "CD1_1": -scale / 3600,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": scale / 3600,
        "IMTYPE": kind,
    }
    if kind == "maskbits":
        return common
    named = {"FILTER": FILTERS.get(band, band), "FILTERX": band}
    stated = {"MAGZERO": 22.5} if kind == "image" else {}
    return common | named | stated | {"BUNIT": UNITS.get(kind, "")}


def write_brick(folder, planes, brick="0489m442"):
    """Write planes (kind, band) -> values to a file each, compressed without loss; return their paths by key."""
    from astropy.io import fits

    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for (kind, band), values in planes.items():
        values = np.asarray(values)
        header = fits.Header(cards(kind, band, values.shape))
        units = [fits.PrimaryHDU(), compressed(values, header)]
        if kind == "maskbits":
            units += [
                compressed(np.full(values.shape, 255, np.uint8), fits.Header(), name)
                for name in ("WISEM1", "WISEM2")
            ]
            units[1].name = "MASKBITS"
        path = folder / f"legacysurvey-{brick}-{'-'.join(filter(None, (kind, band)))}.fits.fz"
        fits.HDUList(units).writeto(path, overwrite=True)
        paths[kind, band] = path
    return paths


def compressed(values, header, name=None):
    """Return a unit that is compressed without loss."""
    from astropy.io import fits

    return fits.CompImageHDU(values, header, name=name, compression_type="GZIP_1", quantize_level=0)
