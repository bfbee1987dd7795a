"""The options that domains share: the number of samples of each split, and the files to read them from."""

from collections.abc import Mapping
from typing import Any

from pydantic import AfterValidator, Field, field_validator

from oasis.io.axes import KNOWN, MEANINGS
from oasis.options import Options


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("expected the lower bound first")
    return bounds


Rising = AfterValidator(_rising)
"""Validator for an option with two bounds: `Annotated[tuple[float, float], Rising]`."""

SPLITS = ("train", "val", "test")
MOST = 10_000_000  # samples in an epoch


class SplitCounts(Options):
    """The number of samples of each split.

    Attributes:
        train: training samples, new ones in every epoch.
        val: validation samples, the same ones in every epoch.
        test: held-out samples.
    """

    train: int = Field(ge=0, le=MOST)
    val: int = Field(ge=0, le=MOST)
    test: int = Field(ge=0, le=MOST)


class SplitFiles(Options):
    """The file, folder or files that each split is read from; a split without files is simulated.

    Attributes:
        train: the training samples.
        val: the validation samples.
        test: the held-out samples.
    """

    train: str | tuple[str, ...] | None = None
    val: str | tuple[str, ...] | None = None
    test: str | tuple[str, ...] | None = None

    @field_validator("train", "val", "test")
    @classmethod
    def _named_once(cls, files: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(files, tuple) and len(set(files)) < len(files):
            raise ValueError("expected each file once")
        return files

    def of(self, split: str) -> tuple[str, ...]:
        """Return the files of a split; none if it is simulated.

        Example:
            >>> SplitFiles(train=("a.h5", "b.h5"), test="c.h5").of("test")
            ('c.h5',)
        """
        files: str | tuple[str, ...] | None = getattr(self, split)
        return (files,) if isinstance(files, str) else files or ()


class DataOptions(Options):
    """The section `data`; a domain adds its own keys in a subclass.

    A default of `events` in a subclass applies to the splits that a configuration does not name.

    Attributes:
        events: samples per split.
        files: files of samples by split, used instead of the simulation.
        axes: the axes of the arrays in image files, one letter for each, such as `CZYX`: T (times), C (channels),
            Z, Y, X or I (images); by default those that a file states, else by its shape.

    Example:
        >>> class Cells(DataOptions):
        ...     events: SplitCounts = SplitCounts(train=512, val=64, test=256)
        >>> Cells.parse({"events": {"train": 8}}).events
        SplitCounts(train=8, val=64, test=256)
    """

    events: SplitCounts = SplitCounts(train=2000, val=200, test=1000)
    files: SplitFiles = SplitFiles()
    axes: str | None = None

    @field_validator("events", mode="before")
    @classmethod
    def _completed(cls, counts: Any) -> Any:
        default = cls.model_fields["events"].default
        return {**default.model_dump(), **counts} if isinstance(counts, Mapping) else counts

    @field_validator("axes")
    @classmethod
    def _known_letters(cls, axes: str | None) -> str | None:
        if axes is not None and not (axes and {*axes} <= {*KNOWN, "I"}):
            raise ValueError(f"expected one letter for each axis, of {MEANINGS}, such as IYX")
        return axes
