"""Facts of a run, gathered once for the terminal and for the page."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from oasis.config.schema import RunConfig
from oasis.errors import DataError, OasisError
from oasis.evaluation.surroundings import SizeCheck
from oasis.html import facts_html
from oasis.report.words import settings

if TYPE_CHECKING:
    from oasis.run.base import RunBase
    from oasis.separator.separator import Separator

MOST_REGIONS = 40  # maximum number of listed region weights


@dataclass(frozen=True)
class Facts:
    """The facts of a run: its configuration, its separator and the state of its training.

    Attributes:
        config: its configuration.
        fingerprint: the fingerprint of the configuration.
        about: the first line of the adapter's description.
        classes: their names.
        unit: the unit of the intensities.
        bands: number of bands of an image.
        size: the size of the images that it was trained on, or None.
        parameters: how many the separator has.
        epochs: number of completed epochs.
        best_epoch: the epoch with the lowest validation loss, from 1.
        best_loss: the lowest validation loss.
        seconds: how long the epochs took.
        begun: start of the training, from the date of a file.
        improved: time at which the best separator was written.
        region_weights: the resolved weight of every region.
        size_check: the effect of larger surroundings on the maps, or None if it was not measured.
    """

    config: RunConfig
    fingerprint: str
    about: str
    classes: tuple[str, ...]
    unit: str
    bands: int
    size: tuple[int, ...] | None
    parameters: int
    epochs: int
    best_epoch: int
    best_loss: float
    seconds: float
    begun: datetime
    improved: datetime
    region_weights: Mapping[str, float]
    size_check: SizeCheck | None

    def rows(self) -> dict[str, str]:
        """Return every fact except the weights as text, by name."""
        values = self.config.model_dump(mode="json", exclude={"loss": {"class_weights", "region_weights"}})
        size = " × ".join(map(str, self.size)) if self.size else "unknown"
        return {
            "adapter": f"{self.config.adapter}: {self.about}",
            "classes": f"{', '.join(self.classes)} in {self.unit or 'no unit'}",
            "images": f"{size} pixels, {self.bands} band{'s' if self.bands > 1 else ''}",
            "larger images": _of_larger(self.size_check),
            "model": settings(values["model"]),
            "parameters": f"{self.parameters:,}",
            **{name: settings(values[name]) for name in ("head", "objects", "scaling", "loss")},
            **{name: settings(values[name]) for name in ("augmentation", "training")},
            "seed": str(self.config.seed),
            "configuration": self.fingerprint,
            "epochs": f"{self.epochs} of at most {self.config.training.epochs}; the lowest validation loss, "
            f"{self.best_loss:.5g}, in epoch {self.best_epoch}",
            "trained": f"{self.begun:%Y-%m-%d %H:%M} to {self.improved:%Y-%m-%d %H:%M} UTC by the dates of its "
            f"files, {self.seconds / 60:.1f} minutes in epochs",
        }

    def text(self) -> str:
        """Return all facts as text, with the weights of the loss."""
        loss = self.config.loss
        weights = {
            "class weights": settings(loss.class_weights) or "all 1",
            "region weights": settings(loss.region_weights) or "all 1",
        }
        lines = [f"{name:<15} {fact}" for name, fact in {**self.rows(), **weights}.items()]
        shown = list(self.region_weights.items())[:MOST_REGIONS]
        width = max(len(region) for region, _ in shown)
        lines += [f"  {region:<{width}}  {weight:.4g}" for region, weight in shown]
        if len(self.region_weights) > len(shown):
            lines.append(f"  {len(self.region_weights) - len(shown):,} more are in region_weights.csv")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the facts as a notebook shows them."""
        return facts_html("Run", self.rows())


def overview(run: "RunBase") -> dict[str, str]:
    """Return what a run is and how far its training came, by name; its separator need not exist."""
    config, adapter = run.config, run.adapter
    try:
        log = run.log if run.files.log.exists() else None
    except DataError as error:
        log, state = None, str(error)
    else:
        state = "not trained yet" if log is None else f"{len(log)} of at most {config.training.epochs} epochs"
    if log is not None and np.isfinite(log["val/total"]).any():
        best = log.iloc[int(np.nanargmin(log["val/total"]))]
        state += f"; the lowest validation loss, {best['val/total']:.5g}, in epoch {int(best['epoch']) + 1}"
    values = config.model_dump(mode="json", include={"model", "scaling", "head", "data"})
    return {
        "folder": str(run.folder),
        "adapter": f"{config.adapter}: {_about(run)}",
        "classes": f"{', '.join(adapter.classes)} in {adapter.unit or 'no unit'}",
        "data": settings(values["data"]),
        **{name: settings(values[name]) for name in ("model", "scaling", "head")},
        "training": state,
        "calibrated": _calibrated(run),
        "configuration": run.fingerprint,
    }


def _calibrated(run: "RunBase") -> str:
    if not run.files.calibration.exists():
        return "no"
    with suppress(OasisError):  # without weights, or damaged: said where it is needed
        return "yes" if run.calibration is not None else "no, but other weights or gates were"
    return "yes"


def gather(run: "RunBase", separator: "Separator | None" = None) -> Facts:
    """Return the facts of a run.

    Args:
        run: a run that was trained for at least one epoch.
        separator: the separator of the run, if it is loaded already.

    Raises:
        ModelError: the run has no separator yet.
        DataError: a file of the run is missing or damaged.
    """
    separator, log, adapter = separator or run.separator(), run.log, run.adapter
    best = log.iloc[int(np.nanargmin(log["val/total"]))]
    begun, improved = (
        datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in (run.files.config, run.files.weights)
    )
    return Facts(
        config=run.config,
        fingerprint=run.fingerprint,
        about=_about(run),
        classes=adapter.classes,
        unit=adapter.unit,
        bands=adapter.bands,
        size=separator.options.trained_size,
        parameters=sum(parameter.numel() for parameter in separator.parameters()),
        epochs=len(log),
        best_epoch=int(best["epoch"]) + 1,
        best_loss=float(best["val/total"]),
        seconds=float(log["seconds"].sum()),
        begun=begun,
        improved=improved,
        region_weights=run.region_weights,
        size_check=run.size_check,
    )


def _about(run: "RunBase") -> str:
    return (type(run.adapter).__doc__ or "no description").splitlines()[0]


def _of_larger(check: SizeCheck | None) -> str:
    if check is None:
        return "not measured; oasis evaluate does"
    return f"{'the same' if check.same else 'other'} maps: {check.text()}"
