"""Predicted: the result of a prediction, and the files beside its maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from oasis.errors import OasisError
from oasis.io.outputs import check_named

INTENSITIES, INSTANCES = ".csv", "_instances.csv"  # suffixes of the tables next to the maps


class Predicted(NamedTuple):
    """The result of a prediction.

    Attributes:
        images: number of separated images.
        failed: the files that could not be used, completely or in part, and why.
        objects: one row per image and class: `source`, `frame`, `class`, `intensity_predicted` and
            `overlap_fraction_predicted` over the good visible pixels; `masked_fraction` if there are masks,
            `intensity_spread` if requested, and the positions stated in files.
        instances: one row per single object, if maps of whole images were grouped.
    """

    images: int
    failed: Mapping[Path, OasisError]
    objects: pd.DataFrame
    instances: pd.DataFrame | None = None


def together(parts: Sequence[Predicted], failed: Mapping[Path, OasisError]) -> Predicted:
    """Return the results of several predictions as one.

    Args:
        parts: the results; their tables are of one run.
        failed: further files that could not be used.
    """
    listed = [part.instances for part in parts if part.instances is not None]
    problems = {path: error for part in parts for path, error in part.failed.items()}
    return Predicted(
        sum(part.images for part in parts),
        problems | dict(failed),
        pd.concat([part.objects for part in parts], ignore_index=True),
        pd.concat(listed, ignore_index=True) if listed else None,
    )


def tables_of(out: Path) -> tuple[Path, Path]:
    """Return the files beside the maps: the table of intensities, and that of single objects.

    Example:
        >>> [path.name for path in tables_of(Path("maps.h5"))]
        ['maps.csv', 'maps_instances.csv']

    Raises:
        ConfigError: the output has no name of its own, as `.` and `/`.
    """
    check_named(out, "maps.h5")
    return out.with_suffix(INTENSITIES), out.with_name(f"{out.stem}{INSTANCES}")
