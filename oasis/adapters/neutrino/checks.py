"""What is checked of the values of other people's particles, whichever format they are stored in."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.neutrino.simulation import CUBES
from oasis.errors import DataError

STORED: Final = CUBES + 2  # cubes along each axis of a stored image
NUCLEI: Final = (0.0, 1000.0)  # MeV; those of the release have up to 60, exiting protons of the successor more
MUONS: Final = (50.0, 10_000.0)  # MeV; below, a muon may stop in the volume; those of the release have 300 to 1000
EXITS: Final = (0.0, MUONS[1])  # MeV of a muon that leaves
UNIT: Final = 0.01  # by which the length of a direction may differ from 1
SAMPLE: Final = 16  # nuclei that are looked at together
SLOW: Final = 0.5  # MeV; so many nuclei below it (a range of 0.01 mm) are in GeV


def check_energy(where: object, name: str, energy: float, limits: tuple[float, float]) -> None:
    """Check a kinetic energy in MeV.

    Raises:
        DataError: it is outside the limits, as energies in GeV or keV are.

    Example:
        >>> check_energy("a.npz", "ke", 0.45, MUONS)
        Traceback (most recent call last):
        oasis.errors.DataError: a.npz: ke is 0.45, expected a kinetic energy of 50 to 10000 MeV, not GeV or keV
    """
    low, high = limits
    if not low <= energy <= high:
        raise DataError(
            f"{where}: {name} is {energy:g}, expected a kinetic energy of {low:g} to {high:g} MeV, not GeV or keV"
        )


def check_unit(where: object, energies: NDArray[np.floating]) -> None:
    """Check the energies of some nuclei, of which one alone may be slow.

    Raises:
        DataError: all are so low that they must be in GeV.
    """
    if len(energies) >= SAMPLE and energies.max() < SLOW:
        raise DataError(
            f"{where}: the energies of {len(energies)} nuclei are at most {energies.max():.3g} MeV, which look "
            "like GeV: convert them to MeV"
        )


def spread(names: list[Any]) -> list[Any]:
    """Return up to `SAMPLE` items, evenly spread over a list."""
    return names[:: max(1, len(names) // SAMPLE)][:SAMPLE]


def event_numbers(where: object, values: Any) -> list[int]:
    """Return the numbers of events, each of which occurs once.

    Raises:
        DataError: they are no list of whole numbers from 0, or a number occurs twice: then one particle could be
            for training and for testing.
    """
    try:
        numbers = np.asarray(values)
    except ValueError:
        numbers = np.zeros(())
    if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "iuf"):
        raise DataError(f"{where}: expected lists of event numbers")
    wrong = numbers[(numbers < 0) | (numbers != np.round(numbers)) | ~np.isfinite(numbers)]
    if len(wrong):
        raise DataError(f"{where}: the event number {wrong[0]:g}, expected whole numbers from 0")
    known, counts = np.unique(numbers, return_counts=True)
    if len(known) < len(numbers):
        raise DataError(
            f"{where}: the event number {known[counts > 1][0]:g} occurs {counts.max()} times, expected once"
        )
    return [int(number) for number in numbers]


def check_hits(
    where: object, cubes: NDArray[np.floating], charges: NDArray[np.floating], lowest: int
) -> NDArray[np.int64]:
    """Return the cubes (n, 3) of hits as indices from 0.

    Args:
        where: the file.
        cubes: (n, 3) whole numbers from `lowest`.
        charges: (n,) p.e.
        lowest: the number of the first cube on each axis.

    Raises:
        DataError: cubes that are no whole numbers or lie outside the volume, or charges below 0.
    """
    broken = (cubes != np.round(cubes)).any(axis=1)
    if broken.any():
        raise DataError(
            f"{where}: a hit at {_text(cubes[broken][0])}, expected whole numbers of cubes: are these lengths?"
        )
    outside = ((cubes < lowest) | (cubes >= lowest + STORED)).any(axis=1)
    if outside.any():
        raise DataError(
            f"{where}: a hit in cube {_text(cubes[outside][0])} lies outside the volume, expected {lowest} to "
            f"{lowest + STORED - 1} on each axis"
        )
    if charges.min() < 0:
        raise DataError(f"{where}: a charge of {charges.min():g} p.e., expected 0 or more")
    return cubes.astype(np.int64) - lowest


def _text(cube: NDArray[Any]) -> str:
    return f"({', '.join(f'{one:g}' for one in cube)})"
