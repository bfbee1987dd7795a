"""Predicted and fitted particles of an event compared with the true ones, by class and by matching.

A class numbers the protons by their energy, so that a missed or invented one shifts those after it. Therefore
nuclei of a species are also matched, so that the summed distance between the ends of their tracks is least.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from oasis.adapters.neutrino.metrics import Rows, vector_of
from oasis.adapters.neutrino.physics import csda_range
from oasis.adapters.neutrino.scene import AXES, Vector
from oasis.adapters.neutrino.simulation import MASS_OF, SPECIES
from oasis.adapters.prediction import present_objects

OF_QUANTITIES: Final = {
    "found_{}": "1 where the nucleus is predicted to be present, else 0",
    "nuclei_{}": "number of nuclei predicted to be present (in the muon's row, as energy, vertex and deviance)",
    "visible_energy_{}": "MeV, summed kinetic energy of these",
    "vertex_error_{}": "mm between this vertex and the true one",
    "angle_{}": "degrees between this direction and the true one, for a nucleus that is present and found",
    "ke_matched_{}": "MeV, energy of the nucleus that is matched with this one: of the same species, each matched "
    "once, with the least distance between the ends of tracks; NaN if none is left",
    "angle_matched_{}": "degrees between the direction of that nucleus and the true one",
    "deviance_{}": "Poisson deviance of the image from the charge expected for these particles",
}
OF_FIT: Final = {
    "status_refined": "0 where the first fits converged, 1 where further ones did, 2 where a nucleus was added, 3 "
    "where the event is stuck",
    "deviance_ratio_refined": "deviance of the image over its expectation: near 1 for a fit that is right",
    "vertex_pull_x_refined": "error of the vertex along x over its standard error; the same for y and z",
    "vertex_x_error_refined": "mm, standard error of the vertex along x; the same for y and z (in all rows)",
    "ke_error_refined": "MeV, standard error of the energy of this nucleus",
    "direction_error_refined": "degrees, standard error of its direction along each of two axes",
    "ke_pull_refined": "error of `ke_matched_refined` over the standard error of the energy of that nucleus",
    "angle_pull_refined": "`angle_matched_refined` over the standard error of that direction; its median is 1.18 "
    "where errors are right",
}


def quantity_columns(
    classes: Sequence[str], quantities: Mapping[str, Vector], kind: str, meta: Mapping[str, Any]
) -> Rows:
    """Return the columns `OF_QUANTITIES` and, of a fit, the pulls of one event, except the deviance.

    Args:
        classes: the N class names, the muon first.
        quantities: by column (N,), of one event.
        kind: the suffix of their names: `predicted` or `refined`.
        meta: metadata of the event.
    """
    muon, *others = classes
    energy, *direction = (quantities[f"{name}_{kind}"] for name in ("ke", "dx", "dy", "dz"))
    exists = np.isfinite(energy)
    if kind == "predicted":
        exists &= present_objects(quantities)
    vertex = np.array([quantities[f"vertex_{axis}_{kind}"][0] for axis in AXES])
    distance = vertex - vector_of(meta, "vertex_")
    rows: Rows = {
        muon: {
            f"nuclei_{kind}": float(exists.sum()),
            f"visible_energy_{kind}": float(energy[exists].sum()),
            f"vertex_error_{kind}": float(np.linalg.norm(distance)),
        }
    }
    axes = np.array(direction).T
    partner = _matched(classes, energy, axes, exists, meta)
    for place, name in enumerate(others, start=1):
        true = vector_of(meta, f"{name}_d")
        other = partner.get(place)
        rows[name] = {
            f"found_{kind}": float(exists[place]),
            f"angle_{kind}": _angle(axes[place], true) if exists[place] else np.nan,
            f"ke_matched_{kind}": np.nan if other is None else float(energy[other]),
            f"angle_matched_{kind}": np.nan if other is None else _angle(axes[other], true),
        }
    if f"ke_error_{kind}" in quantities:
        for axis, one in zip(AXES, distance, strict=True):
            rows[muon][f"vertex_pull_{axis}_{kind}"] = float(one / quantities[f"vertex_{axis}_error_{kind}"][0])
        for place, name in enumerate(others, start=1):
            rows[name] |= _pulls(rows[name], kind, quantities, partner.get(place), float(meta[f"{name}_ke"]))
    return rows


def _matched(
    classes: Sequence[str], energy: Vector, axes: Vector, exists: Vector, meta: Mapping[str, Any]
) -> dict[int, int]:
    """Return the index of the class whose predicted nucleus is matched with the true one of a class."""
    partner: dict[int, int] = {}
    true_energy = np.array([float(meta[f"{name}_ke"]) for name in classes])
    for kind, species in enumerate(SPECIES[1:], start=1):
        own = np.array([name.partition("_")[0] == species for name in classes])
        true, found = np.flatnonzero(own & np.isfinite(true_energy)), np.flatnonzero(own & exists)
        if not len(true) or not len(found):
            continue
        unit = np.array([vector_of(meta, f"{classes[place]}_d") for place in true.tolist()])
        ends = csda_range(true_energy[true], MASS_OF[kind])[:, None] * unit
        others = csda_range(energy[found], MASS_OF[kind])[:, None] * axes[found]
        cost = np.linalg.norm(ends[:, None] - others[None], axis=-1)
        partner |= {int(true[one]): int(found[two]) for one, two in zip(*linear_sum_assignment(cost), strict=True)}
    return partner


def _pulls(
    row: Mapping[str, float], kind: str, quantities: Mapping[str, Vector], other: int | None, energy: float
) -> dict[str, float]:
    """Return the pulls of the nucleus that is matched with a true one."""
    if other is None:
        return {f"ke_pull_{kind}": np.nan, f"angle_pull_{kind}": np.nan}
    return {
        f"ke_pull_{kind}": float((row[f"ke_matched_{kind}"] - energy) / quantities[f"ke_error_{kind}"][other]),
        f"angle_pull_{kind}": float(row[f"angle_matched_{kind}"] / quantities[f"direction_error_{kind}"][other]),
    }


def _angle(one: Vector, other: Vector) -> float:
    """Return the angle between two vectors in degrees, of which the second is a unit vector; NaN if one is."""
    cosine = one / np.linalg.norm(one) @ other
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
