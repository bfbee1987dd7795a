"""What else a run writes: simulated samples, reports, exported programs."""

import logging
from collections.abc import Sequence
from pathlib import Path

from oasis.data.sample_files import write_samples
from oasis.errors import ConfigError, nearest
from oasis.evaluation.summary import summarise
from oasis.evaluation.surroundings import SizeCheck
from oasis.export.card import Card
from oasis.export.export import SIZES as EXPORTED
from oasis.export.export import ExportFacts, export_separator, recognisers
from oasis.export.hub import check_name, hub_card, push
from oasis.export.runtimes import check_suffix, find_runtime
from oasis.io.outputs import check_outputs, is_report, is_simulated
from oasis.progress import watched
from oasis.report.facts import Facts, gather
from oasis.report.page import EVENTS, write_report
from oasis.run.base import RunBase
from oasis.run.evaluation import RunEvaluation
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)


class RunOutputs(RunEvaluation):
    """Further outputs of a run; see `Run`."""

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

    def report(
        self,
        out: str | Path | None = None,
        events: int = EVENTS,
        others: Sequence[RunBase] = (),
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
        check_suffix(path, kind)
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

    def push_to_hub(
        self, repository: str, private: bool = True, licence: str | None = None, token: str | None = None
    ) -> str:
        """Upload the run to the Hugging Face hub, with a model card, and return its address.

        `oasis.load(repository)` loads its separator; a download of the whole repository is a run. The resolved
        configuration is a part of it, with the paths of files that it names.

        Args:
            repository: `owner/name`, which is made where it does not exist.
            private: whether a new repository can be seen by its owner alone.
            licence: of the model, by its identifier on the hub, such as `mit`.
            token: of access; by default that of `hf auth login` or of the environment.

        Raises:
            ConfigError: the name is not one of a repository.
            DataError: the hub cannot be reached, or refuses.
            MissingExtraError: the extra `hub` is not installed.
            ModelError: the run has no separator yet.
        """
        check_name(repository)
        files, adapter = self.files, self.adapter
        facts = self.facts().rows()
        table = self.events("test") if files.events("test").exists() else None
        found = None if table is None else summarise(table, adapter.study)
        summary = None if found is None else found.text(adapter.unit)
        card = hub_card(repository, adapter.classes, adapter.unit, facts, summary, licence)
        kept = [files.weights, files.options, files.config, files.log, files.region_weights, files.size_check]
        kept = [path for path in (*kept, files.calibration, files.flux_calibration) if path.exists()]
        return push(kept, card, repository, private, token)

    def facts(self) -> Facts:
        """Return the facts of the run and the state of its training.

        Raises:
            ModelError: the run has no separator yet.
            DataError: a file of the run is missing or damaged.
        """
        return gather(self)


def _is_safe(separator: Separator, check: SizeCheck | None) -> bool:
    """Return whether images of another size than in training have the same maps, as far as is known."""
    if separator.options.trained_size is None:
        return True
    return not separator.sees_whole_frame if check is None else check.same
