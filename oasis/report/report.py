"""Report: one HTML file that says what runs were trained on, how good they are, and shows their events."""

import shlex
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
import torch
import yaml

import oasis
from oasis.adapters.base import Adapter
from oasis.adapters.study import Study
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.device import best_device
from oasis.drawing import COLOURS
from oasis.errors import ConfigError, DataError
from oasis.evaluation.calibration import CALIBRATION, Calibration
from oasis.evaluation.comparison import by_chance, comparisons
from oasis.evaluation.event_table import as_predicted, check_same_classes, read_table, table_path
from oasis.evaluation.figures import (
    bias_figure,
    intensity_figure,
    iou_figure,
    png,
    roc_figure,
    training_figure,
)
from oasis.evaluation.gallery import (
    INPUT_DEPTH,
    EventPictures,
    chosen_events,
    colour_scale,
    data_uri,
    event_pictures,
    predicted_maps,
)
from oasis.evaluation.identity import CONFIGURATION, check_identity
from oasis.evaluation.summary import Summary, summarise
from oasis.io.texts import read_text, write_text
from oasis.run import CONFIG, MOST_REGIONS, Setup, load_config
from oasis.separator.separator import Separator
from oasis.stats.bins import binned
from oasis.stats.intervals import ENDS
from oasis.stats.roc import RATES
from oasis.training.journal import REGION_WEIGHTS

EVENTS = 60  # that a report shows unless told otherwise
PIXELS = 7_500_000  # of all pictures of events together, at most a byte each before they are written as text
SIDE = (32, 160)  # pixels along the longest side of a picture, at least and at most
MEASURES = ("events", "bias (%)", "spread (%)", "IoU")  # columns of tables that `_cells` fills


@dataclass(frozen=True)
class _Run:
    """A run that has been evaluated.

    Attributes:
        name: that tells it from the other runs of the report.
        path: its folder.
        setup: its configuration and adapter.
        table: its event table.
        log: of its training, one row per epoch.
        weights: the resolved weight of every region, by its name.
        separator: what was trained.
        calibration: of its intensities, or None.
    """

    name: str
    path: Path
    setup: Setup
    table: pd.DataFrame
    log: pd.DataFrame
    weights: Mapping[str, float]
    separator: Separator
    calibration: Calibration | None


