"""Evaluation and calibration of a run, and the effect of larger images on its maps."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from oasis.data.mixing import SampleDataset
from oasis.device import best_device
from oasis.errors import OasisError
from oasis.evaluation.batches import EventBatch
from oasis.evaluation.calibration import BandCalibration, Calibration
from oasis.evaluation.calibration.columns import PREDICTED
from oasis.evaluation.class_summary import ClassSummary
from oasis.evaluation.event_table import SPREAD, as_predicted, evaluate, write_table
from oasis.evaluation.figures import write_figures
from oasis.evaluation.identity import CONFIGURATION, WEIGHTS_OF, identified
from oasis.evaluation.instances import InstanceCollector
from oasis.evaluation.summary import Summary, summarise
from oasis.evaluation.surroundings import FACTOR, SizeCheck, check_size
from oasis.io.tables import write_csv
from oasis.run.base import RunBase
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """The results of `Run.evaluate`.

    Attributes:
        table: the event table.
        summary: the answer to the adapter's study, or a summary of its classes if it has none.
        coverage: the measured coverage of intervals, or None if the run is not calibrated.
        figures: the files of the figures.
        size: the effect of larger surroundings on the maps, or None for a separator with context.
        instances: the instance table, or None where none are known or maps are not grouped.
        quality: panoptic quality by class, with the instance table.
        flux_coverage: the measured coverage of the intervals of fluxes in bands, or None without such intervals.
    """

    table: pd.DataFrame
    summary: Summary | ClassSummary
    coverage: pd.DataFrame | None
    figures: Sequence[Path]
    size: SizeCheck | None = None
    instances: pd.DataFrame | None = None
    quality: pd.DataFrame | None = None
    flux_coverage: pd.DataFrame | None = None

    def _repr_html_(self) -> str:
        """Return the evaluation as a notebook shows it."""
        return self.summary._repr_html_()


class RunEvaluation(RunBase):
    """The evaluation of a run; see `Run`."""

    def evaluate(self, split: str = "test", refine: bool = False, workers: int = 1) -> Evaluation:
        """Evaluate the run on a split, and write its event table and figures.

        Args:
            split: `train`, `val` or `test`.
            refine: also fit the domain's model to each image.
            workers: number of processes that prepare samples.

        Raises:
            ModelError: the run has no separator yet.
            BusyError: another process is writing to the run.
        """
        with self.locked():
            return self._evaluate(split, refine, workers)

    def _evaluate(self, split: str, refine: bool, workers: int) -> Evaluation:
        dataset, separator, calibration = self.dataset(split), self.separator(best_device()), self.calibration
        grouping = self.config.grouping
        collector = InstanceCollector(self.adapter, grouping) if grouping else None
        watch = None if collector is None else collector.add
        table = self.measure(dataset, separator, workers, calibration is not None, refine, watch)
        coverage = None
        if calibration is not None:
            table = table.join(calibration.intervals(as_predicted(table)))
            coverage = calibration.check(as_predicted(table))
        table, flux_coverage = self._with_fluxes(table)
        table = table.assign(**{WEIGHTS_OF: self._what_is_measured()})
        write_table(table, self.files.events(split))
        study = self.adapter.study
        summary = summarise(table, study)
        figures = write_figures(
            self.files.figures(split), separator, dataset, self.adapter, table, self.folder.name, summary, grouping
        )
        check = self.size_check
        if check is None:
            check = self._measured_size(separator, dataset)
            _keep(check, self.files.size_check)
        found = Evaluation(table, summary, coverage, figures, check, flux_coverage=flux_coverage)
        if collector is None or collector.table is None:
            for path in (self.files.instances(split), self.files.quality(split)):
                path.unlink(missing_ok=True)  # of an earlier evaluation
            return found
        run = separator.options.identity.get(CONFIGURATION)
        instances = identified(collector.table, run, self.adapter.unit)
        write_table(instances, self.files.instances(split))
        if collector.quality is not None:
            write_csv(collector.quality, self.files.quality(split))
        return found._replace(instances=instances, quality=collector.quality)

    def calibrate(self, split: str = "val", workers: int = 1) -> Calibration:
        """Fit intervals for intensities and for fluxes in bands, which are used from then on, and write them.

        Args:
            split: a split that was not used in training.
            workers: number of processes that prepare samples.

        Raises:
            DataError: there are too few events.
            BusyError: another process is writing to the run.
        """
        with self.locked():
            table = self.measure(self.dataset(split), workers=workers, calibrating=True)
            of = {"weights": self._what_is_measured()}
            calibration = Calibration.fit(as_predicted(table), self.adapter.classes, self.config.calibration)
            calibration, fluxes = calibration.model_copy(update=of), self._flux_calibration_of(table)
            calibration.save(self.files.calibration)
            if fluxes is not None:
                fluxes.model_copy(update=of).save(self.files.flux_calibration)
        return calibration

    def _flux_calibration_of(self, table: pd.DataFrame) -> BandCalibration | None:
        """Return the calibration of the fluxes of an event table, None for a domain without fluxes in bands."""
        fluxes = self.adapter.fluxes
        if fluxes is None:
            return None
        chosen = {"strata": f"{fluxes.strata}_predicted", "edges": fluxes.edges, "absent": False}
        study = self.adapter.study
        fixed: dict[str, Any] = {
            "width_by": PREDICTED,
            "quantities": {},
            "group": None if study is None else study.group,
        }
        options = self.config.calibration.model_copy(update={**chosen, **fixed})
        return BandCalibration.fit(fluxes.rows(table), fluxes.classes[:1], fluxes.bands, options)

    def _with_fluxes(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Return an event table with the intervals of its fluxes, if these are calibrated, and their coverage."""
        fluxes, calibration = self.adapter.fluxes, self.flux_calibration
        if fluxes is None or calibration is None:
            return table, None
        rows = fluxes.rows(table)
        edges = (-math.inf, *fluxes.edges, math.inf)
        coverage = calibration.coverage(rows, f"{fluxes.strata}_predicted", edges)
        return table.join(calibration.intervals(rows)), coverage

    def measure(
        self,
        dataset: SampleDataset,
        separator: Separator | None = None,
        workers: int = 1,
        calibrating: bool = False,
        refine: bool = False,
        watch: Callable[[EventBatch], object] | None = None,
    ) -> pd.DataFrame:
        """Return the event table of a data set; no file is written.

        Args:
            dataset: samples with truth.
            separator: the separator to evaluate; by default that of the run.
            workers: processes that prepare samples.
            calibrating: also give the columns that a calibration is fitted to and applied to.
            refine: also give the columns of the adapter's `refine`.
            watch: is handed every batch with its predictions and instances.
        """
        return evaluate(
            separator or self.separator(best_device()),
            dataset,
            self.adapter,
            workers=workers,
            visible=calibrating,
            spread=calibrating and self._needs_spread,
            refine=refine,
            watch=watch,
        )

    @property
    def _needs_spread(self) -> bool:
        return self.config.calibration.width_by == SPREAD

    def _known_size(self, separator: Separator) -> SizeCheck | None:
        """Return the effect of larger surroundings on the maps, measured and saved if it was unknown.

        If that fails, for example without the data, a warning is logged.
        """
        try:
            found = self.size_check
            if found is None:
                logger.info("%s: what larger images do to the maps was not measured yet: measuring", self.folder)
                found = self._measured_size(separator, self.dataset("test"))
                with suppress(OasisError), self.locked():  # another user's run, or one that cannot be written to
                    _keep(found, self.files.size_check)
        except OasisError as error:
            logger.warning("%s: what larger images do to the maps is not known: %s", self.folder, error)
            return None
        return found

    def _measured_size(self, separator: Separator, dataset: SampleDataset) -> SizeCheck | None:
        """Return the effect of larger surroundings, None where a line says that it cannot be measured."""
        if separator.options.context:
            logger.info("%s: larger images are not checked, since surroundings have no context", self.folder)
        limits = torch.tensor(list(self.adapter.limits.values()))
        larger = self.adapter.larger("test", FACTOR)
        return check_size(separator, dataset, limits, weights=self._what_is_measured(), larger=larger)


def _keep(check: SizeCheck | None, path: Path) -> None:
    if check is not None:
        check.save(path)
