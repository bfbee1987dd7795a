"""The CYGNO adapter: simulated recoils on simulated or measured noise, and measured images."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.cygno.noise import Noise, SyntheticNoise
from oasis.adapters.cygno.options import CygnoOptions
from oasis.adapters.cygno.scene import RECOIL, TRACK, CygnoScene
from oasis.adapters.study import Study
from oasis.instances.grouping import Grouping

PRESENT = {RECOIL: 0.05, TRACK: 0.5}  # counts; recoils are cut at a share of their light instead


class CygnoAdapter(Adapter[CygnoOptions]):
    """Faint recoils in sCMOS camera images of the CYGNO optical TPC, alone or under tracks, in counts."""

    unit = "counts"
    context = 1
    defaults: Mapping[str, Any] = {
        "model": {"name": "unet", "base_channels": 16, "depth": 3, "stride": 2, "norm": "batch"},
        "head": {"name": "softplus", "presence": True},
        "scaling": {"name": "asinh", "noise": 2.3},
        "loss": {"region_weights": {RECOIL: 4}},
        "calibration": {"quantities": {RECOIL: "recoil_energy"}},
    }

    @property
    def classes(self) -> tuple[str, ...]:
        """`recoil`, and `track` where tracks are simulated."""
        return (RECOIL, TRACK) if self.options.tracks else (RECOIL,)

    @property
    def thresholds(self) -> dict[str, float]:
        """Counts above which a class is present."""
        return {name: PRESENT[name] for name in self.classes}

    @property
    def grouping(self) -> dict[str, Grouping]:
        """Recoils are spots of some hundred pixels, tracks may have gaps."""
        how = {RECOIL: Grouping(method="gaps", gap=2, pixels=12), TRACK: Grouping(method="gaps", gap=4, pixels=12)}
        return {name: how[name] for name in self.classes}

    @property
    def study(self) -> Study:
        """The error of the light of recoils in the true pixels, against their energy."""
        return Study(
            name=RECOIL,
            quantity="recoil_energy",
            label="energy of the recoil (keV)",
            edges=self._edges,
            signal="recoil_electrons > 0",
            background="recoil_electrons == 0",
        )

    @property
    def _edges(self) -> tuple[float, ...]:
        energies = np.unique(self.options.energies)
        between = np.sqrt(energies[1:] * energies[:-1])
        return (float(energies[0]) / 2, *map(float, between), float(energies[-1]) * 2)

    def scene(self, split: str) -> CygnoScene:
        """Return the scene of a split."""
        return CygnoScene(self.options, split, self._noise(split), self._vignetting)

    def _noise(self, split: str) -> Noise:
        return SyntheticNoise(self.options.noise)

    @cached_property
    def _vignetting(self) -> NDArray[np.float32] | None:
        return None
