"""Checks of single samples: shapes, values, metadata, and the image as the sum of its maps."""

from typing import Any

import numpy as np

from oasis.errors import nearest
from oasis.testing.case import Case

SURE = 5  # standard errors


def shapes(case: Case) -> None:
    """Check shapes, types and values of samples."""
    adapter, require = case.adapter, case.require
    for where, sample in case.all:
        spatial = sample.image.shape[1:]
        require(
            sample.image.shape[0] == adapter.bands and len(spatial) == adapter.spatial_dims,
            f"{where}: image of shape {sample.image.shape}: expected {adapter.bands} bands and "
            f"{adapter.spatial_dims} spatial axes: change the facts bands and spatial_dims, or the scene's shape",
        )
        require(
            len(sample.target) == len(adapter.classes),
            f"{where}: {len(sample.target)} maps for {len(adapter.classes)} classes: give the scene the same ones",
        )
        found = 0 if sample.context is None else len(sample.context)
        require(
            found == adapter.context,
            f"{where}: {found} channels of context, but the fact context is {adapter.context}: return as many "
            "from the scene's context(meta)",
        )
        for name, values in (("image", sample.image), ("target", sample.target), ("context", sample.context)):
            if values is not None:
                require(values.dtype == np.float32, f"{where}: {name} is {values.dtype}: give float32")
                require(
                    np.isfinite(values).all(),
                    f"{where}: {name} has NaN or infinite values: give finite values everywhere, such as 0, and "
                    "set valid to False where they must not count",
                )
        require(sample.valid.dtype == bool, f"{where}: valid is {sample.valid.dtype}: give bool")
        require(sample.valid.any(), f"{where}: no pixel is valid: let observe return where the truth counts")
        require(
            sample.target.min() >= 0,
            f"{where}: the target is negative ({sample.target.min():.3g}): set it to 0 there, as maps never are",
        )


def meta(case: Case) -> None:
    """Check that every sample has the same metadata names, the truth of the quantities, and a unique id."""
    adapter, require = case.adapter, case.require
    names = set(case.samples["train"][0].meta)
    quantities = adapter.quantities
    described = quantities.classes or adapter.classes
    wanted = [f"{name}_{one.name}" for name in described for one in quantities.of_object]
    wanted += [one.name for one in quantities.of_image]
    missing = [name for name in wanted if name not in names]
    require(not missing, f"quantities: the meta has no {missing[:1]}; {nearest(str(missing[:1]), names)}")
    identities: dict[Any, str] = {}
    for where, sample in case.all:
        differing = set(sample.meta) ^ names
        require(not differing, f"{where}: meta differs in {sorted(differing)}: give all samples the same names")
        identity = sample.meta.get("id")
        require(identity is not None, f"{where}: meta has no 'id': name each sample")
        require(identity not in identities, f"{where}: has the id {identity!r} of {identities.get(identity)}")
        identities[identity] = where


def instances(case: Case) -> None:
    """Check that instances, if known, add up to the maps."""
    for where, sample in case.all:
        if sample.instances is not None:
            sums = sample.instances.sums(len(case.adapter.classes))
            close = np.allclose(sums, sample.target, rtol=1e-4, atol=1e-4 * float(sample.target.max()))
            case.require(close, f"{where}: its instances do not add up to the target")


def sums(case: Case) -> None:
    """Check that images are the sum of their maps and a background, by a linear fit to all samples."""
    names = case.adapter.classes
    normal, moment = [], []
    for _, sample in case.all:
        where = np.broadcast_to(sample.valid, sample.image.shape)
        maps = np.stack([*(one[where] for one in sample.target), np.ones(int(where.sum()))]).astype(float)
        normal.append(maps @ maps.T)
        moment.append(maps @ sample.image[where].astype(float))
    without = [
        _solution(sum(normal) - one, sum(moment) - other) for one, other in zip(normal, moment, strict=True)
    ]
    errors = np.sqrt((len(without) - 1) * np.var(without, axis=0))  # jackknife: pixels of a sample are correlated
    found, lights = _solution(sum(normal), sum(moment)), np.diag(sum(normal))
    for name, share, error, light in zip(names, found, errors, lights, strict=False):
        case.require(
            not light or abs(share - 1) <= case.tolerance + SURE * error,
            f"the image is not the sum of its maps: it has {share:.3g} +- {error:.2g} of {name!r}, not 1: "
            "give maps in the units of the image, and all the light of every object",
        )


def _solution(normal: Any, moment: Any) -> Any:
    return np.linalg.pinv(normal, hermitian=True) @ moment
