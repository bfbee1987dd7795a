"""Baselines without a network: significant pixels, components and cuts, and energies as sums over boxes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.ccd.scene import BETA, CE, ELECTRON, MUON, PHOTON
from oasis.data.instances import Instances
from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.instances.grouping import Grouping, group
from oasis.options import Options

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Cuts(Options):
    """The cuts by which a component gets a class.

    A component is a muon if it is longer than `muon_pixels`, bends less than `muon_bend`, and is very long or
    evenly bright; else a photon or a conversion electron by its energy; else a beta electron.

    Attributes:
        sigma: significance of a pixel, in units of the noise.
        muon_pixels: shortest muon.
        muon_bend: largest rms distance of its axis from a straight line, pixels.
        long_pixels: length from which a straight component is a muon, however bright its parts are.
        muon_spread: relative standard deviation of its brightness along the axis, below which a short one is one.
        photon_kev: bounds of the energy of X-rays.
        ce_kev: energy of the K conversion electron.
        ce_window_kev: largest distance from it.
    """

    sigma: float = Field(4.0, gt=0, le=1e6)
    muon_pixels: float = Field(10.0, ge=1)
    muon_bend: float = Field(0.5, gt=0)
    long_pixels: float = Field(20.0, ge=1)
    muon_spread: float = Field(0.25, gt=0)
    photon_kev: tuple[float, float] = (25.0, 41.0)
    ce_kev: float = Field(213.8, gt=0)
    ce_window_kev: float = Field(3.0, ge=0)


class Shapes(NamedTuple):
    """The shapes of n objects.

    Attributes:
        charge: (n,) summed charge, e-.
        length: (n,) pixels along the principal axis.
        bend: (n,) rms distance of the axis from a straight line, pixels.
        spread: (n,) relative standard deviation of the charge per pixel along the axis.
    """

    charge: Floats
    length: Floats
    bend: Floats
    spread: Floats


def components(image: Array, noise: float, sigma: float = 4.0) -> Instances:
    """Return the components of significant pixels of an image (1, H, W), of one class.

    Args:
        image: in e-.
        noise: its rms in e-.
        sigma: significance of a pixel.

    Raises:
        DataError: the noise is not above 0.
    """
    if not noise > 0:
        raise DataError(f"noise: found {noise}, expected an rms above 0 e-")
    return group(
        np.asarray(image, np.float32)[None], ("any",), {"any": sigma * noise}, {"any": Grouping(pixels=2)}
    )


def shapes(objects: Instances) -> Shapes:
    """Return the shapes of objects in an image (1, H, W), from moments weighted by charge."""
    count, owner = len(objects), objects.owners
    values = np.maximum(objects.values.astype(float), 1e-9)
    rows, columns = (
        each.astype(float) for each in np.divmod(np.asarray(objects.pixels, np.int64), objects.shape[2])
    )
    charge = np.bincount(owner, values, count).astype(float)
    rows -= (np.bincount(owner, values * rows, count) / charge)[owner]
    columns -= (np.bincount(owner, values * columns, count) / charge)[owner]
    moments = [np.bincount(owner, values * one, count) for one in (rows**2, rows * columns, columns**2)]
    angle = (0.5 * np.arctan2(2 * moments[1], moments[0] - moments[2]))[owner]
    along = rows * np.cos(angle) + columns * np.sin(angle)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    first = np.zeros(count)
    np.minimum.at(first, owner, along)
    place = np.floor(along - first[owner]).astype(np.int64)
    bins = int(place.max(initial=0)) + 1
    keys, member = np.unique(owner * bins + place, return_inverse=True)
    weight = np.bincount(member, values, len(keys))
    axis = np.bincount(member, values * across, len(keys)) / weight
    where = keys // bins
    used = np.maximum(np.bincount(where, minlength=count), 1)
    bend = np.sqrt(np.bincount(where, axis**2, count) / used)
    mean = np.bincount(where, weight, count) / used
    deviation = np.sqrt(np.bincount(where, (weight - mean[where]) ** 2, count) / used)
    last = np.zeros(count)
    np.maximum.at(last, owner, along)
    return Shapes(charge, last - first + 1, bend, deviation / np.maximum(mean, 1e-9))


def classical(
    image: Array, noise: float, classes: Sequence[str], pair_ev: float = 3.6, cuts: Cuts | None = None
) -> Instances:
    """Return the objects of an image (1, H, W) by components and cuts, without a network.

    Args:
        image: in e-.
        noise: its rms in e-.
        classes: those of the adapter; `electron`, or `beta` and `ce`.
        pair_ev: energy for an electron-hole pair, eV.
        cuts: the cuts.

    Raises:
        DataError: other classes, or noise that is not above 0.

    Example:
        >>> image = np.zeros((1, 30, 30), np.float32)
        >>> image[0, 5:7, 5:7], image[0, 20, 3:28] = 2150.0, 300.0
        >>> classes = ("electron", "photon", "muon")
        >>> [classes[label] for label in classical(image, 1.6, classes).labels]
        ['photon', 'muon']
    """
    known = {ELECTRON, BETA, CE, PHOTON, MUON}
    if not known >= set(classes) or not {PHOTON, MUON} <= set(classes):
        raise DataError(f"the cuts know the classes {sorted(known)}, found {list(classes)}")
    cuts = cuts or Cuts()
    found = components(image, noise, cuts.sigma)
    labels = np.array(
        [list(classes).index(name) for name in _names(shapes(found), ELECTRON in classes, pair_ev, cuts)]
    )
    return Instances(found.shape, labels.astype(np.int64), found.offsets, found.pixels, found.values)


def _names(found: Shapes, merged: bool, pair_ev: float, cuts: Cuts) -> NDArray[Any]:
    energy = found.charge * pair_ev / 1e3
    straight = (found.length > cuts.muon_pixels) & (found.bend < cuts.muon_bend)
    muon = straight & ((found.length > cuts.long_pixels) | (found.spread < cuts.muon_spread))
    photon = (energy >= cuts.photon_kev[0]) & (energy <= cuts.photon_kev[1])
    line = np.abs(energy - cuts.ce_kev) <= cuts.ce_window_kev
    electron = ELECTRON if merged else BETA
    return np.select([muon, photon, line], [MUON, PHOTON, electron if merged else CE], electron)


def box_sums(image: Array, objects: Instances) -> Floats:
    """Return the charge (n,) of an image (1, H, W) in the box of every object: the energy of arXiv 2201.08973.

    Example:
        >>> image = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
        >>> box_sums(image, Instances.pack((1, 3, 4), [0], [[1, 6]], [[1, 1]]))
        array([14.])
    """
    total = np.zeros(tuple(length + 1 for length in image.shape[1:]))
    total[1:, 1:] = image[0].astype(float).cumsum(axis=0).cumsum(axis=1)
    (top, bottom), (left, right) = objects.boxes.transpose(1, 2, 0)
    return np.asarray(total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left])
