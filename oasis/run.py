"""Run: a folder with everything about one training, and the operations on it."""

import logging
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, Sized
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from oasis.adapters.options import SPLITS
from oasis.config.changes import changed
from oasis.config.parts import balanced_rule, new_loss, new_separator
from oasis.config.resolve import code_names, resolve
from oasis.config.resuming import check_resumable
from oasis.config.schema import RunConfig
from oasis.data.augmentation import Augmented
from oasis.data.mixing import SampleDataset
from oasis.data.sample_files import write_samples
from oasis.data.statistics import RegionStatistics, region_statistics
from oasis.device import best_device, process_rank
from oasis.errors import ConfigError, DataError, ModelError, OasisError, nearest, shown
from oasis.evaluation.batches import EventBatch
from oasis.evaluation.calibration import Calibration
from oasis.evaluation.class_summary import ClassSummary
from oasis.evaluation.event_table import SPREAD, as_predicted, evaluate, read_table, write_table
from oasis.evaluation.figures import write_figures
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.evaluation.instances import InstanceCollector
from oasis.evaluation.summary import Summary, check_study, summarise
from oasis.evaluation.surroundings import SizeCheck, check_size
from oasis.export.card import Card
from oasis.export.export import SIZES as EXPORTED
from oasis.export.export import ExportFacts, export_separator, recognisers
from oasis.export.runtimes import find_runtime
from oasis.inference.blockwise import Blockwise
from oasis.inference.choice import Choice
from oasis.inference.destinations import OutputOptions, outputs_of
from oasis.inference.job import Job
from oasis.inference.options import WindowOptions
from oasis.inference.plan import Plan, Unit
from oasis.inference.predict import predict
from oasis.inference.predicted import Predicted, tables_of
from oasis.inference.reader import Reader
from oasis.inference.stream import QUEUE, Streamed, StreamOutput, stream
from oasis.inference.stream_sources import Watch, open_frames
from oasis.inference.zarr_store import MapStore, held, make_way
from oasis.io.arrays import read_array
from oasis.io.files import digest
from oasis.io.kept_code import KeptCode
from oasis.io.locks import FolderLock
from oasis.io.outputs import (
    check_outputs,
    is_report,
    is_run_config,
    is_separator_options,
    is_simulated,
    paths_in,
)
from oasis.io.run_files import RunFiles
from oasis.io.tables import read_csv, write_csv
from oasis.io.texts import write_text
from oasis.io.yaml_text import read_yaml, yaml_text
from oasis.io.zarr_files import ZARR, is_zarr
from oasis.loss.overlap import OverlapLoss
from oasis.plugins import code_file
from oasis.progress import watched
from oasis.report.facts import Facts, gather
from oasis.report.page import EVENTS, write_report
from oasis.separator.files import read_options
from oasis.separator.separator import Separator
from oasis.training.log import VALIDATION, read_log

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
    """

    table: pd.DataFrame
    summary: Summary | ClassSummary
    coverage: pd.DataFrame | None
    figures: Sequence[Path]
    size: SizeCheck | None = None
    instances: pd.DataFrame | None = None
    quality: pd.DataFrame | None = None


class Run:
    """A run: its configuration, its adapter, and the folder that only this class reads and writes.

    Args:
        folder: the folder of an existing run, which may have been moved since training.
        changes: changes to the saved configuration, such as `"training.epochs=20"`; the value is read as YAML.
        trust_code: run the Python files that the run names, as they were when it was trained.

    Attributes:
        config: the complete configuration.
        adapter: the adapter of the domain.
        files: the paths of the files.

    Raises:
        ConfigError: there is no run, its configuration is invalid, or it names code that is not trusted.

    Example:
        >>> run = Run.from_values({"adapter": "migdal", "run": "runs/migdal", "seed": 3})
        >>> run.adapter.classes, run.config.seed
        (('ER', 'NR'), 3)
    """

    config: RunConfig
    files: RunFiles
    _source: Path | None = None  # the YAML file that describes it

    def __init__(self, folder: str | Path, changes: Sequence[str] = (), trust_code: bool = False) -> None:
        files = RunFiles(Path(folder))
        _check_is_run(files.folder)
        saved = read_yaml(files.config)
        values = changed({**saved, "run": str(folder)}, changes)
        self._changes = tuple(changes)
        self._code = KeptCode(files.code)
        self._saved_code = code_names(saved)
        self._trusted = set(code_names(changed({}, changes)).values())
        if trust_code:
            self._trusted |= set(self._saved_code.values())
        _check_trusted(code_names(values), self._trusted, files.config)
        self._resolve(values, str(folder), self._code.located)

    @classmethod
    def from_config(cls, path: str | Path, changes: Sequence[str] = ()) -> "Run":
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
    def from_values(cls, values: Mapping[str, Any], where: str = "configuration") -> "Run":
        """Return the run that plain values describe; see `from_config`.

        Args:
            values: settings by key.
            where: where they are from, for messages.
        """
        run = cls.__new__(cls)
        run._saved_code, run._changes = code_names(values), ()
        run._trusted = set(run._saved_code.values())
        run._resolve(values, where)
        run._code = KeptCode(run.files.code)
        return run

    def _resolve(self, values: Mapping[str, Any], where: str, located: Callable[[str], str] = str) -> None:
        self.config, self.adapter = resolve(values, where, located)
        self.files = RunFiles(Path(self.config.run))
        self._lock = FolderLock(self.files.folder)
        self._located = located

    def moved_to(self, folder: str | Path) -> "Run":
        """Return the same run with another folder; nothing is copied."""
        run = type(self).__new__(type(self))
        run.config, run.adapter = self.config.model_copy(update={"run": str(folder)}), self.adapter
        run.files, run._lock = RunFiles(Path(folder)), FolderLock(Path(folder))
        run._code, run._located = KeptCode(run.files.code), self._located
        run._saved_code, run._trusted, run._source = self._saved_code, self._trusted, self._source
        run._changes = self._changes
        return run

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.files.folder

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes, among those that share a training."""
        return self.config.training.devices == 1 or process_rank() == 0

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
        """The calibration of intensities, or None if there is none.

        Raises:
            DataError: it is damaged.
        """
        path = self.files.calibration
        return Calibration.load(path) if path.exists() else None

    @property
    def size_check(self) -> SizeCheck | None:
        """The effect of larger surroundings on the maps of the best separator so far, or None if not measured.

        Raises:
            DataError: the file is damaged.
        """
        path = self.files.size_check
        found = SizeCheck.load(path) if path.exists() else None
        return found if found is not None and found.weights == digest(self.files.weights) else None

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
        return read_table(path)

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

    def new_separator(self, trained_size: tuple[int, ...] | None = None) -> Separator:
        """Return an untrained separator with random weights from the seed of the run.

        Args:
            trained_size: the spatial size of the images that it will be trained on.
        """
        return new_separator(self.config, self.adapter, trained_size, self._located)

    def separator(self, device: torch.device | str = "cpu") -> Separator:
        """Return the best separator so far.

        Raises:
            ModelError: the run has no separator yet, or one that names other code than the configuration.
        """
        options = read_options(self.folder)
        recorded = code_names(
            {"adapter": options.adapter or self._saved_code.get("adapter"), "model": options.model}
        )
        for key in {**recorded, **self._saved_code}:
            found, expected = (names.get(key, "none") for names in (recorded, self._saved_code))
            if found != expected:
                raise ModelError(
                    f"{self.files.weights}: names the code {shown(found)} as its {key}, but {self.files.config} "
                    f"{shown(expected)}: the two files are not of one run, and neither is executed"
                )
        return Separator.load(self.folder, device, trust_code=recorded.get("model.name") in self._trusted)

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
        names = code_names(self.config.model_dump()).values()
        self._code.keep({name: self._located(name) for name in names})
        write_text(self.files.config, yaml_text(self.config.model_dump(mode="json")))

    def clear(self) -> None:
        """Remove the files of a training, so that it can start again."""
        for path in self.files.of_training():
            path.unlink()

    def train(self, resume: bool = False) -> Separator:
        """Train in the run's folder and return the best separator.

        Args:
            resume: continue an interrupted training; the result is that of an uninterrupted run.

        Raises:
            ConfigError: `resume` with a change that is not possible in a training that has started.
            BusyError: another process is writing to the run.
            DataError: the folder already contains a run, and `resume` is not set.
        """
        check_study(self.adapter)
        with self.locked():
            return self._train(resume)

    def _train(self, resume: bool) -> Separator:
        from oasis.training.fit import fit  # imports Lightning, which takes seconds

        config = self.config
        self._check_folder(resume)
        train, val = self.dataset("train"), self.dataset("val")
        separator = self.new_separator(trained_size=train[0].image.shape[1:])
        if config.augmentation is not None:
            train = Augmented(train, config.augmentation, config.seed)
        loss = self.loss()
        if not resume:
            self.save()
            if self.is_main:
                self.files.first_epoch.touch()
            return fit(separator, loss, train, val, self.folder, config.training, config.seed)
        found = fit(separator, loss, train, val, self.folder, config.training, config.seed, True, self.save)
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
        if self.is_main and self.files.first_epoch.exists() and not os.path.lexists(self.files.last):
            self.clear()  # what a first epoch left that was not completed
        found = next(self.files.of_training(), None)
        if found is not None:
            folder = shlex.quote(str(self.folder))
            raise DataError(
                f"{self.folder}: contains a run already ({found.name}): resume it with  "
                f"oasis train --resume {folder}  or choose another --run"
            )
        outputs = {
            self.files.config: is_run_config,
            self.files.options: is_separator_options,
            self._code.index: self._code.is_index,
        }
        check_outputs(outputs, self._inputs(), own=outputs)

    def _check_changes(self) -> None:
        if not self.files.config.exists():
            return
        _check_trusted(code_names(read_yaml(self.files.config)), self._trusted, self.files.config)
        check_resumable(Run(self.folder, trust_code=True).config, self.config)

    def _check_readable(self) -> None:
        """Read the files to which a resumed training adds, before it starts."""
        log = self.log if os.path.lexists(self.files.log) else None
        improved = log is not None and bool(np.isfinite(log[VALIDATION]).any())
        if improved or os.path.lexists(self.files.weights):
            self.separator()

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
        collector = InstanceCollector(self.adapter, self.config.grouping) if self.config.grouping else None
        watch = None if collector is None else collector.add
        table = self.measure(dataset, separator, workers, calibration is not None, refine, watch)
        coverage = None
        if calibration is not None:
            table = table.join(calibration.intervals(as_predicted(table)))
            coverage = calibration.check(as_predicted(table))
        write_table(table, self.files.events(split))
        study = self.adapter.study
        summary = summarise(table, study)
        figures = write_figures(
            self.files.figures(split), separator, dataset, self.adapter, table, self.folder.name, summary
        )
        check = self.size_check
        if check is None:
            check = self._measured_size(separator, dataset)
            _keep(check, self.files.size_check)
        found = Evaluation(table, summary, coverage, figures, check)
        if collector is None or collector.table is None:
            return found
        run = separator.options.identity.get(CONFIGURATION)
        instances = identified(collector.table, run, self.adapter.unit)
        write_table(instances, self.files.instances(split))
        return found._replace(instances=instances, quality=collector.quality)

    def _measured_size(self, separator: Separator, dataset: SampleDataset) -> SizeCheck | None:
        limits = torch.tensor(list(self.adapter.limits.values()))
        return check_size(separator, dataset, limits, weights=digest(self.files.weights))

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

    def calibrate(self, split: str = "val", workers: int = 1) -> Calibration:
        """Fit intervals for intensities, which are used from then on, and write them to the run.

        Args:
            split: a split that was not used in training.
            workers: number of processes that prepare samples.

        Raises:
            DataError: there are too few events.
            BusyError: another process is writing to the run.
        """
        with self.locked():
            table = self.measure(self.dataset(split), workers=workers, calibrating=True)
            calibration = Calibration.fit(as_predicted(table), self.adapter.classes, self.config.calibration)
            calibration.save(self.files.calibration)
        return calibration

    def predict(
        self,
        source: str | Path,
        out: str | Path,
        dark: str | Path | None = None,
        key: str | None = None,
        spread: bool = False,
        refine: bool = False,
        force: bool = False,
        window: WindowOptions | None = None,
        cluster: str | None = None,
        workers: int | None = None,
        outputs: OutputOptions | None = None,
    ) -> Predicted:
        """Separate the images of a file or folder; return the table that is written, with intervals if calibrated.

        Args:
            source: a file or a folder.
            out: `.h5`, `.hdf5`, `.npz`, `.ome.tif` or `.zarr`, or a folder; the table is beside it, as `.csv`, and
                for maps grouped into instances a row for each as `_instances.csv`. A zarr store that was
                interrupted is continued.
            dark: a dark frame to subtract.
            key: the array in `.npz` and HDF5 files.
            spread: also write the standard deviation of the maps over the symmetries of the image.
            refine: also fit the domain's model to each image.
            force: replace files that are not earlier outputs.
            window: how images are cut: whole, by tiles, or into regions of interest.
            cluster: of Dask, for a zarr store: `local`, `slurm` or the address of a scheduler.
            workers: how many the cluster starts.
            outputs: whether there is one file for every input, and previews.

        Raises:
            DataError: the output must not be written, or no image could be used.
        """
        (table, instances), window = tables_of(Path(out)), window or WindowOptions()
        inputs = [path for path in (source, dark, window.regions) if path is not None]
        outputs = outputs or OutputOptions()
        written = outputs_of(source, Path(out), outputs, self.adapter.suffixes, bool(self.config.grouping))
        check_outputs(written, inputs, force=force)
        calibration = self.calibration  # before anything is written, since it may be damaged
        settings = (None if dark is None else read_array(dark), key, spread or self._needs_spread, refine)
        if cluster is None:
            separator = self.separator(best_device())
            check, grouping = partial(self._known_size, separator), self.config.grouping
            found = predict(
                separator, self.adapter, source, out, *settings, check, window, grouping, force, outputs=outputs
            )
        else:
            found = self._predict_on(cluster, workers, source, out, settings, window, force)
        if calibration is not None:
            found = found._replace(objects=found.objects.join(calibration.intervals(found.objects)))
        write_csv(found.objects, table)
        if found.instances is not None:
            write_csv(found.instances, instances)
        return found

    def _predict_on(
        self,
        cluster: str,
        workers: int | None,
        source: str | Path,
        out: str | Path,
        settings: tuple[NDArray[Any] | None, str | None, bool, bool],
        window: WindowOptions,
        force: bool,
    ) -> Predicted:
        """Separate on a cluster, whose workers load the run by themselves."""
        from oasis.inference.cluster import OnCluster, connected

        source, out = os.path.abspath(source), os.path.abspath(out)
        if not is_zarr(out):
            raise ConfigError(f"{out}: cluster: only zarr is written by several processes: name an output .zarr")
        separator = self.separator()
        check, grouping = partial(self._known_size, separator), self.config.grouping
        recipe = (os.path.abspath(self.folder), tuple(self._changes), bool(self._trusted))
        load = partial(_blockwise, recipe, out, settings, window)
        with connected(cluster, workers) as client:

            def runner(blockwise: Blockwise, units: Sequence[Unit]) -> None:
                if units:
                    OnCluster(client, load)(blockwise, units)

            return predict(separator, self.adapter, source, out, *settings, check, window, grouping, force, runner)

    def stream(
        self,
        source: str | Path | BinaryIO,
        out: str | Path,
        dark: str | Path | None = None,
        key: str | None = None,
        shape: Sequence[int] = (),
        dtype: str = "",
        window: WindowOptions | None = None,
        queue: int = QUEUE,
        drop: bool = False,
        idle: float | None = None,
        every: float = 10.0,
        report: Callable[[Streamed], None] | None = None,
        stop: threading.Event | None = None,
        force: bool = False,
    ) -> Streamed:
        """Separate frames as they come; what is complete is on disk, whatever happens to the process.

        Args:
            source: a folder to which files are added, a TIFF or HDF5 file that grows, or a stream of raw bytes.
            out: a `.zarr` store to which maps are appended; rows are appended to the `.csv` beside it.
            dark: a dark frame to subtract.
            key: the array in an HDF5 file.
            shape: of a frame of raw bytes.
            dtype: of its numbers, such as `<u2`.
            window: whole frames or regions of interest.
            queue: frames that may wait.
            drop: drop a frame that finds the queue full; else its source waits.
            idle: seconds without a frame after which the stream ends; by default it does not.
            every: seconds between reports.
            report: is told the state, which is returned at the end.
            stop: ends the stream when it is set; the frames that wait are still separated.
            force: replace an earlier output.

        Raises:
            ConfigError: the source or the output cannot be of this kind.
            DataError: the output exists, or cannot be written to.
        """
        out, window, stop = Path(out), window or WindowOptions(), stop or threading.Event()
        path = source if isinstance(source, str | Path) else None
        table = _stream_table(out, window, [one for one in (path, dark, window.regions) if one is not None], force)
        frame = None if dark is None else read_array(dark)
        frames = open_frames(source, self.adapter, Watch(stop.is_set, idle), key, frame, shape, dtype)
        separator = self.separator(best_device())
        choice = Choice(separator, partial(self._known_size, separator), window.kind)
        job = Job(separator, self.adapter, self._needs_spread, False, window, choice)
        with held(out), self._stream_output(separator, out, table, force) as output:
            return stream(job, frames, output, stop, queue, drop, every, report)

    @contextmanager
    def _stream_output(self, separator: Separator, out: Path, table: Path, force: bool) -> Iterator[StreamOutput]:
        """Open the output of a stream, and close it whatever happens."""
        options, calibration = separator.options, self.calibration
        make_way(out, force)
        facts = {"classes": list(options.classes), "unit": options.unit, "identity": options.identity}
        further = None if calibration is None else (lambda rows: rows.join(calibration.intervals(rows)))
        output = StreamOutput(out, facts, table, further)
        try:
            yield output
        finally:
            output.close()

    def simulate(self, out: str | Path, split: str = "test", force: bool = False) -> int:
        """Write the samples of a split to an HDF5 file and return their number.

        Args:
            out: the file.
            split: `train`, `val` or `test`.
            force: replace a file that is not an earlier output.

        Raises:
            DataError: an output that must not be written.
        """
        check_outputs({Path(out): is_simulated}, self._inputs(), force=force)
        dataset = self.dataset(split)
        facts = {"adapter": self.config.adapter, "split": split, "configuration": self.fingerprint}
        indices = watched(range(len(dataset)), f"simulate {split}", len(dataset))
        samples = (dataset[index] for index in indices)
        return write_samples(out, samples, self.adapter.classes, self.adapter.unit, facts)

    def _inputs(self) -> list[Path]:
        """Return the files and folders that the configuration names, and the configuration itself."""
        code = (code_file(name) for name in code_names(self.config.model_dump()).values())
        return [*([] if self._source is None else [self._source]), *code, *paths_in(self.config.data)]

    def report(
        self,
        out: str | Path | None = None,
        events: int = EVENTS,
        others: Sequence["Run"] = (),
        force: bool = False,
    ) -> Path:
        """Write a report as one HTML file and return its path.

        Args:
            out: the file; by default in the run's folder, or with other runs in the current one.
            events: maximum number of events to show.
            others: further runs that were evaluated on the same events.
            force: replace a file that is not an earlier report.

        Raises:
            BusyError: another process is writing to the run.
            DataError: an output that must not be written.
        """
        path = Path(out) if out is not None else (Path("report.html") if others else self.files.report)
        check_outputs({path: is_report}, own=[self.files.report], force=force)
        with self.locked():
            write_report([self, *others], path, events)
        return path

    def export(
        self,
        out: str | Path | None = None,
        kind: str = "onnx",
        size: str = "auto",
        force: bool = False,
    ) -> tuple[Path, Card]:
        """Write the separator as a program for other software, and a model card beside it.

        The program is compared with the separator before it is written.

        Args:
            out: the file; by default `model.onnx` or `model.pt2` in the run's folder.
            kind: `onnx`, or `torch` for `torch.export`.
            size: the image sizes that it takes: `any` that the model accepts, `trained` for that in training only,
                or `auto`: the latter if larger images are known or likely to have other maps.
            force: replace a file that is not an earlier export.

        Returns:
            The file and its card.

        Raises:
            ConfigError: an unknown `kind` or `size`.
            ModelError: the run has no separator yet, or its model cannot be exported.
            DataError: an output that must not be written.
        """
        if size not in EXPORTED:
            raise ConfigError(f"size: unknown {size!r}; {nearest(size, EXPORTED)}")
        path = self.files.exported(find_runtime(kind).suffix) if out is None else Path(out)
        outputs = recognisers(path, kind)
        own = recognisers(self.files.exported(find_runtime(kind).suffix), kind)
        check_outputs(outputs, self._inputs(), own=own, force=force)
        separator = self.separator()
        check = self._known_size(separator) if separator.options.trained_size else None
        fixed = size == "trained" or (size == "auto" and not _is_safe(separator, check))
        if fixed and size == "auto":
            logger.info("larger images have, or may have, other maps: exported for the size in training alone")
        about = (type(self.adapter).__doc__ or "").partition("\n")[0]
        data = {"adapter": self.config.adapter, "about": about, "configuration": self.fingerprint}
        facts = ExportFacts(self.adapter.limits, check, data | {"options": self.config.data})
        return path, export_separator(separator, path, kind, facts, fixed)

    def facts(self) -> Facts:
        """Return the facts of the run and the state of its training.

        Raises:
            ModelError: the run has no separator yet.
            DataError: a file of the run is missing or damaged.
        """
        return gather(self)