class _Table(NamedTuple):
    """A table of texts; the first cell of a row is its header."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class _Picture(NamedTuple):
    """A figure: its title, what it shows in words, and itself as a data URI."""

    title: str
    alt: str
    source: str


class _Event(NamedTuple):
    """An event of the gallery.

    Attributes:
        id: of the sample.
        group: `worst`, `typical`, `best` or without the class.
        meta: what is known of it, by name.
        order: what it can be sorted by, NaN where it has none.
        pictures: of it and its predictions.
        captions: of the truth by class, and of prediction and residual by class and run.
    """

    id: str
    group: str
    meta: Mapping[str, str]
    order: Mapping[str, float]
    pictures: EventPictures
    captions: Sequence["_ClassCaptions"]


class _ClassCaptions(NamedTuple):
    """What stands below the pictures of one class."""

    name: str
    truth: str
    predictions: Sequence[str]
    residuals: Sequence[str]


def write_report(runs: Sequence[str | Path], out: str | Path | None = None, events: int = EVENTS) -> Path:
    """Write the report of one or several runs as one HTML file that needs no other, and return its path.

    Args:
        runs: folders of runs of one adapter that were evaluated on the same events.
        out: the file; `report.html` in the folder of a single run, in the current one for several.
        events: how many to show at most.

    Raises:
        ConfigError: no run, too many, or runs of different adapters.
        DataError: a run without event table, or runs that were evaluated on different events.
        ModelError: a run without a separator, or with one of other classes.
    """
    loaded = _load([Path(run) for run in runs])
    path = Path(out) if out is not None else (loaded[0].path if len(loaded) == 1 else Path()) / "report.html"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("oasis.report").joinpath("report.html").read_text(encoding="utf-8"))
    text = template.render(_content(loaded, events))
    write_text(path, text)
    return path


def _load(paths: Sequence[Path]) -> list[_Run]:
    if not 1 <= len(paths) <= len(COLOURS):
        raise ConfigError(f"expected 1 to {len(COLOURS)} runs in a report, found {len(paths)}")
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ConfigError(f"a run is named twice: {', '.join(names)}")
    runs = [_load_one(path, name) for path, name in zip(paths, names, strict=True)]
    for run in runs[1:]:
        _check_same(runs[0], run)
    return runs


def _load_one(path: Path, name: str) -> _Run:
    setup = load_config(path)
    if not table_path(path).exists():
        raise DataError(f"{path}: there is no event table: run  oasis evaluate {shlex.quote(str(path))}  first")
    separator = setup.trained(best_device())
    check_same_classes(separator, setup.adapter)
    table = read_table(table_path(path))
    check_identity(table, separator.options.identity.get(CONFIGURATION, ""), f"{path}: the separator is of")
    return _Run(
        name,
        path,
        setup,
        table,
        pd.DataFrame(setup.log()).apply(pd.to_numeric, errors="coerce"),
        setup.region_weights(),
        separator,
        Calibration.load(path / CALIBRATION) if (path / CALIBRATION).exists() else None,
    )


def _check_same(first: _Run, other: _Run) -> None:
    found, expected = other.setup.config.adapter, first.setup.config.adapter
    if (found, other.setup.adapter.classes) != (expected, first.setup.adapter.classes):
        raise ConfigError(
            f"{other.path}: a run of the adapter {found}, but {first.path} is one of {expected}: "
            "a report compares runs of one adapter"
        )
    keys = [run.table[["id", "class"]].to_numpy().tolist() for run in (first, other)]
    if keys[0] != keys[1] or not _close(*(run.table["intensity_true"] for run in (first, other))):
        raise DataError(
            f"{other.path}: evaluated on other events than {first.path}: evaluate both on the same "
            "samples, with the same section data"
        )


def _close(one: Any, other: Any) -> bool:
    """Return whether true intensities are the same but for rounding."""
    return bool(np.allclose(one, other, rtol=1e-3, equal_nan=True))


def _content(runs: Sequence[_Run], count: int) -> dict[str, Any]:
    """Return what the template shows, by the names that it has there."""
    adapter = runs[0].setup.adapter
    results, figures = _results(runs)
    loss = training_figure({run.name: run.log for run in runs})
    return {
        "names": [run.name for run in runs],
        "adapter": adapter,
        "facts": [
            _side_by_side("What was trained, on what", {run.name: _facts(run) for run in runs}),
            _differing(runs),
        ],
        "loss": _picture("Loss", "Loss of training and validation by epoch.", loss),
        "results": results,
        "figures": figures,
        "weights": _weights(runs),
        "coverage": [_coverage(run) for run in runs if run.calibration is not None],
        "events": list(_events(runs, chosen_events(runs[0].table, adapter.study, count))),
        "scales": {
            "input": colour_scale(depth=INPUT_DEPTH),
            "truth and prediction": colour_scale(),
            "residual": colour_scale(signed=True),
        },
        "commands": list(_commands(runs, count)),
        "configurations": {run.name: read_text(run.path / CONFIG) for run in runs},
        "number": _number,
        "versions": f"oasis-seg {oasis.__version__}, torch {torch.__version__}",
    }


def _results(runs: Sequence[_Run]) -> tuple[list[_Table], list[_Picture]]:
    """Return tables and figures, those of the study first."""
    adapter = runs[0].setup.adapter
    tables = [_class_table(run) for run in runs]
    figures = [picture for run in runs for picture in _run_figures(run)]
    if adapter.study is None:
        return tables, figures
    summaries = {run.name: summarise(run.table, adapter.study) for run in runs}
    of_study = _study_figures({run.name: run.table for run in runs}, summaries, adapter.study)
    compared = list(_comparisons(runs, adapter.study))
    return [*_study_tables(summaries, adapter.unit), *compared, *tables], [*of_study, *figures]


def _comparisons(runs: Sequence[_Run], study: Study) -> Iterator[_Table]:
    """Give a table for every run but the first: by how much it differs from that one, event by event."""
    if len(runs) < 2:
        return
    tables = {run.name: run.table for run in runs}
    for name_a, name_b, events, rows in comparisons(tables, study, runs[0].setup.adapter.unit):
        yield _Table(
            f"{study.what} of {name_b} against {name_a} on the same {events:,} events. {by_chance(len(rows))}",
            ["", name_a, name_b, "difference"],
            [
                (
                    row.label,
                    _text(row.first, row.spec),
                    _text(row.second, row.spec),
                    _estimate(f"+{row.spec}", *row.by) + " *" * row.significant,
                )
                for row in rows
            ],
        )


def _picture(title: str, alt: str, figure: Any) -> _Picture:
    return _Picture(title, alt, data_uri(png(figure)))


def _text(value: float, spec: str) -> str:
    """Write a number with a true minus, or a dash if there is none."""
    return "–" if np.isnan(value) else f"{value:{spec}}".replace("-", "−")


def _number(value: float) -> str:
    """Write a number for reading: whole from a thousand on, three digits below.

    Example:
        >>> _number(12345.6), _number(0.12345), _number(-2), _number(float("nan"))
        ('12,346', '0.123', '−2', '–')
    """
    return _text(value, ",.0f" if abs(value) >= 1000 else ".3g")


def _estimate(spec: str, value: float, low: float, high: float) -> str:
    r"""Write a number with its interval, which stays on one line.

    Example:
        >>> _estimate("+.1f", -1.5, -2, 0.25)
        '−1.5 [−2.0,\xa0+0.2]'
    """
    ends = ",\u00a0".join(_text(end, spec) for end in (low, high))
    return "–" if np.isnan(value) else f"{_text(value, spec)} [{ends}]"


def _side_by_side(caption: str, facts: Mapping[str, Mapping[str, str]]) -> _Table:
    """Return the facts of every run, a column for each, and a dash where one has none."""
    names = dict.fromkeys(name for of_run in facts.values() for name in of_run)
    rows = [(name, *(of_run.get(name, "–") for of_run in facts.values())) for name in names]
    return _Table(caption, ["", *facts], rows)


def _facts(run: _Run) -> dict[str, str]:
    config, adapter, options = run.setup.config, run.setup.adapter, run.separator.options
    size = " × ".join(map(str, options.trained_size)) if options.trained_size else "unknown"
    best = min(run.log.to_dict("records"), key=lambda row: row["val/total"])
    start, end = (
        datetime.fromtimestamp((run.path / name).stat().st_mtime, UTC) for name in (CONFIG, "model.safetensors")
    )
    augmentation = config.augmentation
    about = (type(adapter).__doc__ or "no description").splitlines()[0]
    return {
        "adapter": f"{config.adapter}: {about}",
        "classes": f"{', '.join(adapter.classes)}, in {adapter.unit or 'no unit'}",
        "images": f"{size} pixels, {adapter.bands} band{'s' if adapter.bands > 1 else ''}",
        "model": _flow(config.model),
        "parameters": f"{sum(parameter.numel() for parameter in run.separator.parameters()):,}",
        "head": _flow(config.head.model_dump(mode="json")),
        "scaling": _flow(config.scaling.model_dump(mode="json")),
        "loss": _flow(config.loss.model_dump(mode="json", exclude={"class_weights", "region_weights"})),
        "augmentation": "none" if augmentation is None else _flow(augmentation.model_dump(mode="json")),
        "training": _flow(config.training.model_dump(mode="json")),
        "seed": str(config.seed),
        "configuration": run.setup.fingerprint,
        "epochs": f"{len(run.log)} of at most {config.training.epochs}; the lowest validation loss, "
        f"{best['val/total']:.5g}, in epoch {int(best['epoch']) + 1}",
        "trained": f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC by the dates of its files, "
        f"{run.log['seconds'].sum() / 60:.1f} minutes in epochs",
        "evaluated on": f"{run.table['id'].nunique():,} events",
    }


def _flow(values: Any) -> str:
    """Write settings on one line.

    Example:
        >>> _flow({"name": "unet", "base_channels": 8})
        'name: unet, base_channels: 8'
    """
    text: str = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip()[1:-1]


def _differing(runs: Sequence[_Run]) -> _Table:
    """Return the settings in which runs differ."""
    values = {run.name: run.setup.config.model_dump(mode="json", exclude={"run"}) for run in runs}
    table = _side_by_side("Settings that differ", {name: dict(_leaves(each)) for name, each in values.items()})
    return table._replace(rows=[row for row in table.rows if len(set(row[1:])) > 1])


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _study_tables(summaries: Mapping[str, Summary], unit: str) -> Iterator[_Table]:
    """Give the bins of every run, then how well signal is told from background."""
    for name, summary in summaries.items():
        study = summary.study
        rows = [(f"{row['low']:g} to {row['high']:g}", *_cells(row)) for row in summary.bins.to_dict("records")]
        yield _Table(f"{name}: {study.what} in bins", [study.label, *MEASURES], rows)
    caption = f"Telling {study.signal} from {study.background} by the predicted {study.name}"
    yield _side_by_side(caption, {name: _detected(summary, unit) for name, summary in summaries.items()})


def _detected(summary: Summary, unit: str) -> dict[str, str]:
    if summary.auc is None or summary.points is None or summary.false_intensity is None:
        return {}
    facts = {"area under the ROC curve": _estimate(".3f", *summary.auc)}
    for row in summary.points[summary.points["false_rate"].isin(RATES)].to_dict("records"):
        shares = [100 * row[f"true_rate{end}"] for end in ENDS]
        found = _estimate(".1f", *shares) if row["enough"] else "too few background events"
        facts[f"detected at {100 * row['false_rate']:g} % false positives (%)"] = found
    if summary.equivalent is not None:
        limit, _, rate = summary.equivalent
        facts[f"false positives above {limit.value:,.0f} {unit} (%)"] = _estimate(
            ".2f", *(100 * share for share in rate)
        )
    return facts | {f"median in background events ({unit})": _estimate(",.0f", *summary.false_intensity)}


def _class_table(run: _Run) -> _Table:
    rows = []
    for name in run.setup.adapter.classes:
        of_class = run.table[run.table["class"] == name]
        bins = binned(of_class, "intensity_true", (np.nextafter(0, 1), np.inf))
        rows += [(name, *_cells(row)) for row in bins.to_dict("records")]
    return _Table(f"{run.name}: every class, over all events that hold it", ["class", *MEASURES], rows)


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    """Return what `MEASURES` heads, of one row of `binned`."""
    estimates = (
        _estimate(spec, *(row[f"{name}{end}"] for end in ENDS))
        for name, spec in (("bias", "+.1f"), ("spread", ".1f"), ("iou", ".2f"))
    )
    return [f"{row['events']:,}", *estimates]


def _study_figures(
    tables: Mapping[str, pd.DataFrame], summaries: Mapping[str, Summary], study: Study
) -> Iterator[_Picture]:
    bins = f"against {study.label}, one line per run."
    alt = f"Median intensity error of {study.what} with its 25–75 % range {bins}"
    yield _picture("Intensity error", alt, bias_figure(summaries))
    alt = f"Median IoU of true and predicted masks of {study.what} {bins}"
    yield _picture("Overlap of masks", alt, iou_figure(summaries))
    if any(summary.auc is not None for summary in summaries.values()):
        alt = f"ROC curve of telling events with {study.name} from events without, one line per run."
        yield _picture("Detection", alt, roc_figure(tables, summaries))


def _run_figures(run: _Run) -> Iterator[_Picture]:
    alt = f"Predicted against true intensity of every event of {run.name}, one panel per class."
    yield _picture(f"{run.name}: intensity", alt, intensity_figure(run.table, run.setup.adapter.unit))
    for name, figure in run.setup.adapter.figures(run.table).items():
        yield _picture(f"{run.name}: {name}", f"Figure {name} of the adapter for {run.name}.", figure)


def _weights(runs: Sequence[_Run]) -> list[_Table]:
    names = [run.name for run in runs]
    of_class = [
        (name, *(_number(run.setup.config.loss.class_weights.get(name, 1.0)) for run in runs))
        for name in runs[0].setup.adapter.classes
    ]
    regions = list(runs[0].weights)
    of_region = [
        (region, *(_number(run.weights.get(region, np.nan)) for run in runs)) for region in regions[:MOST_REGIONS]
    ]
    more = f"; {len(regions) - MOST_REGIONS:,} more are in {REGION_WEIGHTS}" if len(regions) > MOST_REGIONS else ""
    return [
        _Table("Weight of each class", ["class", *names], of_class),
        _Table(f"Weight of each overlap region{more}", ["region", *names], of_region),
    ]


def _coverage(run: _Run) -> _Table:
    calibration = run.calibration
    assert calibration is not None
    options = calibration.options
    table = as_predicted(run.table)
    check = calibration.check(table.assign(**calibration.intervals(table)))
    rows = []
    for row in check.to_dict("records"):
        coverage = _estimate(".2f", *(row[f"coverage{end}"] for end in ENDS))
        stratum = _range(row["low"], row["high"])
        name = f"{row['class']}: {row['quantity']}"
        rows.append((name, stratum, f"{row['events']:,}", coverage, _number(row["width"])))
    return _Table(
        f"{run.name}: share of events whose {options.coverage:.0%} interval holds the truth",
        ["quantity", options.strata or "stratum", "events", "coverage", "median width"],
        rows,
    )


def _range(low: float, high: float) -> str:
    """Write a bin that may have no ends.

    Example:
        >>> _range(-np.inf, 0.5), _range(0.5, 1), _range(1, np.inf), _range(np.nan, np.nan)
        ('below 0.5', '0.5 to 1', '1 and above', 'not defined')
    """
    if np.isnan(low):
        return "not defined"
    if np.isinf(low):
        return "all" if np.isinf(high) else f"below {_number(high)}"
    return f"{_number(low)} and above" if np.isinf(high) else f"{_number(low)} to {_number(high)}"


def _events(runs: Sequence[_Run], chosen: Mapping[int, str]) -> Iterator[_Event]:
    adapter = runs[0].setup.adapter
    count = len(adapter.classes)
    panels = 1 + count * (1 + 2 * len(runs))
    side = int(np.clip((PIXELS / (panels * max(len(chosen), 1))) ** 0.5, *SIDE))
    dataset = runs[0].setup.dataset("test")
    for index, group in chosen.items():
        rows = {run.name: run.table.iloc[index * count : (index + 1) * count] for run in runs}
        sample = _measured(runs[0], dataset, index, rows[runs[0].name])
        predictions = [predicted_maps(run.separator, sample, run.setup.adapter) for run in runs]
        yield _Event(
            id=str(sample.meta["id"]),
            group=group,
            meta={name: _value(value) for name, value in sample.meta.items() if name != "id" and value == value},
            order=_order(rows, adapter.study),
            pictures=event_pictures(sample, predictions, side),
            captions=[_captions(rows, label, adapter) for label in range(count)],
        )


def _measured(run: _Run, dataset: SampleDataset, index: int, rows: pd.DataFrame) -> Sample:
    """Return a sample, once it is sure that it is the one which the event table is about."""
    if index < len(dataset):
        sample = dataset[index]
        true = np.where(sample.valid, sample.target, 0).reshape(len(rows), -1).sum(axis=1, dtype=np.float64)
        if str(sample.meta["id"]) == str(rows["id"].iloc[0]) and _close(true, rows["intensity_true"]):
            return sample
    raise DataError(
        f"{table_path(run.path)}: event {rows['id'].iloc[0]} is not the one that the run's configuration gives: "
        f"run  oasis evaluate {shlex.quote(str(run.path))}  again"
    )


def _value(value: Any) -> str:
    return _number(float(value)) if isinstance(value, float | np.floating) else str(value)


def _order(rows: Mapping[str, pd.DataFrame], study: Study | None) -> dict[str, float]:
    """Return what an event can be sorted by: of the study's class, or the worst of all classes."""
    of = {name: part if study is None else study.rows(part) for name, part in rows.items()}
    first = next(iter(of.values()))
    error = {name: part["delta_percent"].abs().max() for name, part in of.items()}
    order = {} if study is None else {study.label: first[study.quantity].iloc[0]}
    order["overlap"] = first["overlap_fraction"].max()
    for name, part in of.items():
        suffix = f", {name}" if len(of) > 1 else ""
        order |= {f"|ΔI|{suffix}": error[name], f"IoU{suffix}": part["iou"].min()}
    start, *others = error
    return order | {f"|ΔI| of {name} − that of {start}": error[name] - error[start] for name in others}


def _captions(rows: Mapping[str, pd.DataFrame], label: int, adapter: Adapter) -> _ClassCaptions:
    of = {name: part.iloc[label] for name, part in rows.items()}
    true = next(iter(of.values()))["intensity_true"]
    return _ClassCaptions(
        adapter.classes[label],
        f"truth: {_number(true)}",
        [
            f"{name if len(of) > 1 else 'predicted'}: {_number(row['intensity_predicted'])}"
            for name, row in of.items()
        ],
        [
            f"ΔI\u00a0{_text(row['delta_percent'], '+.1f')}\u00a0%, IoU\u00a0{_text(row['iou'], '.2f')}"
            for row in of.values()
        ],
    )


def _commands(runs: Sequence[_Run], count: int) -> Iterator[str]:
    paths = {run.name: shlex.quote(str(run.path)) for run in runs}
    for run in runs:
        yield f"oasis train {shlex.quote(run.name + '.yaml')} --run {paths[run.name]}"
        if run.calibration is not None:
            yield f"oasis calibrate {paths[run.name]}"
        yield f"oasis evaluate {paths[run.name]}"
    yield f"oasis report {' '.join(paths.values())} --events {count}"
