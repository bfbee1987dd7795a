"""PNG files: grey of up to 16 bits, and colours of 8 bits as channels."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PNG: Final = ".png"
COLOUR_TYPES: Final = (2, 4, 6)  # of PNG: colours, grey with opacity, colours with opacity
COLOUR_BYTE, DEPTH_BYTE = 25, 24  # of the file, in the header of the image
OPAQUE: Final = 255
PALETTE: Final = "palette"


def read_png(path: Path, key: str | None = None) -> NDArray[Any]:
    """Read a PNG file.

    Args:
        path: the path of the file.
        key: `palette` to return the indices of a palette, in which programs store label images.

    Returns:
        (rows, columns), or (1, channels, rows, columns) for colours, as from a TIFF file.

    Raises:
        ValueError: colours of 16 bits, of which the reader would drop the lower 8, a palette of colours, or
            opacity that is not full everywhere, which is no channel of intensities.
    """
    head = path.read_bytes()[: COLOUR_BYTE + 1]
    if len(head) > COLOUR_BYTE and head[COLOUR_BYTE] in COLOUR_TYPES and head[DEPTH_BYTE] == 16:
        raise ValueError("colours of 16 bits: save each channel as a grey image, or all as TIFF")
    with Image.open(path, formats=["PNG"]) as image:
        if image.mode == "P" and key != PALETTE:
            raise ValueError("a palette of colours, not intensities: save it as a grey image")
        values = np.asarray(image)
        if image.mode in ("LA", "RGBA"):
            if (values[..., -1] < OPAQUE).any():
                raise ValueError("an opacity (alpha channel), which is no intensity: save it without")
            values = values[..., 0] if image.mode == "LA" else values[..., :-1]
        if image.mode == "L" and head[DEPTH_BYTE] in (2, 4):
            values = values // (255 // (2 ** head[DEPTH_BYTE] - 1))  # by which the reader multiplies them
    return values if values.ndim == 2 else np.moveaxis(values, -1, 0)[None]
