"""Tuning of SEP on blends with truth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.adapters.galaxy.baselines.extraction import SepOptions
from oasis.adapters.galaxy.baselines.sep import Sep
from oasis.adapters.galaxy.flux_tables import capped
from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.samples import collate_instances

Floats = NDArray[np.float64]

CORRECTIONS = np.linspace(0.5, 2.0, 301)
GRID: Mapping[str, Sequence[Any]] = {
    "kernel": ("gaussian", "mexhat"),
    "kernel_fwhm": (2.0, 2.5, 3.0, 3.5, 4.0, 5.0),
    "thresh": (0.3, 0.5, 0.7, 1.0, 1.5, 3.0),
    "minarea": (1, 3, 5, 10),
    "deblend_nthresh": (32, 64, 128),
    "deblend_cont": (1e-5, 1e-4, 1e-3, 5e-3, 2e-2),
    "clean": (True, False),
    "grow": (None, 0.2, 0.5, 1.0, 1.5),
    "grow_sigma": (0.5, 0.7, 1.0, 1.5, 2.0),
    "flux": ("kron", "isophotal"),
    "kron_factor": (1.5, 2.0, 2.5, 3.0),
    "min_radius": (1.75, 3.5, 7.0),
    "neighbours": ("mirror", "mask", "none"),
}


class TunedSep(NamedTuple):
    """The result of tuning SEP.

    Attributes:
        sep: SEP with the options that measure fluxes best.
        error: its mean absolute flux error on the samples used for tuning, each error capped at 100 %, in %.
        trials: every setting that was tried, with its `error`.
    """

    sep: Sep
    error: float
    trials: pd.DataFrame


def tune_sep(
    dataset: SampleDataset,
    bands: Sequence[str],
    rest: bool,
    classes: Sequence[int] | None = None,
    samples: int = 300,
    draws: int = 60,
    seed: int = 0,
) -> TunedSep:
    """Tune detection, deblending and photometry by SEP: minimise the mean absolute flux error in all bands.

    A missed object counts as an error of 100 %, and larger errors are capped there: this is the mean `capped` that
    `flux_error_table` reports. Minimising a mean in which single errors of thousands of per cent dominate would
    favour fluxes that are too low.

    The defaults and random settings from `GRID` are tried first; from the best of them, one option after the other
    is changed for as long as the error falls. Every setting has its own best factor for the fluxes of each band.

    Args:
        dataset: validation samples.
        bands: names of the B bands.
        rest: as for `Sep`.
        classes: indices of the classes whose fluxes count; all if None.
        samples: number of samples to use, from the first on.
        draws: number of random settings.
        seed: the seed of the draw.
    """
    batches = [collate_instances([dataset[index]]) for index in range(min(samples, len(dataset)))]
    true = np.concatenate([batch.target.double().sum(dim=(3, 4)).numpy() for batch in batches])
    chosen = list(range(true.shape[1]) if classes is None else classes)
    tried: dict[SepOptions, tuple[float, SepOptions]] = {}

    def error(options: SepOptions) -> float:
        if options not in tried:
            sep = Sep(bands, rest, options)
            fluxes = np.concatenate([sep.fluxes(batch) for batch in batches])
            value, correction = _best_correction(fluxes[:, chosen], true[:, chosen])
            tried[options] = value, options.model_copy(update={"correction": correction})
        return tried[options][0]

    rng = keyed_rng(seed, "sep", 0)
    drawn = [
        SepOptions(**{name: values[int(rng.integers(len(values)))] for name, values in GRID.items()})
        for _ in range(draws)
    ]
    best = _improved(min([SepOptions(), *drawn], key=error), error)
    table = pd.DataFrame([options.model_dump() | {"error": value} for value, options in tried.values()])
    value, options = tried[best]
    return TunedSep(Sep(bands, rest, options), value, table)


def _improved(best: SepOptions, error: Callable[[SepOptions], float]) -> SepOptions:
    """Change one option after the other for as long as the error falls."""
    improved = True
    while improved:
        improved = False
        for name, values in GRID.items():
            other = min((best.model_copy(update={name: value}) for value in values), key=error)
            if error(other) < error(best):
                best, improved = other, True
    return best


def _best_correction(fluxes: Floats, true: Floats) -> tuple[float, tuple[float, ...]]:
    """Return the mean absolute error of fluxes (n, N, B) in %, and the factor of each band that minimises it.

    Errors are capped at 100 %, and objects without true flux are ignored.
    """
    errors, factors = [], []
    for band in range(true.shape[-1]):
        known = true[..., band] > 0
        ratio = np.nan_to_num(fluxes[..., band][known] / true[..., band][known])
        tried = capped(100 * (CORRECTIONS[:, None] * ratio - 1)).mean(axis=1)
        errors.append(tried.min())
        factors.append(float(CORRECTIONS[tried.argmin()]))
    return float(np.mean(errors)), tuple(factors)
