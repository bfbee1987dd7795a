r"""Particle properties measured on the maps of an event: charge, energy, direction, number and vertex.

Particles are found without the truth: a map with enough charge is a particle. The energy of a nucleus that
stops in the volume follows from its charge through the quenched light :math:`E = L^{-1}(Q / Y)` (see
`physics.Quenching`), or from the distance of its charge from the vertex, as calibrated on the simulation. The
vertex lies on the line of the muon; its distance from the exit follows from the charge of the muon's map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import torch

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.scene import AXES, EXIT_COLUMNS, Composition, SimulatedScene, Vector, centres
from oasis.adapters.neutrino.simulation import CUBE, MASS_OF, SPECIES, Detector, Tracks, expected_charge
from oasis.data.mixing import keyed_rng
from oasis.data.samples import Array, Sample
from oasis.loss.distances import poisson_deviance

COLUMNS: Final = {
    "charge_shared": "p.e. of the true map in cubes that also contain charge from another particle",
    "charge_alone": "p.e. of the true map in the other cubes",
    "error_shared": "p.e., summed absolute error of the map in cubes that particles share",
    "error_alone": "p.e., summed absolute error of the map in the other cubes",
    "split_error_shared": "p.e., `error_shared` of an equal split among all particles that are truly in a cube",
    "found": "1 where the predicted map has `least_charge` p.e. or more, else 0",
    "ke_true": "MeV, kinetic energy at the vertex; NaN for an absent particle",
    "contained": "1 where a nucleus stops within the volume, else 0",
    "ke_charge": "MeV, from the charge of the map, for a nucleus that is found",
    "ke_range": "MeV, from the distance of the map's charge from the vertex; uninformative within a cube (25 MeV)",
    "angle": "degrees between the axis of the map and the true direction, for a nucleus that is present and found",
    "nuclei_true": "number of nuclei in the event (in the muon's row, as all below)",
    "nuclei_found": "number of maps of nuclei with `least_charge` p.e. or more",
    "visible_energy_true": "MeV, summed kinetic energy of all nuclei",
    "visible_energy": "MeV, summed `ke_charge`",
    "visible_energy_sum": "MeV, linear in the charge of the whole image: the estimate without maps",
    "vertex_error": "mm between the vertex from the maps and the true one",
    "image_deviance": "Poisson deviance of the image from the sum of the maps; 0 if the maps add up to the image",
}
FLOOR: Final = 0.01  # least expected charge in cubes with charge, p.e., so that the deviance is finite
EVENTS: Final = 400  # simulated for the calibration
TRACKS: Final = 50  # simulated per energy for the calibration
STEP: Final = 5.0  # MeV between these energies

Rows = dict[str, dict[str, float]]


@dataclass(frozen=True, eq=False)
class ChargeCalibration:
    """The relation of energy to charge and range, from the simulation.

    Attributes:
        offset: MeV, of the visible energy as a linear function of an image's charge.
        slope: MeV per p.e.
        energy: (k,) MeV.
        distance: (species, k) mean distance of the charge's centroid from the vertex, mm.
    """

    offset: float
    slope: float
    energy: Vector
    distance: Vector


@cache
def calibrate(composition: Composition, detector: Detector, energies: tuple[float, float]) -> ChargeCalibration:
    """Fit to simulated events and tracks, which are the same in every call; takes about 1 s."""
    scene = SimulatedScene(composition, detector, energies)
    events = [scene.event(index, keyed_rng(0, "calibration", index)) for index in range(EVENTS)]
    charge = [sum(one.charge.sum() for one in event.particles) for event in events]
    energy = [sum(one.energy for one in event.particles[1:]) for event in events]
    slope, offset = np.polyfit(charge, energy, 1)
    nodes = np.arange(STEP, physics.HIGHEST, STEP)
    distance = [np.zeros_like(nodes), *(_distances(kind, nodes, detector) for kind in range(1, len(SPECIES)))]
    return ChargeCalibration(float(offset), float(slope), nodes, np.array(distance))


def _distances(species: int, energies: Vector, detector: Detector) -> Vector:
    rng = keyed_rng(0, "tracks", species)
    count = len(energies) * TRACKS
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    start = rng.uniform(-detector.cube_mm / 2, detector.cube_mm / 2, (count, 3))
    tracks = Tracks(np.full(count, species), np.repeat(energies, TRACKS), start, direction)
    charge = expected_charge(tracks, detector)
    centroid = np.einsum("nxyz,xyzd->nd", charge, centres(detector.cube_mm)) / charge.sum(axis=(1, 2, 3))[:, None]
    mean = np.linalg.norm(centroid - start, axis=1).reshape(-1, TRACKS).mean(axis=1)
    return np.maximum.accumulate(mean)


@dataclass(frozen=True)
class Measurement:
    """Measurement of particle properties on the maps of an event.

    Attributes:
        classes: the N class names, the muon first.
        detector: the response of the detector.
        calibration: its calibration.
        least_charge: charge from which a map is a particle, p.e.
    """

    classes: Sequence[str]
    detector: Detector
    calibration: ChargeCalibration
    least_charge: float

    def columns(self, prediction: Array, sample: Sample) -> Rows:
        """Return the columns of one event, by class and name: see `COLUMNS`.

        Args:
            prediction: (N, 1, 7, 7, 7) maps, p.e.
            sample: the event.
        """
        maps, true, meta = prediction[:, 0].astype(float), sample.target[:, 0].astype(float), sample.meta
        muon, *others = self.classes
        rows = _charge_errors(maps, true, self.classes)
        vertex = find_vertex(maps[0], meta, self.detector)
        for name, charge in zip(others, maps[1:], strict=True):
            rows[name] |= self._nucleus(charge, name, meta, vertex)
        rows[muon] |= {"found": float(maps[0].sum() >= self.least_charge), "ke_true": float(meta[f"{muon}_ke"])}
        rows[muon] |= self._whole([rows[name] for name in others], float(sample.image.sum()))
        rows[muon]["vertex_error"] = float(np.linalg.norm(vertex - vector_of(meta, "vertex_")))
        expected, image = torch.from_numpy(maps.sum(axis=0)), torch.from_numpy(sample.image[0].astype(float))
        rows[muon]["image_deviance"] = float(poisson_deviance(expected, image, FLOOR).sum())
        return rows

    def _whole(self, nuclei: Sequence[Mapping[str, float]], charge: float) -> dict[str, float]:
        true, found = ([row[name] for row in nuclei] for name in ("ke_true", "ke_charge"))
        return {
            "nuclei_true": float(np.isfinite(true).sum()),
            "nuclei_found": float(sum(row["found"] for row in nuclei)),
            "visible_energy_true": float(np.nansum(true)),
            "visible_energy": float(np.nansum(found)),
            "visible_energy_sum": self.calibration.offset + self.calibration.slope * charge,
        }

    def _nucleus(self, charge: Vector, name: str, meta: Mapping[str, Any], vertex: Vector) -> dict[str, float]:
        species = SPECIES.index(name.partition("_")[0])
        energy, direction = float(meta[f"{name}_ke"]), vector_of(meta, f"{name}_d")
        end = vector_of(meta, "vertex_") + direction * float(meta[f"{name}_length"])
        row = {
            "found": float(charge.sum() >= self.least_charge),
            "ke_true": energy,
            "contained": float(np.abs(end).max() < self.detector.half) if np.isfinite(energy) else np.nan,
        }
        if not row["found"]:
            return row | dict.fromkeys(("ke_charge", "ke_range", "angle"), np.nan)
        distance, axis = axis_of(charge, vertex, self.detector.cube_mm)
        light = charge.sum() / self.detector.light_yield
        known = self.calibration
        return row | {
            "ke_charge": float(self.detector.quenching.energy_of_light(light, MASS_OF[species])),
            "ke_range": float(np.interp(distance, known.distance[species], known.energy)),
            "angle": float(np.degrees(np.arccos(np.clip(axis @ direction, -1, 1)))),
        }


def vector_of(meta: Mapping[str, Any], name: str) -> Vector:
    """Return the three numbers of metadata whose names begin alike, such as `vertex_x`, `vertex_y`, `vertex_z`."""
    return np.array([meta[f"{name}{axis}"] for axis in AXES], dtype=float)


def _charge_errors(maps: Vector, true: Vector, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    present = true > 0
    number = present.sum(axis=0)
    shared = number > 1
    error = np.abs(maps - true)
    split = np.abs(present * true.sum(axis=0) / np.maximum(number, 1) - true)
    sums = {
        "charge_shared": true * shared,
        "charge_alone": true * ~shared,
        "error_shared": error * shared,
        "error_alone": error * ~shared,
        "split_error_shared": split * shared,
    }
    totals = {name: values.sum(axis=(1, 2, 3)).tolist() for name, values in sums.items()}
    return {name: {column: total[label] for column, total in totals.items()} for label, name in enumerate(classes)}


def axis_of(charge: Vector, vertex: Vector, cube: float = CUBE) -> tuple[float, Vector]:
    r"""Return the distance of a map's centroid from the vertex (mm), and the map's axis, away from the vertex.

    The axis is the principal one of the charge about the vertex, :math:`\sum_p q_p (r_p - v)(r_p - v)^T`.

    Args:
        charge: (7, 7, 7) p.e.
        vertex: (3,) mm.
        cube: edge of a cube, mm.
    """
    offset = (centres(cube) - vertex).reshape(-1, 3)
    weight = charge.ravel() / charge.sum()
    centroid = weight @ offset
    axis = np.linalg.eigh((offset * weight[:, None]).T @ offset)[1][:, -1]
    return float(np.linalg.norm(centroid)), axis * (1 if axis @ centroid >= 0 else -1)


def find_vertex(charge: Vector, meta: Mapping[str, Any], detector: Detector) -> Vector:
    """Return the vertex (3,), mm: the point on the muon's line from which its path gives the charge of its map.

    Args:
        charge: (7, 7, 7) p.e. of the muon's map.
        meta: `EXIT_COLUMNS`.
        detector: the response of the detector.
    """
    numbers = np.array([meta[name] for name in EXIT_COLUMNS], dtype=float)
    stopping = float(physics.muon_stopping_power(numbers[3]))
    light = stopping * physics.DENSITY / physics.MM_PER_CM / (1 + detector.birks * stopping)  # MeV / mm
    path = charge.sum() / (detector.light_yield * light)
    return np.asarray(numbers[:3] - path * numbers[4:])
