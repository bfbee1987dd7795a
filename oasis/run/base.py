"""The folder of a run: its configuration, its adapter, and what its files say."""

import copy
import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self, TypeVar

import pandas as pd
import torch

from oasis.adapters.base import Adapter
from oasis.adapters.options import SPLITS
from oasis.config.changes import changed
from oasis.config.parts import balanced_rule, new_loss, new_separator
from oasis.config.resolve import code_names, resolve
from oasis.config.schema import RunConfig
from oasis.data.brightness import Brightness
from oasis.data.mixing import SampleDataset
from oasis.data.statistics import RegionStatistics, region_statistics
from oasis.device import is_first_process
from oasis.errors import ConfigError, DataError, nearest, shown
from oasis.evaluation.calibration import BandCalibration, Calibration
from oasis.evaluation.event_table import read_columns, read_table
from oasis.evaluation.identity import WEIGHTS_OF
from oasis.evaluation.surroundings import SizeCheck
from oasis.instances.matching import COUNTED
from oasis.instances.table import COLUMNS
from oasis.io.files import digest
from oasis.io.kept_code import KeptCode
from oasis.io.locks import FolderLock
from oasis.io.outputs import paths_in
from oasis.io.run_files import RunFiles
from oasis.io.tables import read_csv
from oasis.io.texts import write_text
from oasis.io.yaml_text import read_yaml, yaml_text
from oasis.loss.overlap import OverlapLoss
from oasis.plugins import code_file
from oasis.run.trust import Trust
from oasis.separator.files import read_options
from oasis.separator.separator import Separator
from oasis.training.log import read_log

C = TypeVar("C", Calibration, BandCalibration)

logger = logging.getLogger(__name__)


