"""The files of a run: the path of each of them, defined in one place."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
CHECKPOINTS = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"
LOG = "log.csv"
REGION_WEIGHTS = "region_weights.csv"
LOCK = ".lock"
FIRST_EPOCH = ".first_epoch"
OWN = (
    CONFIG,
    WEIGHTS,
    "config.json",
    LOG,
    REGION_WEIGHTS,
    "calibration.json",
    "calibration_fluxes.json",
    "size_check.json",
    "report.html",
    "trial.json",
    *(f"model.{kind}{card}" for kind in ("onnx", "pt2") for card in ("", ".json", ".md")),
)


@dataclass(frozen=True)
class RunFiles:
    """The paths of the files of a run.

    Attributes:
        folder: the folder of the run.

    Example:
        >>> files = RunFiles(Path("runs/migdal"))
        >>> files.weights.as_posix(), files.events("val").as_posix()
        ('runs/migdal/model.safetensors', 'runs/migdal/events_val.parquet')
    """

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.folder / CONFIG

    @property
    def weights(self) -> Path:
        """The best separator."""
        return self.folder / WEIGHTS

    @property
    def options(self) -> Path:
        """The readable description of the separator."""
        return self.folder / "config.json"

    @property
    def log(self) -> Path:
        """The log of the training, one row per epoch."""
        return self.folder / LOG

    @property
    def region_weights(self) -> Path:
        """The resolved weight of every region."""
        return self.folder / REGION_WEIGHTS

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, from which a training resumes."""
        return self.folder / CHECKPOINTS

    @property
    def last(self) -> Path:
        """The checkpoint after the last complete epoch."""
        return self.checkpoints / LAST

    @property
    def best(self) -> Path:
        """The checkpoint after the best complete epoch."""
        return self.checkpoints / BEST

    @property
    def first_epoch(self) -> Path:
        """An empty file that is there until the first epoch is whole."""
        return self.folder / FIRST_EPOCH

    @property
    def calibration(self) -> Path:
        """The calibration of intensities."""
        return self.folder / "calibration.json"

    @property
    def flux_calibration(self) -> Path:
        """The calibration of fluxes in bands."""
        return self.folder / "calibration_fluxes.json"

    @property
    def size_check(self) -> Path:
        """What larger surroundings do to the maps of the separator."""
        return self.folder / "size_check.json"

    @property
    def report(self) -> Path:
        """The report of this run alone."""
        return self.folder / "report.html"

    @property
    def code(self) -> Path:
        """The folder of the code files that the run was trained with."""
        return self.folder / "code"

    def exported(self, suffix: str) -> Path:
        """The best separator as a program for other software."""
        return self.folder / f"model{suffix}"

    def events(self, split: str = "test") -> Path:
        """The event table of a split."""
        return self.folder / ("events.parquet" if split == "test" else f"events_{split}.parquet")

    def instances(self, split: str = "test") -> Path:
        """The instance table of a split."""
        return self.folder / ("instances.parquet" if split == "test" else f"instances_{split}.parquet")

    def quality(self, split: str = "test") -> Path:
        """The panoptic quality of the instances of a split."""
        return self.folder / ("quality.csv" if split == "test" else f"quality_{split}.csv")

    def figures(self, split: str = "test") -> Path:
        """The folder of the figures of a split."""
        return self.folder / ("figures" if split == "test" else f"figures_{split}")

    def of_training(self) -> Iterator[Path]:
        """Yield the existing files that training writes, without the configuration."""
        for path in (self.last, self.best, self.weights, self.log, self.region_weights):
            if path.exists():
                yield path

    def owns(self, path: Path) -> bool:
        """Return whether a path is that of a file of the run, which need not exist.

        Args:
            path: a path within the folder; its case is ignored.
        """
        first, *further = (part.lower() for part in path.relative_to(self.folder).parts)
        if further:
            return first in ("checkpoints", "code", "tensorboard") or first.startswith("figures")
        is_table = first.startswith(("events", "instances")) and first.endswith(".parquet")
        is_table |= first.startswith("quality") and first.endswith(".csv")
        return first in OWN or is_table or first.startswith(".")


def run_of(path: Path) -> Path | None:
    """Return the folder of the run that a path belongs to, or None if it belongs to none.

    Args:
        path: the path of a file, which need not exist.
    """
    for folder in list(path.parents)[:2]:
        files = RunFiles(folder)
        is_run = os.path.isfile(files.config) and any(
            map(os.path.exists, (files.weights, files.checkpoints, files.log, folder / LOCK))
        )
        if is_run and files.owns(path):
            return folder
    return None
