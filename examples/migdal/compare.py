"""Compare the paper's method with that of the quickstart: equal data and samples seen, several seeds.

All methods have the quickstart's network and are trained on the same events, which are simulated once.
`unweighted` and `weighted` are the paper's: softplus head, GroupNorm, intensity scaled by its 99th percentile and
peak, and its weights. `ours` is the quickstart, `maps` the same without the presence head, `objects` the same with
an energy of its own beside the light, which is compared too, `intensity` the same with a term for the light of a
whole electron. What was trained or measured already is not repeated. Intervals are 95 %, from resampling tracks
and seeds.

The light of electrons is also calibrated, by the inverse of the separator's median response to each energy in
hybrids of a further library of tracks (classical calibration), from maps that are not emptied by presence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import demo
import numpy as np
import pandas as pd
from demo import QUICKSTART
from matplotlib.figure import Figure

from oasis.adapters.migdal import tracks
from oasis.adapters.migdal.scene import ER, NR
from oasis.adapters.migdal.topology import axis_columns
from oasis.adapters.study import score_column
from oasis.command import at_least, run_script
from oasis.drawing import COLOURS, add_legend, error_bars
from oasis.evaluation.batches import EventBatch
from oasis.evaluation.calibration.curves import classical_curve
from oasis.evaluation.event_table import read_table, write_table
from oasis.evaluation.figures import save_figure
from oasis.evaluation.pairing import Statistic, mean_over_trainings, paired_difference
from oasis.run import Run
from oasis.stats.bins import bins_of, median, spread
from oasis.stats.intervals import Estimate
from oasis.stats.roc import FEWEST, rank_auc, rank_true_rate

METHODS = demo.METHODS | {
    "maps": ["head.presence=false", "head.false_presence=0"],
    "objects": ["objects={weight: 0.05}"],
    "intensity": ["loss.terms.intensity={weight: 0.1, floor: 1000}"],
}
THEIRS = "weighted"  # what the last of the methods is compared with
EVENTS = {"train": 8000, "val": 500, "test": 8192}
SPECTRUM = ["data.spectral_index=0", "data.surroundings=0", "data.empty=0", "data.alone=0"]  # of the test events
FOR_SCALE = [*SPECTRUM, "data.events.train=4000"]  # hybrids and recoils of other tracks
SCALE = "energy_scale.h5"  # their file
COMMON = ["data.evaluation_size=[96,96]", f"data.events={EVENTS}", "data_seed=0", "training.epochs=2"]
ENERGIES = tuple(range(3, 16))  # keV
RECOILS = (0, 60, 120, 180, 260, 350, 700)  # keVee
RATES = (1e-2, 1e-3, 1e-4)  # of false positives
AXES = (3, 6)  # keV: where the angle is measured, which takes 10 ms per event
ENERGY, OWN = "energy_predicted", "energy_percent"  # columns of an energy of its own, and of its error
CUT = 0.01  # share of the electron outside the window above which an event is in no bin
RESAMPLES = 400
AREA = 96 * 96  # pixels to which light far from tracks refers

Tables = Mapping[str, Sequence[pd.DataFrame]]


@dataclass(frozen=True)
class Metric:
    """A statistic of some events; `columns` are its arguments.

    Attributes:
        label: name of the metric.
        query: the events.
        statistic: maps an array (resamples, n) for each column to (resamples,).
        columns: columns of the tables.
        spec: number format.
    """

    label: str
    query: str
    statistic: Statistic
    columns: tuple[str, ...]
    spec: str

    def of(self, tables: Sequence[pd.DataFrame]) -> Estimate:
        """Return its mean over trainings."""
        chosen = [table.query(self.query) for table in tables]
        return mean_over_trainings(chosen, self.statistic, self.columns, "tracks", RESAMPLES)

    def difference(self, first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]) -> Estimate:
        """Return the second mean less the first."""
        sides = [[table.query(self.query) for table in side] for side in (first, second)]
        return paired_difference(*sides, self.statistic, self.columns, "tracks", RESAMPLES)


def metrics(energy: bool = False) -> list[Metric]:
    """Return all metrics, in the order of the tables; those of an energy of its own on request."""
    found: list[Metric] = []
    own = (
        ("energy bias %", OWN, median, ".1f"),
        ("energy spread %", OWN, spread, ".1f"),
        ("calibrated energy spread %", f"calibrated_{OWN}", spread, ".1f"),
    )
    for title, column, statistic, spec in (
        ("bias %", "delta_percent", median, ".1f"),
        ("spread %", "delta_percent", spread, ".1f"),
        ("calibrated bias %", "calibrated_percent", median, ".1f"),
        ("calibrated spread %", "calibrated_percent", spread, ".1f"),
        ("IoU", "iou", median, ".3f"),
        *(own if energy else ()),
    ):
        found += [
            Metric(f"{title}, {one.name} keV", _between("ER_energy", *one), statistic, (column,), spec)
            for one in bins_of(ENERGIES)
        ]
    score = ("score", "signal")
    detection = f"kind == '{NR}' or ({_between('ER_energy', 3, 6)})"
    found.append(Metric("AUC, 3-6 keV", detection, rank_auc, score, ".3f"))
    for rate in RATES:
        found.append(
            Metric(f"TPR at FPR {rate:g}", detection, partial(rank_true_rate, false_rate=rate), score, ".3f")
        )
    alone = f"kind == '{NR}'"
    found.append(Metric("ER light in recoils alone, ADU", alone, median, ("intensity_predicted",), ".0f"))
    found.append(Metric("recoils alone with ER light, %", alone, share_lit, ("intensity_predicted",), ".1f"))
    for one in bins_of(RECOILS):
        query = f"{alone} and {_between('NR_energy', *one)}"
        found.append(Metric(f"the same, {one.name} keVee", query, median, ("intensity_predicted",), ".0f"))
    for one in bins_of(range(AXES[0], AXES[1] + 1)):
        query = _between("ER_energy", *one)
        found.append(Metric(f"angle, {one.name} keV, degrees", query, median, ("axis_angle_map",), ".1f"))
    found.append(Metric("ER light far from tracks, ADU per 96 x 96", "kind == kind", median, ("far",), ".0f"))
    return found


def share_lit(light: np.ndarray) -> np.ndarray:
    """Return the percentage of events with light, (resamples,) of (resamples, n); NaN is no event."""
    return np.asarray(100 * (light > 0).sum(axis=-1) / np.isfinite(light).sum(axis=-1))


def _between(column: str, low: float, high: float) -> str:
    return f"{column} >= {low} and {column} < {high} and not ER_outside > {CUT}"


def simulated(out: Path, changes: Sequence[str]) -> str:
    """Simulate what is missing and return the change of the configuration that names the files."""
    files = {split: out / f"{split}.h5" for split in EVENTS}
    for split, path in files.items():
        if not path.exists():
            Run.from_config(QUICKSTART, [*COMMON, *changes]).simulate(path, split)
    if not (electrons := out / SCALE).exists():
        library = out / "other_tracks.h5"
        tracks.main([str(library), "--seed", "1"])
        changed = [*COMMON, *changes, *FOR_SCALE, f"data.tracks={library}"]
        Run.from_config(QUICKSTART, changed).simulate(electrons, "train")
    return "data.files={" + ", ".join(f"{split}: {path}" for split, path in files.items()) + "}"


def measured(run: Run, path: Path) -> pd.DataFrame:
    """Return the electrons' rows of the event table of a run, trained and measured if it was not."""
    if path.exists():
        return read_table(path)
    run.train(resume=run.files.last.exists())
    far: list[np.ndarray] = []
    axes: list[Mapping[str, float]] = []

    def watch(event: EventBatch) -> None:
        outside = ~event.batch.valid[:, 0]
        light = (event.maps[:, 0, 0] * outside).flatten(1).sum(1) / outside.flatten(1).sum(1)
        far.append(light.cpu().numpy() * AREA)
        for sample, prediction in event.events():
            near = AXES[0] <= sample.meta["ER_energy"] < AXES[1]
            maps = prediction.maps[0, 0] * sample.valid[0], sample.target[0, 0]
            axes.append(axis_columns(*maps, sample.meta) if near else {})

    table = run.measure(run.dataset("test"), workers=0, watch=watch)
    rows = table[table["class"] == ER].reset_index(drop=True)
    rows = rows.assign(far=np.concatenate(far)).join(pd.DataFrame(axes))
    write_table(rows, path)
    return rows


