"""Run: a folder with everything about one training, and the operations on it."""

from oasis.html import facts_html
from oasis.report.facts import overview
from oasis.run.inspection import RunInspection
from oasis.run.outputs import RunOutputs
from oasis.run.prediction import RunPrediction
from oasis.run.streaming import RunStreaming
from oasis.run.training import RunTraining


class Run(RunTraining, RunPrediction, RunStreaming, RunInspection, RunOutputs):
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

    def _repr_html_(self) -> str:
        """Return the run as a notebook shows it."""
        return facts_html("Run", overview(self))
