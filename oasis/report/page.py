"""The page of a report: one HTML file with the facts of runs, their results and their events."""

import shlex
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import torch

import oasis
from oasis.data.pictures import INPUT_DEPTH, colour_scale
from oasis.drawing import COLOURS
from oasis.errors import ConfigError
from oasis.evaluation.figures import training_figure
from oasis.io.texts import read_text, write_text
from oasis.report.evaluated import EvaluatedRun, adapters_note, read_evaluated
from oasis.report.events import events as shown_events
from oasis.report.tables import coverage, results, trained, weights
from oasis.report.words import number, picture

if TYPE_CHECKING:
    from oasis.run.base import RunBase

EVENTS = 60  # default number of events in a report


def write_report(runs: Sequence["RunBase"], out: str | Path | None = None, events: int = EVENTS) -> Path:
    """Write the report of one or several runs as a self-contained HTML file, and return its path.

    Args:
        runs: runs that were evaluated on the same events, with the same classes and unit.
        out: the file; by default `report.html` in the folder of a single run, in the current folder for several.
        events: maximum number of events to show.

    Raises:
        ConfigError: there are no runs, too many, or they differ in classes or units.
        DataError: a run has no event table, or runs were evaluated on different events.
        ModelError: a run has no separator, or one with other classes.
    """
    if not 1 <= len(runs) <= len(COLOURS):
        raise ConfigError(f"expected 1 to {len(COLOURS)} runs in a report, found {len(runs)}")
    evaluated = read_evaluated(runs)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("oasis.report").joinpath("report.html").read_text(encoding="utf-8"))
    path = Path(out) if out is not None else (runs[0].files.report if len(runs) == 1 else Path("report.html"))
    write_text(path, template.render(_content(evaluated, events)))
    return path


def _content(runs: Sequence[EvaluatedRun], most: int) -> dict[str, Any]:
    """Return the variables of the template."""
    tables, figures = results(runs)
    loss = training_figure({each.name: each.log for each in runs})
    return {
        "names": [each.name for each in runs],
        "adapter": runs[0].run.adapter,
        "note": adapters_note([each.run for each in runs]),
        "facts": trained(runs),
        "loss": picture("Loss", "Loss of training and validation by epoch.", loss),
        "results": tables,
        "figures": figures,
        "weights": weights(runs),
        "coverage": [coverage(each) for each in runs if each.calibration is not None],
        "events": list(shown_events(runs, most)),
        "scales": {
            "input": colour_scale(depth=INPUT_DEPTH),
            "truth and prediction": colour_scale(),
            "residual": colour_scale(signed=True),
        },
        "commands": list(_commands(runs, most)),
        "configurations": {each.name: read_text(each.run.files.config) for each in runs},
        "number": number,
        "versions": f"oasis-seg {oasis.__version__}, torch {torch.__version__}",
    }


def _commands(runs: Sequence[EvaluatedRun], most: int) -> Iterator[str]:
    paths = {each.name: shlex.quote(str(each.run.folder)) for each in runs}
    for each in runs:
        yield f"oasis train {shlex.quote(each.name + '.yaml')} --run {paths[each.name]}"
        if each.calibration is not None:
            yield f"oasis calibrate {paths[each.name]}"
        yield f"oasis evaluate {paths[each.name]}"
    yield f"oasis report {' '.join(paths.values())} --events {most}"