def calibrated(run: Run, rows: pd.DataFrame, electrons: Path, path: Path) -> pd.DataFrame:
    """Return the errors of the calibrated light, one row for each of `measured`, measured if it was not."""
    if path.exists():
        return pd.read_parquet(path)
    whole = Run(run.folder, ["head.present_from=0"])
    held_out = Run(run.folder, ["head.present_from=0", f"data.files.val={electrons}"]).dataset("val")
    table = whole.measure(held_out, workers=0)
    known = table.query(f"`class` == '{ER}' and intensity_true > 0 and not ER_outside > {CUT}")
    energies = known["ER_energy"].to_numpy()
    curve = classical_curve(*known[["intensity_predicted", "intensity_true"]].to_numpy().T, energies)
    if run.separator().options.head.decides:
        table = whole.measure(whole.dataset("test"), workers=0)
        rows = table[table["class"] == ER].reset_index(drop=True)
    true = rows["intensity_true"].where(rows["intensity_true"] > 0)
    errors = pd.DataFrame({"calibrated_percent": 100 * (curve(rows["intensity_predicted"].to_numpy()) / true - 1)})
    if ENERGY in known:
        curve = classical_curve(known[ENERGY].to_numpy(), energies)
        errors[f"calibrated_{OWN}"] = 100 * (curve(rows[ENERGY].to_numpy()) / rows["ER_energy"] - 1)
    errors.to_parquet(path)
    return errors


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with what the metrics need."""
    hybrid = table["kind"] != NR
    tracks = table["ER_track"].where(hybrid, -1 - table["NR_track"])  # of each kind numbers of their own
    own = 100 * (table.get(ENERGY, np.nan) / table["ER_energy"] - 1)
    scale = table.get(f"calibrated_{OWN}", np.nan)
    return table.assign(
        signal=hybrid.astype(float),
        tracks=tracks,
        score=table[score_column(table)],
        **{OWN: own, f"calibrated_{OWN}": scale},
    )


def table_of(tables: Tables) -> tuple[pd.DataFrame, list[tuple[Metric, dict[str, Estimate], Estimate]]]:
    """Return the table of all metrics as text, and their values with the difference of the last from `THEIRS`."""
    found, ours = [], list(tables)[-1]
    for metric in metrics(any(ENERGY in side[0] for side in tables.values())):
        values = {name: metric.of(side) for name, side in tables.items()}
        found.append((metric, values, metric.difference(tables[THEIRS], tables[ours])))
    rows = [
        {
            "metric": metric.label,
            **{name: format(value, metric.spec) for name, value in values.items()},
            f"{ours} - {THEIRS}": f"{by:+{metric.spec}}" + " *" * bool(by.low > 0 or by.high < 0),
        }
        for metric, values, by in found
    ]
    return pd.DataFrame(rows), found


def goals(found: Sequence[tuple[Metric, dict[str, Estimate], Estimate]]) -> pd.DataFrame:
    """Return the goals beside the values that were reached.

    A goal relative to `THEIRS` is met if the interval of the difference excludes 0 too.
    """
    ours = list(found[0][1])[-1]
    values = {metric.label: (one[THEIRS].value, one[ours].value) for metric, one, _ in found}
    differ = {metric.label: bool(by.low > 0 or by.high < 0) for metric, _, by in found}
    worst, off = (
        max((values[f"{kind} %, {one.name} keV"] for one in bins_of(ENERGIES)), key=lambda each: abs(each[1]))
        for kind in ("bias", "calibrated bias")
    )
    scale = "calibrated bias %, 4-5 keV"
    bias, light, angle = "bias %, 4-5 keV", "ER light in recoils alone, ADU", "angle, 4-5 keV, degrees"
    rows = [
        ("bias, 4-5 keV", "within 3 %", *values[bias], abs(values[bias][1]) <= 3),
        ("bias, worst bin", "within 8 %", *worst, abs(worst[1]) <= 8),
        (scale, "within 3 %", *values[scale], abs(values[scale][1]) <= 3),
        ("calibrated bias, worst bin", "within 8 %", *off, abs(off[1]) <= 8),
        *(
            (label, goal, *values[label], reached(*values[label]) and differ[label])
            for label, goal, reached in (
                ("spread %, 4-5 keV", "<= 0.7 x theirs", lambda theirs, ours: ours <= 0.7 * theirs),
                ("calibrated spread %, 4-5 keV", "<= 0.7 x theirs", lambda theirs, ours: ours <= 0.7 * theirs),
                ("IoU, 4-5 keV", ">= theirs + 0.05", lambda theirs, ours: ours >= theirs + 0.05),
                ("AUC, 3-6 keV", ">= theirs + 0.03", lambda theirs, ours: ours >= theirs + 0.03),
                ("TPR at FPR 0.001", ">= 1.5 x theirs", lambda theirs, ours: ours >= 1.5 * theirs),
            )
        ),
        (light, "<= 200", *values[light], values[light][1] <= 200),
        (angle, "<= 18", *values[angle], values[angle][1] <= 18),
    ]
    return pd.DataFrame(rows, columns=["quantity", "goal", THEIRS, ours, "met"]).round(3)


def comparison_figure(found: Sequence[tuple[Metric, dict[str, Estimate], Estimate]]) -> Figure:
    """Draw bias, spread and IoU against energy, and the light in recoils alone against their energy."""
    panels = {
        "bias %": ("median ΔI (%)", ENERGIES, "keV"),
        "spread %": ("25-75 % spread (%)", ENERGIES, "keV"),
        "IoU": ("median IoU", ENERGIES, "keV"),
        "the same": ("ER light in recoils alone (ADU)", RECOILS, "keVee"),
    }
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (title, (label, edges, unit)) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        rows = [values for metric, values, _ in found if metric.label.startswith(f"{title}, ")]
        centre = [one.centre for one in bins_of(edges)]
        for colour, name in zip(COLOURS, rows[0], strict=False):
            value, low, high = np.transpose([row[name] for row in rows])
            error = error_bars(value, low, high)
            axes.errorbar(centre, value, error, color=colour, marker="o", capsize=3, label=name)
        what = "recoil" if unit == "keVee" else "electron"
        axes.set(xlabel=f"{what} energy ({unit})", ylabel=label)
    figure.axes[0].axhline(0, color="black", linewidth=0.8)
    add_legend(figure.axes[3])
    return figure


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=at_least(0), nargs="+", default=(0, 1, 2))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS)[:3])
    parser.add_argument("--out", type=Path, default=Path("runs/migdal_comparison"), help="folder of all files")
    parser.add_argument("--set", action="append", default=[], help="change a key of all: training.epochs=5")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    changes = [*COMMON, simulated(options.out, options.set), *options.set]
    tables: dict[str, list[pd.DataFrame]] = {}
    for seed in options.seeds:
        for name in dict.fromkeys([THEIRS, *options.methods]):
            folder = options.out / f"{name}-{seed}"
            run = Run.from_config(QUICKSTART, [*changes, *METHODS[name], f"seed={seed}", f"run={folder}"])
            table = measured(run, folder.with_suffix(".parquet"))
            errors = calibrated(run, table, options.out / SCALE, folder.with_suffix(".calibrated.parquet"))
            tables.setdefault(name, []).append(prepared(table.join(errors)))
    report(tables, options.out)


def report(tables: Tables, out: Path) -> None:
    """Print all tables and write the figure."""
    events = next(iter(tables.values()))[0]
    hybrids, background = events[events["signal"] == 1], int((events["signal"] == 0).sum())
    print(
        f"{len(hybrids):,} hybrids with {hybrids['ER_track'].nunique():,} electrons, of which "
        f"{(hybrids['ER_outside'] > CUT).sum():,} reach out of the window and are in no bin; "
        f"{background:,} recoils alone, {events['NR_track'].nunique():,} recoils in all\n"
    )
    table, found = table_of(tables)
    print(table.replace(r"^\+?nan.*", "-", regex=True).to_string(index=False))
    print("\n* The interval of the difference excludes 0.")
    few = [f"{rate:g}" for rate in RATES if background * rate < FEWEST]
    if few:
        print(f"Too few recoils alone ({background:,}) for false positive rates of {', '.join(few)}.")
    print(f"\n{goals(found).to_string(index=False)}")
    table.to_csv(out / "comparison.csv", index=False)
    print(f"figure: {save_figure(comparison_figure(found), out / 'comparison.png')}")


if __name__ == "__main__":
    sys.exit(run_script(main))
