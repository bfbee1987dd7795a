"""The options of windows: how images are cut before they are separated."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from oasis.inference.memory import parse_memory
from oasis.options import Options

Kind = Literal["whole", "tiles", "regions"]


class WindowOptions(Options):
    """How images are cut before they are separated.

    Attributes:
        kind: `whole` images, `tiles` that cover an image, or `regions` of interest, each cut at the size in
            training; by default what the measured size dependence of the separator and the memory allow.
        tile: pixels of a tile along every axis, without its halo; by default as many as the memory allows.
        memory: memory of the whole process, such as `2GB`, when images are separated by tiles; without `kind`, it
            also determines from which size on they are.
        regions: a file of boxes or positions, or a folder of YOLO label files, instead of the regions that the
            adapter finds.
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
        if isinstance(values, dict) and values.get("regions") is not None and values.get("kind") is None:
            return {**values, "kind": "regions"}
        return values

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.regions is not None and self.kind != "regions":
            raise ValueError(f"regions: a file of regions goes with the window regions, not {self.kind}")
        if self.tile is not None and self.kind != "tiles":
            raise ValueError(f"tile: goes with the window tiles, not {self.kind or 'none'}")
        return self

    @property
    def bytes(self) -> int | None:
        """The memory in bytes."""
        return None if self.memory is None else parse_memory(self.memory)
