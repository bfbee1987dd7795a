"""Training of a run, and its continuation."""

import logging
import os
import shlex
from collections.abc import Sequence

import numpy as np

from oasis.config.resolve import code_names
from oasis.config.resuming import check_resumable
from oasis.data.augmentation import Augmented
from oasis.data.brightness import brightness_of
from oasis.data.mixing import SampleDataset
from oasis.errors import DataError
from oasis.evaluation.summary import check_study
from oasis.io.kept_code import KeptCode
from oasis.io.outputs import check_outputs, is_run_config, is_separator_options
from oasis.io.yaml_text import read_yaml
from oasis.loss.overlap import OverlapLoss
from oasis.run.base import RunBase
from oasis.separator.separator import Separator
from oasis.training.log import VALIDATION

logger = logging.getLogger(__name__)

Parts = tuple[Separator, OverlapLoss, SampleDataset, SampleDataset]
"""A separator, its loss, and samples for training and validation."""


class RunTraining(RunBase):
    """The training of a run; see `Run`."""

    def train(self, resume: bool = False) -> Separator:
        """Train in the run's folder and return the best separator.

        Args:
            resume: continue an interrupted training; the result is that of an uninterrupted run.

        Raises:
            ConfigError: `resume` with a change that is not possible in a training that has started.
            BusyError: another process is writing to the run.
            DataError: the folder already contains a run, and `resume` is not set.
        """
        if not resume:
            self._check_new()
        train, val = self.dataset("train"), self.dataset("val")
        # Before there is a folder, so that what is refused leaves none; to resume, the folder is checked first.
        parts = None if resume else self._parts(train, val)
        with self.locked():
            self._check_folder(resume)
            return self._train(parts or self._parts(train, val), resume)

    def _parts(self, train: SampleDataset, val: SampleDataset) -> Parts:
        """Return what is trained, by what and on what; what cannot be trained is refused."""
        from oasis.training.fit import check_training  # imports Lightning, which takes seconds

        config, size, brightness = self.config, train[0].image.shape[1:], brightness_of(train)
        check_study(self.adapter)  # which only warns of samples that cannot be read
        separator = self.new_separator(size, brightness)
        if config.augmentation is not None:
            train = Augmented(train, config.augmentation, config.seed)
        loss = self.loss()
        check_training(config.training, loss, min(len(train), len(val)))
        return separator, loss, train, val

    def _train(self, parts: Parts, resume: bool) -> Separator:
        from oasis.training.fit import fit

        config = self.config
        if not resume:
            self.save()
            if self.is_main:
                self.files.first_epoch.touch()
            return fit(*parts, self.folder, config.training, config.seed)
        found = fit(*parts, self.folder, config.training, config.seed, True, self.save)
        self.save()  # also where no epoch was left
        return found

    def how_to_go_on(self, changes: Sequence[str] = ()) -> str:
        """Return how to continue an interrupted training, as the end of a sentence.

        Args:
            changes: changes to the saved configuration with which it was resumed.
        """
        if not os.path.exists(self.files.last):
            return f"{self.folder}: no epoch was completed: begin again with the same command"
        words = ["oasis", "train", "--resume", str(self.folder)]
        words += [word for change in changes for word in ("--set", change)]
        words += ["--trust-code"] if code_names(self.config.model_dump()) else []
        return f"resume from the last complete epoch with  {shlex.join(words)}"

    def _check_folder(self, resume: bool) -> None:
        if resume:
            self._check_changes()
            self._check_readable()
            return
        if self.is_main and self._is_left_over():
            self.clear()
        self._check_new()
        kept = KeptCode(self.files.code)
        outputs = {
            self.files.config: is_run_config,
            self.files.options: is_separator_options,
            kept.index: kept.is_index,
        }
        check_outputs(outputs, self._inputs(), own=outputs)

    def _check_new(self) -> None:
        """Check that there is no training in the folder."""
        found = next(self.files.of_training(), None)
        if found is not None and not self._is_left_over():
            folder = shlex.quote(str(self.folder))
            raise DataError(
                f"{self.folder}: contains a run already ({found.name}): resume it with  "
                f"oasis train --resume {folder}  or choose another --run"
            )

    def _is_left_over(self) -> bool:
        """Return whether what is there was left by a first epoch that was not completed."""
        return self.files.first_epoch.exists() and not os.path.lexists(self.files.last)

    def clear(self) -> None:
        """Remove the files of a training, so that it can start again."""
        for path in self.files.of_training():
            path.unlink()

    def _check_changes(self) -> None:
        if not self.files.config.exists():
            return
        self._trust.check(code_names(read_yaml(self.files.config)), self.files.config)
        check_resumable(RunBase(self.folder, trust_code=True).config, self.config)

    def _check_readable(self) -> None:
        """Read the files to which a resumed training adds, before it starts."""
        log = self.log if os.path.lexists(self.files.log) else None
        improved = log is not None and bool(np.isfinite(log[VALIDATION]).any())
        if improved or os.path.lexists(self.files.weights):
            self.separator()