class RunBase:
    """A folder with everything about one training; see `Run`."""

    config: RunConfig
    adapter: Adapter[Any]
    files: RunFiles
    changes: tuple[str, ...] = ()  # to the saved configuration
    _source: Path | None = None  # the YAML file that describes it

    def __init__(self, folder: str | Path, changes: Sequence[str] = (), trust_code: bool = False) -> None:
        files = RunFiles(Path(folder))
        _check_is_run(files.folder)
        saved = read_yaml(files.config)
        values = changed({**saved, "run": str(folder)}, changes)
        names = code_names(saved)
        trusted = {*code_names(changed({}, changes)).values(), *(names.values() if trust_code else ())}
        self.changes = tuple(changes)
        self._trust = Trust(names, frozenset(trusted), KeptCode(files.code).located)
        self._trust.check(code_names(values), files.config)
        self._resolve(values, str(folder))

    @classmethod
    def from_config(cls, path: str | Path, changes: Sequence[str] = ()) -> Self:
        """Return the run that a YAML file describes, which need not exist yet.

        Args:
            path: the path of the file.
            changes: changes to the configuration, as for an existing run.

        Raises:
            ConfigError: the file is not YAML, or has an unknown key (with the most similar known one) or an
                invalid value.
        """
        run = cls.from_values(changed(read_yaml(path), changes), str(path))
        run._source = Path(path)
        return run

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str = "configuration") -> Self:
        """Return the run that plain values describe; see `from_config`.

        Args:
            values: settings by key.
            where: where they are from, for messages.
        """
        run = cls.__new__(cls)
        names = code_names(values)
        run._trust = Trust(names, frozenset(names.values()))
        run._resolve(values, where)
        return run

    def _resolve(self, values: Mapping[str, Any], where: str) -> None:
        self.config, self.adapter = resolve(values, where, self._trust.located)
        self._place(Path(self.config.run))

    def _place(self, folder: Path) -> None:
        self.files, self._lock = RunFiles(folder), FolderLock(folder)

    def moved_to(self, folder: str | Path) -> Self:
        """Return the same run with another folder; nothing is copied."""
        run = copy.copy(self)
        run.config = self.config.model_copy(update={"run": str(folder)})
        run._place(Path(folder))
        return run

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.files.folder

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes, among those that share a training."""
        return self.config.training.processes == 1 or is_first_process()

    @property
    def fingerprint(self) -> str:
        """Twelve digits that identify the configuration."""
        return self.config.fingerprint

    @property
    def log(self) -> pd.DataFrame:
        """The log of the training, one row per epoch.

        Raises:
            DataError: there is no log, or it is damaged.
        """
        return read_log(self.files.log)

    @property
    def region_weights(self) -> dict[str, float]:
        """The resolved weight of every region, by its name.

        Raises:
            DataError: the file is missing or damaged.
        """
        table = read_csv(self.files.region_weights, numbers=("weight",), texts=("region",))
        return dict(zip(table["region"], table["weight"], strict=True))

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of intensities, or None if there is none of the weights and gates of the run.

        Raises:
            DataError: it is damaged.
        """
        return self._of_these_weights(Calibration, self.files.calibration)

    @property
    def flux_calibration(self) -> BandCalibration | None:
        """The calibration of fluxes in bands, or None if there is none of the weights and gates of the run.

        Raises:
            DataError: it is damaged.
        """
        return self._of_these_weights(BandCalibration, self.files.flux_calibration)

    def _of_these_weights(self, kind: type[C], path: Path) -> C | None:
        """Return a calibration, unless training went on since it was fitted, or a gate is another one."""
        found = kind.load(path) if path.exists() else None
        if found is None or not found.weights or found.weights == self._what_is_measured():
            return found
        logger.warning(
            "%s: was fitted to other weights, or with other gates of the head, and is not used: run  "
            "oasis calibrate %s  again",
            path,
            shlex.quote(str(self.folder)),
        )
        return None

    @property
    def size_check(self) -> SizeCheck | None:
        """The effect of larger surroundings on the maps of the best separator so far, or None if not measured.

        Raises:
            DataError: the file is damaged.
        """
        path = self.files.size_check
        found = SizeCheck.load(path) if path.exists() else None
        if found is None or not found.weights.startswith(digest(self.files.weights)):
            return None
        return found if found.weights == self._what_is_measured() else None

    def _what_is_measured(self) -> str:
        """Return what a measurement is one of: the weights, and the gates of the head that were changed since."""
        trained = read_options(self.folder).head
        wanted = self.config.head.gates_over(trained)
        gates = {name: gate for name, gate in wanted.items() if gate != getattr(trained, name)}
        return digest(self.files.weights) + (f" {gates}" if gates else "")

    def events(self, split: str = "test") -> pd.DataFrame:
        """Return the event table of a split.

        Raises:
            DataError: the run was not evaluated on it, or the table is damaged.
        """
        path = self.files.events(_known(split))
        if not path.exists():
            command = f"oasis evaluate {shlex.quote(str(self.folder))}"
            command += "" if split == "test" else f" --split {split}"
            raise DataError(f"{self.folder}: there is no event table: run  {command}  first")
        table = read_table(path)
        known = WEIGHTS_OF in table and self.files.weights.exists()
        if known and (table[WEIGHTS_OF] != self._what_is_measured()).any():
            logger.warning(
                "%s: is of other weights, or of other gates of the head: run  oasis evaluate %s  again",
                path,
                shlex.quote(str(self.folder)),
            )
        return table

    def quality(self, split: str = "test") -> pd.DataFrame | None:
        """Return the panoptic quality of the instances of a split, or None if maps were not grouped.

        Raises:
            DataError: the table is damaged.
        """
        path = self.files.quality(_known(split))
        return read_csv(path, numbers=COUNTED, texts=("class",)) if path.exists() else None

    def instances(self, split: str = "test") -> pd.DataFrame | None:
        """Return the instance table of a split, or None if maps were not grouped.

        Raises:
            DataError: the table is damaged.
        """
        path = self.files.instances(_known(split))
        return read_columns(path, ["id", *COLUMNS], "an instance table") if path.exists() else None

    def dataset(self, split: str) -> SampleDataset:
        """Return the samples of a split.

        Raises:
            ConfigError: there is no such split.
            DataError: it has no samples.
        """
        found = self.adapter.dataset(_known(split))
        if not isinstance(found, Sized) or not len(found):
            raise DataError(f"the data set of {split} is empty: {type(self.adapter).__name__} gives no samples")
        return found

    def region_statistics(self, split: str = "train", samples: int | None = None) -> RegionStatistics:
        """Return the pixels and the intensity of every region in a split."""
        return region_statistics(self.dataset(split), self.adapter.classes, self.adapter.limits, samples)

    def loss(self) -> OverlapLoss:
        """Return the loss; for balanced weights, pixels are counted in training samples."""
        rule = balanced_rule(self.config)
        counts = None if rule is None else self.region_statistics("train", rule.samples).counts
        return new_loss(self.config, self.adapter, counts)

    def new_separator(
        self, trained_size: tuple[int, ...] | None = None, brightness: Brightness | None = None
    ) -> Separator:
        """Return an untrained separator with random weights from the seed of the run.

        Args:
            trained_size: the spatial size of the images that it will be trained on.
            brightness: that of these images.
        """
        return new_separator(self.config, self.adapter, trained_size, self._trust.located, brightness)

    def separator(self, device: torch.device | str = "cpu") -> Separator:
        """Return the best separator so far, with the gates of the configuration.

        Raises:
            ModelError: the run has no separator yet, or one that names other code than the configuration.
            ConfigError: the configuration changes more of its head than the gates.
        """
        options = read_options(self.folder)
        adapter = options.adapter or self._trust.saved.get("adapter")
        recorded = code_names({"adapter": adapter, "model": options.model})
        self._trust.check_recorded(recorded, self.files.weights, self.files.config)
        trusted = recorded.get("model.name") in self._trust.trusted
        self.adapter.trained_brightness = options.brightness
        return Separator.load(self.folder, device, trust_code=trusted).with_gates(self.config.head)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the run, except those that share a training with this one.

        Raises:
            BusyError: another process is writing to it.
        """
        with self._lock.locked() if self.is_main else nullcontext():
            yield

    def save(self) -> None:
        """Write the resolved configuration into the run's folder, with copies of the code that it names."""
        if not self.is_main:
            return
        self._trust.keep(code_names(self.config.model_dump()), KeptCode(self.files.code))
        write_text(self.files.config, yaml_text(self.config.model_dump(mode="json")))

    def _inputs(self) -> list[Path]:
        """Return the files and folders that the configuration names, and the configuration itself."""
        code = (code_file(name) for name in code_names(self.config.model_dump()).values())
        return [*([] if self._source is None else [self._source]), *code, *paths_in(self.config.data)]


def _check_is_run(folder: Path) -> None:
    if folder.is_file():
        raise ConfigError(f"{folder}: is a file, not the folder of a run")
    if not folder.is_dir():
        if folder.is_symlink():
            raise ConfigError(f"{folder}: a link to {shown(os.readlink(folder))}, which leads to no folder")
        siblings = folder.parent.iterdir() if folder.parent.is_dir() else ()
        known = [entry.name for entry in siblings if RunFiles(entry).config.is_file()]
        hint = f"; {nearest(folder.name, known)}" if known else ""
        raise ConfigError(f"{folder}: no such run{hint}")


def _known(split: str) -> str:
    if split not in SPLITS:
        raise ConfigError(f"split: unknown {split!r}; {nearest(split, SPLITS)}")
    return split
