"""Writes LIF files, the format of Leica microscopes: a header in XML and a block of bytes for each series."""

import struct

import numpy as np

AXES = {"X": 1, "Y": 2, "Z": 3, "T": 4}  # numbers of the axes in the header


def _block(content: bytes) -> bytes:
    return struct.pack("<II", 0x70, len(content)) + content


def _text(words: str) -> bytes:
    return struct.pack("<BI", 0x2A, len(words)) + words.encode("utf-16-le")


def _series(name, values, pixel_size, number):
    """Return the element of a series (C, Z, Y, X); lengths of pixels in metres by axis."""
    lengths = dict(zip("CZYX", values.shape, strict=True))
    step, dimensions = values.dtype.itemsize, ""
    for axis in "XYZ":
        extent = pixel_size[axis] * (lengths[axis] - 1)
        dimensions += (
            f'<DimensionDescription DimID="{AXES[axis]}" NumberOfElements="{lengths[axis]}" Origin="0" '
            f'Length="{extent:.9e}" Unit="m" BitInc="0" BytesInc="{step}"/>'
        )
        step *= lengths[axis]
    channels = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" '
        f'Max="65535" Unit="" LUTName="channel {place}" IsLUTInverted="0" BytesInc="{place * step}" BitInc="0"/>'
        for place in range(lengths["C"])
    )
    return (
        f'<Element Name="{name}"><Data><Image TextDescription=""><ImageDescription><Channels>{channels}</Channels>'
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="{values.nbytes}" MemoryBlockID="MemBlock_{number}"/><Children/></Element>'
    )


def write_lif(path, series, pixel_size):
    """Write series, arrays (C, Z, Y, X) of unsigned 16-bit numbers by name."""
    elements = "".join(
        _series(name, values, pixel_size, number) for number, (name, values) in enumerate(series.items())
    )
    header = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Data><Experiment Path=""/></Data>'
        f'<Memory Size="0" MemoryBlockID="MemBlock_99"/><Children>{elements}</Children></Element>'
        "</LMSDataContainerHeader>"
    )
    content = _block(_text(header))
    for number, values in enumerate(series.values()):
        name = f"MemBlock_{number}"
        head = struct.pack("<BQ", 0x2A, values.nbytes) + _text(name)
        content += _block(head) + np.ascontiguousarray(values).tobytes()
    path.write_bytes(content)