def _is_never(path: Path) -> bool:
    """Return that a file is not to be replaced without being told to: a stream does not come again."""
    return False


def _blockwise(
    recipe: tuple[str, tuple[str, ...], bool],
    out: str,
    settings: tuple[NDArray[Any] | None, str | None, bool, bool],
    window: WindowOptions,
) -> Blockwise:
    """Return what processes units of a store, in another process than the one that began it."""
    folder, changes, trust_code = recipe
    run = Run(folder, changes, trust_code)
    separator, (dark, key, spread, refine) = run.separator(best_device()), settings
    choice = Choice(separator, lambda: run.size_check, window.kind)
    job = Job(separator, run.adapter, spread, refine, window, choice, run.config.grouping)
    store = MapStore(Path(out))
    return Blockwise(job, store, Plan.parse(store.facts["plan"]), Reader(run.adapter, key, dark))


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


def _check_trusted(names: Mapping[str, str], trusted: Set[str], config: Path) -> None:
    for key, name in names.items():
        if name not in trusted:
            raise ConfigError(
                f"{config}: {key}: the run names code, {shown(name)}, which is not executed without permission: "
                "if you trust its author, pass --trust-code (in Python trust_code=True)"
            )


def _is_safe(separator: Separator, check: SizeCheck | None) -> bool:
    """Return whether images of another size than in training have the same maps, as far as is known."""
    if separator.options.trained_size is None:
        return True
    return not separator.sees_whole_frame if check is None else check.same


def _keep(check: SizeCheck | None, path: Path) -> None:
    if check is not None:
        check.save(path)


def _known(split: str) -> str:
    if split not in SPLITS:
        raise ConfigError(f"split: unknown {split!r}; {nearest(split, SPLITS)}")
    return split


def _stream_table(out: Path, window: WindowOptions, inputs: Sequence[str | Path], force: bool) -> Path:
    """Check the output of a stream and return the path of its table.

    Raises:
        ConfigError: the output is no zarr store, or frames would be cut into tiles.
        DataError: the output must not be written.
    """
    if out.suffix.lower() != ZARR:
        raise ConfigError(f"{out}: stream: maps are appended to zarr: name an output .zarr")
    if window.kind == "tiles":
        raise ConfigError("stream: frames are separated whole or in regions, not by tiles")
    table, _ = tables_of(out)
    check_outputs({out: _is_never, table: _is_never}, inputs, force=force)
    return table
