"""The options of windows: how images are cut before they are separated."""

import os
from collections.abc import Sequence
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from oasis.errors import ConfigError, shown
from oasis.inference.memory import parse_memory
from oasis.options import Options

Kind = Literal["whole", "tiles", "regions"]
GRID: Final = "grid"  # regions that cover every image


class WindowOptions(Options):
    """How images are cut before they are separated.

    Attributes:
        kind: `whole` images, `tiles` that cover an image, or `regions` of interest, each cut at the size in
            training; by default what the measured size dependence of the separator and the memory allow.
        tile: pixels of a tile along every axis, without its halo; by default as many as the memory allows.
        memory: memory of the whole process, such as `2GB`, when images are separated by tiles; without `kind`, it
            also determines from which size on they are.
        regions: a file of boxes or positions, or a folder of YOLO label files, instead of the regions that the
            adapter finds; or `grid`, for windows side by side that cover every image.
        detect: a detector of the adapter, whose positions are regions.
        level: which resolution of OME-Zarr images is read, 0 for the full one.

    Example:
        >>> WindowOptions(memory="2GB").bytes
        2000000000
        >>> WindowOptions(regions="boxes.csv").kind
        'regions'
    """

    kind: Kind | None = None
    tile: int | None = Field(None, ge=1)
    memory: str | None = None
    regions: str | None = None
    detect: str | None = None
    level: int | None = Field(None, ge=0)

    @field_validator("memory")
    @classmethod
    def _a_size(cls, memory: str | None) -> str | None:
        if memory is not None:
            parse_memory(memory)
        return memory

    @model_validator(mode="before")
    @classmethod
    def _of_regions(cls, values: object) -> object:
        named = isinstance(values, dict) and not (values.get("regions") is None and values.get("detect") is None)
        if isinstance(values, dict) and named and values.get("kind") is None:
            return {**values, "kind": "regions"}
        return values

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.regions is not None and self.kind != "regions":
            raise ValueError(f"regions: a file of regions goes with the window regions, not {self.kind}")
        if self.detect is not None and self.kind != "regions":
            raise ValueError(f"detect: objects that are detected go with the window regions, not {self.kind}")
        if self.detect is not None and self.regions is not None:
            raise ValueError("detect: objects are detected, or given by regions, not both")
        if self.tile is not None and self.kind != "tiles":
            raise ValueError(f"tile: goes with the window tiles, not {self.kind or 'none'}")
        return self

    def resolved(self, detectors: Sequence[str]) -> Self:
        """Return the options with the name of a detector, or of a file of positions, in its own field.

        Args:
            detectors: the names of the adapter's detectors.

        Raises:
            ConfigError: `detect` is neither.

        Example:
            >>> WindowOptions(detect="a.csv").resolved(["sep"])
            Traceback (most recent call last):
            oasis.errors.ConfigError: detect: 'a.csv' is neither a detector of this adapter (sep) nor a file
        """
        if self.detect is None or self.detect in detectors:
            return self
        if not os.path.exists(self.detect):
            known = f" ({', '.join(detectors)})" if detectors else ""
            raise ConfigError(
                f"detect: {shown(self.detect)} is neither a detector of this adapter{known} nor a file"
            )
        return self.model_copy(update={"regions": self.detect, "detect": None})

    @property
    def file(self) -> str | None:
        """The file of regions, None without one."""
        return None if self.regions == GRID else self.regions

    @property
    def bytes(self) -> int | None:
        """The memory in bytes."""
        return None if self.memory is None else parse_memory(self.memory)
