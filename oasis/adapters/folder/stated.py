"""Stated: what image files say of themselves beside their numbers, and whether others say the same."""

from collections.abc import Sequence
from typing import Final, Self

from pydantic import model_validator

from oasis.io.axes import AxisFacts, in_one_unit
from oasis.options import Options

ALIKE: Final = 0.05  # relative difference of sizes of pixels that matters little


class Stated(Options):
    """What the files to train on state; files that state something else are warned of, others are not checked.

    Attributes:
        pixel: length of a pixel, or of a step of a signal, along every spatial axis; empty if unknown.
        unit: of these lengths.
        channels: names of the channels in the order of the bands; empty if unknown.

    Example:
        >>> stated = Stated(pixel=(0.1, 0.1), unit="µm", channels=("DAPI", "GFP"))
        >>> stated.unlike(AxisFacts("CYX", {"Y": 0.1, "X": 0.1}, "µm", ("GFP", "DAPI")), 2)
        'its channels are GFP, DAPI, but those in training DAPI, GFP: are they exchanged?'
    """

    pixel: tuple[float, ...] = ()
    unit: str = ""
    channels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if any(not length > 0 for length in self.pixel):
            raise ValueError(f"pixel: expected lengths above 0, found {list(self.pixel)}")
        return self

    def unlike(self, facts: AxisFacts, spatial_dims: int) -> str:
        """Return in what a file differs from these, as a text for people, which is empty if it does not."""
        names, lengths = facts.channels, facts.lengths(spatial_dims)
        if names and self.channels and names != self.channels:
            mend = (
                "are they exchanged"
                if sorted(names) == sorted(self.channels)
                else "are they the same in this order"
            )
            said = "its channels are {}, but those in training {}: {}?"
            return said.format(", ".join(names), ", ".join(self.channels), mend)
        if facts.pixel_unit and self.unit:
            units = [in_one_unit({"Y": (one, facts.pixel_unit), "X": (1.0, self.unit)})[0] for one in lengths]
            lengths = tuple(one["Y"] for one in units if "Y" in one)  # none if the units cannot be compared
        if len(lengths) != len(self.pixel) or _alike(lengths, self.pixel):
            return ""
        here, there = (" x ".join(f"{length:.4g}" for length in one) for one in (lengths, self.pixel))
        return (
            f"its pixels are {here} {self.unit or facts.pixel_unit}".rstrip()
            + f", but those in training {there}: objects have another size, resample it"
        )


def stated_by(facts: Sequence[AxisFacts], spatial_dims: int) -> Stated:
    """Return what some files state, if those that state something say the same.

    Args:
        facts: those of every file.
        spatial_dims: number of spatial axes.
    """
    lengths = list(filter(None, (one.lengths(spatial_dims) for one in facts)))
    units = {one.pixel_unit for one in facts} - {""}
    names = {one.channels for one in facts if one.channels}
    known = bool(lengths) and len(units) < 2 and all(_alike(one, lengths[0]) for one in lengths)
    pixel = tuple(float(f"{length:.6g}") for length in lengths[0]) if known else ()
    return Stated(
        pixel=pixel, unit="".join(units) if known else "", channels=min(names) if len(names) == 1 else ()
    )


def differ(facts: Sequence[AxisFacts], spatial_dims: int) -> tuple[int, str]:
    """Return the index of the first file that differs from the first one, and in what; else an empty text."""
    first = stated_by(facts[:1], spatial_dims)
    found = ((place, first.unlike(one, spatial_dims)) for place, one in enumerate(facts))
    return next(
        ((place, text.replace("in training", "of the first file")) for place, text in found if text), (0, "")
    )


def _alike(first: Sequence[float], second: Sequence[float]) -> bool:
    return len(first) == len(second) and all(abs(a - b) <= ALIKE * b for a, b in zip(first, second, strict=True))
