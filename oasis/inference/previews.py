"""Previews: a picture of the first images of a file with their maps, to be looked at."""

import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oasis.data.pictures import top_of
from oasis.data.samples import Array
from oasis.data.views import view
from oasis.drawing import RED, plain
from oasis.io.files import readable, replace_when_whole
from oasis.io.signal_tables import Abscissa, abscissa_of, fitting
from oasis.separator.separator import Separator

SHOWN = 4  # images of a file
SIDE = 400  # longest side of a picture in pixels
COMMON = ("input", "input − sum")

Row = tuple[int, Array, Array]  # the number of an image, the image and its maps as they are drawn


class Previews:
    """Pictures of inputs and maps, one PNG for every input file.

    Args:
        paths: where the picture of each file goes.
        separator: whose classes and unit they show.
    """

    def __init__(self, paths: dict[Path, Path], separator: Separator) -> None:
        self._paths, self._separator = paths, separator
        self._rows: list[Row] = []
        self._path: Path | None = None

    def add(self, path: Path, numbers: NDArray[np.intp], images: Array, maps: Array) -> None:
        """Draw the first images (n, B, *S) of a file and their maps (n, N, B, *S), once the next file begins."""
        if path != self._path:
            self.close()
            self._path = path
        for number, image, found in zip(numbers.tolist(), images, maps, strict=True):
            if len(self._rows) < SHOWN:
                self._rows.append((number, *_reduced(image, found)))

    def close(self) -> None:
        """Write the picture of the last file."""
        if self._path is None:
            return
        content = io.BytesIO()
        self._figure(self._path).savefig(content, format="png", dpi=150)
        with replace_when_whole(self._paths[self._path]) as temporary:
            temporary.write_bytes(content.getvalue())
        self._rows, self._path = [], None

    def _figure(self, path: Path) -> Figure:
        rows, name = self._rows, readable(path.name)
        classes, unit = self._separator.classes, self._separator.options.unit
        titles = [COMMON[0], *classes, COMMON[1]]
        lines = rows[0][1].ndim == 1
        abscissa = abscissa_of(path) if lines else None
        figure = Figure(
            figsize=(2.1 * len(titles) + 0.2, (1.3 if lines else 1.9) * len(rows) + 0.4), layout="constrained"
        )
        figure.suptitle(plain(name + (f" ({unit})" if unit else "")), fontsize=10)
        grid = figure.subplots(len(rows), len(titles), squeeze=False)
        for axes, (number, image, maps) in zip(grid, rows, strict=True):
            panels = [image, *maps, image - maps.sum(axis=0)]
            for place, (one, values) in enumerate(zip(axes, panels, strict=True)):
                if lines:
                    _line(one, values, place == len(panels) - 1, abscissa)
                else:
                    _picture(one, values, place == len(panels) - 1)
                one.set_title(titles[place], fontsize=9)
            axes[0].set_ylabel(f"image {number}", fontsize=8)
        return figure


def _reduced(image: Array, maps: Array) -> tuple[Array, Array]:
    """Return an image and its maps as they are drawn."""
    everything, side = (slice(None),) * (image.ndim - 1), None if image.ndim == 2 else SIDE
    return view(image, everything, side), np.stack([view(one, everything, side) for one in maps])


def _picture(axes: "matplotlib.axes.Axes", values: Array, signed: bool) -> None:
    top = max(top_of(np.abs(values) if signed else values), 1e-12)
    low, colours = (-top, "RdBu_r") if signed else (0.0, "viridis")
    picture = axes.imshow(values, vmin=low, vmax=top, cmap=colours)
    axes.set(xticks=[], yticks=[])
    assert axes.figure is not None
    axes.figure.colorbar(picture, ax=axes, fraction=0.046).ax.tick_params(labelsize=6)


def _line(axes: "matplotlib.axes.Axes", values: Array, signed: bool, abscissa: Abscissa | None) -> None:
    """Draw a signal over the abscissa of its file, else over the numbers of its samples."""
    name, places = fitting(abscissa, len(values), "sample")
    axes.plot(places, values, color=RED if signed else "black", linewidth=0.8)
    axes.set_xlabel(plain(name), fontsize=6)
    axes.tick_params(labelsize=6)
