"""Compare runs on the same held-out vertices: particles from maps, from the set head and from the fit.

    python examples/neutrino/compare.py runs/neutrino runs/neutrino-unweighted --refine

Every result has a 95 % interval from resampling whole events.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.adapters.neutrino import NeutrinoAdapter
from oasis.adapters.neutrino.figures import counting_sources, event_figure, multiplicity_matrix, sources_of
from oasis.command import at_least, run_script
from oasis.data.samples import collate
from oasis.errors import ConfigError
from oasis.evaluation.batches import predict_batch, refine_batch
from oasis.evaluation.event_table import evaluate, write_table
from oasis.evaluation.figures import save_figure
from oasis.evaluation.pairing import paired_difference
from oasis.run import Run
from oasis.stats.bins import bins_of
from oasis.stats.intervals import Estimate, bootstrap, rate

ENERGIES = (1, 10, 20, 30, 40, 50, 60)  # MeV
DETECTABLE = 10.0  # MeV: below, a proton stops in the cube where all tracks start
SOFT = 20.0  # MeV
ABOVE = "above_predicted"  # column of the nuclei that the set head counts above a limit
LENGTHS = (0, 5, 10, 20, 30)  # mm; a proton of 60 MeV goes 30
NO_DIFFERENCE = ("id", "intensity_true", "equal split there")  # between runs

Values = NDArray[np.float64]


def middle(values: Values) -> Values:
    """Return the median over the last axis."""
    return np.asarray(np.nanmedian(values, axis=-1))


def half_width(values: Values) -> Values:
    """Return half of the width of the middle 68 % over the last axis: the resolution."""
    low, high = np.nanquantile(values, [0.16, 0.84], axis=-1)
    return np.asarray((high - low) / 2)


def estimate(rows: pd.DataFrame, values: pd.Series, statistic: Callable[[Values], Values] = middle) -> Estimate:
    """Return a statistic of rows; rows without a value are ignored."""
    known = values.notna()
    return bootstrap(values[known].to_numpy(float), statistic, groups=rows.loc[known, "id"].to_numpy())


def load_runs(folders: Sequence[Path]) -> dict[str, Run]:
    """Read runs that were trained on the same kind of vertices."""
    runs = {folder.name: Run(folder) for folder in folders}
    if len(runs) < len(folders):
        raise ConfigError("two of the folders have the same name: rename one")
    first = next(iter(runs.values()))
    for name, run in runs.items():
        if not isinstance(run.adapter, NeutrinoAdapter) or run.adapter.classes != first.adapter.classes:
            raise ConfigError(f"{name}: expected a run of the adapter {first.config.adapter}")
    return runs


def print_table(title: str, columns: Sequence[str], rows: dict[str, Sequence[str]]) -> None:
    """Print a table of texts."""
    print(f"\n{title}")
    width = max(map(len, rows)) + 2
    cells = max([len(cell) for row in [columns, *rows.values()] for cell in row]) + 2
    print(" " * width + "".join(f"{name:>{cells}}" for name in columns))
    for name, row in rows.items():
        print(f"{name:<{width}}" + "".join(f"{cell:>{cells}}" for cell in row))


def misplaced(table: pd.DataFrame) -> pd.DataFrame:
    """Return for every event the fraction of charge (%) in the wrong map, and other errors of runs."""
    events = table.groupby("id", sort=False).sum(numeric_only=True)
    shares = {
        "shared cubes": ("error_shared", "charge_shared"),
        "equal split there": ("split_error_shared", "charge_shared"),
        "other cubes": ("error_alone", "charge_alone"),
    }
    columns = {
        name: 50
        * events[error]
        / events[charge].where(
            events[charge] > 0
        )  # each misplaced p.e. is missing in one map and extra in another
        for name, (error, charge) in shares.items()
    }
    columns["intensity_true"] = events["intensity_true"]  # the columns by which a comparison identifies events
    muons = table[table["class"] == "muon"].set_index("id")
    for source in sources_of(table):
        error = muons[source.visible_energy] - muons["visible_energy_true"]
        columns[f"{source.name}: energy error (MeV)"] = error.abs()
        columns[f"{source.name}: vertex error (mm)"] = muons[source.vertex]
    return pd.DataFrame(columns).reset_index()


def print_misplaced(tables: dict[str, pd.DataFrame]) -> None:
    """Print the medians of `misplaced`, and the differences of runs from the first one on the same events."""
    events = {name: misplaced(table) for name, table in tables.items()}
    first, *others = events
    shares = ["shared cubes", "equal split there", "other cubes"]
    rows = {name: [f"{estimate(one, one[column]):.1f}" for column in shares] for name, one in events.items()}
    print_table("charge in the wrong map, median over events (%)", shares, rows)
    rows = {}
    for column in [name for name in events[first] if name not in NO_DIFFERENCE]:
        rows[column] = []
        for other in others:
            pair = [events[name][["id", "intensity_true", column]].dropna() for name in (first, other)]
            rows[column].append(f"{paired_difference(*pair, middle, (column,)):+.2f}")
    if others:
        print_table(f"medians of others minus those of {first}, the same events", others, rows)


def energy_errors(table: pd.DataFrame, statistic: Callable[[Values], Values], by: str) -> dict[str, list[str]]:
    """Return a statistic of the energy errors of contained nuclei, by energy or by number of nuclei."""
    nuclei = table[(table["contained"] == 1) & table["ke_true"].notna()]
    number = nuclei["id"].map(table.groupby("id")["nuclei_true"].first())
    bins = [one.contains(nuclei["ke_true"]) for one in bins_of(ENERGIES)]
    if by == "number":
        bins = [(number == count).to_numpy() for count in range(1, int(number.max()) + 1)]
    rows = {}
    for source in sources_of(nuclei):
        error = (nuclei[source.energy] - nuclei["ke_true"]).where(nuclei[source.found] == 1)
        rows[source.name] = [f"{estimate(nuclei[one], error[one], statistic):.1f}" for one in bins]
    return rows


def angles(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the median angle to the true direction of contained nuclei, by the length of their track."""
    nuclei = table[(table["contained"] == 1) & table["ke_true"].notna()]
    length = pd.Series([row[f"{row['class']}_length"] for row in nuclei.to_dict("records")], nuclei.index)
    bins = [one.contains(length) for one in bins_of(LENGTHS)]
    return {
        source.name: [f"{estimate(nuclei[one], nuclei.loc[one, source.angle]):.1f}" for one in bins]
        for source in sources_of(nuclei)
    }


def found(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the fraction of nuclei that are found, by energy, and of empty slots with a false nucleus."""
    nuclei = table[table["class"] != "muon"]
    bins = [one.contains(nuclei["ke_true"]) for one in bins_of(ENERGIES)]
    bins.append(nuclei["ke_true"].isna().to_numpy())
    rows = {}
    for source in counting_sources(nuclei):
        parts = [nuclei[one] for one in bins]
        rows[source.name] = [f"{rate(part[source.found] == 1, part['id']):.0%}" for part in parts]
    return rows


def counting(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return for every source the fractions of events with the right number, and with too many nuclei."""
    nuclei = table[table["class"] != "muon"]
    events = nuclei.groupby("id", sort=False)
    hard = events["ke_true"].min() > SOFT
    true = events["ke_true"].count()
    true_above = (nuclei["ke_true"] > DETECTABLE).groupby(nuclei["id"], sort=False).sum()
    rows = {}
    for source in counting_sources(nuclei):
        found = nuclei[source.found] == 1
        number = found.groupby(nuclei["id"], sort=False).sum()
        above = (found & (nuclei[source.energy] > DETECTABLE)).groupby(nuclei["id"], sort=False).sum()
        shares = [number == true, above == true_above, (number > true)[hard]]
        rows[source.name] = [f"{rate(share):.1%}" for share in shares]
    if ABOVE in table:  # the decision of runs with objects.count_above
        number = (nuclei[ABOVE] == 1).groupby(nuclei["id"], sort=False).sum()
        shares = [number == true_above, (number > true)[hard]]
        rows["set head, number above"] = ["", *(f"{rate(share):.1%}" for share in shares)]
    return rows


def species(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return for every source the fractions of events in which the number of each species is right, and of all."""
    nuclei = table[table["class"] != "muon"]
    kind = nuclei["class"].str.partition("_")[0]
    true = nuclei["ke_true"].notna()
    rows = {}
    for source in counting_sources(nuclei):
        found = nuclei[source.found] == 1
        right = pd.DataFrame(
            {
                name: (found & (kind == name)).groupby(nuclei["id"]).sum()
                == (true & (kind == name)).groupby(nuclei["id"]).sum()
                for name in kind.unique()
            }
        )
        shares = [right[name] for name in right] + [right.all(axis=1)]
        rows[source.name] = [f"{rate(share):.1%}" for share in shares]
    return rows


def whole(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return for every source the fraction of events with the right number, and energy, vertex and deviance."""
    muons = table[table["class"] == "muon"]
    error = muons["visible_energy_sum"] - muons["visible_energy_true"]
    rows = {
        "sum of charge": [
            "",
            f"{estimate(muons, error):+.1f}",
            f"{estimate(muons, error, half_width):.1f}",
            "",
            "",
        ]
    }
    deviances = {"set head": "deviance_predicted", "fit": "deviance_refined"}
    for source in sources_of(table):
        error = muons[source.visible_energy] - muons["visible_energy_true"]
        deviance = deviances.get(source.name, "")
        rows[source.name] = [
            f"{rate(muons[source.number] == muons['nuclei_true']):.1%}",
            f"{estimate(muons, error):+.1f}",
            f"{estimate(muons, error, half_width):.1f}",
            f"{estimate(muons, muons[source.vertex]):.2f}",
            f"{estimate(muons, muons[deviance]):.0f}" if deviance in muons else "",
        ]
    return rows


def quality(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return medians, 90th percentiles and the fraction that is stuck, of the fits of all events."""
    muons = table[table["class"] == "muon"]
    energy = (muons["visible_energy_refined"] - muons["visible_energy_true"]).abs()
    rows = {"vertex (mm)": muons["vertex_error_refined"], "energy error (MeV)": energy}
    rows["deviance / expectation"] = muons["deviance_ratio_refined"]
    status = muons["status_refined"]
    codes = {"again": 1, "with a nucleus added": 2, "stuck": 3}
    return {
        **{
            name: [f"{estimate(muons, one):.2f}", f"{estimate(muons, one, tail):.2f}"]
            for name, one in rows.items()
        },
        **{f"fits: {name}": [f"{rate(status == code, muons['id']):.1%}", ""] for name, code in codes.items()},
    }


def tail(values: Values) -> Values:
    """Return the 90th percentile over the last axis."""
    return np.asarray(np.nanquantile(values, 0.9, axis=-1))


def pulls(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the half width of the pulls of the fit, of all events and of those with the right number."""
    numbers = table.groupby("id")[["nuclei_refined", "nuclei_true"]].first()
    right = table["id"].map(numbers["nuclei_refined"] == numbers["nuclei_true"])
    axes = [table[["id", f"vertex_pull_{axis}_refined"]].set_axis(["id", "pull"], axis=1) for axis in "xyz"]
    parts = {
        "vertex": pd.concat(axes),
        "kinetic energy": table[["id", "ke_pull_refined"]].set_axis(["id", "pull"], axis=1),
        "direction": table[["id", "angle_pull_refined"]].set_axis(["id", "pull"], axis=1).assign(rayleigh=True),
    }
    rows = {}
    for name, part in parts.items():
        statistic = rayleigh_width if "rayleigh" in part else half_width
        chosen = (part, part[right.loc[part.index].to_numpy()])
        rows[name] = [f"{estimate(one, one['pull'], statistic):.2f}" for one in chosen]
    return rows


def rayleigh_width(values: Values) -> Values:
    """Return the width of the distribution of Rayleigh that has the median of values over the last axis."""
    return middle(values) / np.sqrt(2 * np.log(2))


def matched(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the resolution of the energy of contained nuclei, compared by class and by matching, by energy."""
    nuclei = table[(table["contained"] == 1) & table["ke_true"].notna()]
    bins = [one.contains(nuclei["ke_true"]) for one in bins_of(ENERGIES)]
    rows = {}
    for source in sources_of(nuclei):
        kind = {"set head": "predicted", "fit": "refined"}.get(source.name)
        columns = {"by class": source.energy} | ({"matched": f"ke_matched_{kind}"} if kind else {})
        for how, column in columns.items():
            error = nuclei[column] - nuclei["ke_true"]
            error = error.where(nuclei[source.found] == 1) if how == "by class" else error
            rows[f"{source.name}, {how}"] = [
                f"{estimate(nuclei[one], error[one], half_width):.1f}" for one in bins
            ]
    return rows


def print_run(name: str, table: pd.DataFrame) -> None:
    """Print all tables of a run."""
    columns = ["right number", "energy bias (MeV)", "resolution (MeV)", "vertex (mm)", "deviance"]
    print_table(f"{name}: all nuclei of an event, vertex and image", columns, whole(table))
    columns = ["right number", f"right above {DETECTABLE:g} MeV", f"too many, softest above {SOFT:g} MeV"]
    print_table(f"{name}: events by the number of nuclei", columns, counting(table))
    kinds = list(dict.fromkeys(one.partition("_")[0] for one in table["class"] if one != "muon"))
    if len(kinds) > 1:
        print_table(f"{name}: events with the right number of each species", [*kinds, "all"], species(table))
    energies = [f"{one.name} MeV" for one in bins_of(ENERGIES)]
    print_table(f"{name}: bias of the energy of a nucleus (MeV)", energies, energy_errors(table, middle, "energy"))
    print_table(f"{name}: its resolution (MeV)", energies, energy_errors(table, half_width, "energy"))
    counts = [f"{count} nuclei" for count in range(1, int(table["nuclei_true"].max()) + 1)]
    print_table(f"{name}: bias of the energy of a nucleus (MeV)", counts, energy_errors(table, middle, "number"))
    print_table(f"{name}: its resolution (MeV)", counts, energy_errors(table, half_width, "number"))
    print_table(f"{name}: resolution of the energy, by class and by matching (MeV)", energies, matched(table))
    if "status_refined" in table:
        print_table(f"{name}: how the fits went", ["median", "90th percentile"], quality(table))
        print_table(f"{name}: half width of the pulls", ["all", "right number"], pulls(table))
    lengths = [f"{one.name} mm" for one in bins_of(LENGTHS)]
    print_table(f"{name}: median angle to the true direction (degrees)", lengths, angles(table))
    print_table(f"{name}: nuclei found, and false nuclei in empty slots", [*energies, "no nucleus"], found(table))
    for source in counting_sources(table):
        print(f"\n{name}: events by true number of nuclei and number from the {source.name}")
        print(multiplicity_matrix(table, source.number).to_string())


def draw_event(run: Run, index: int, refine: bool, path: Path) -> None:
    """Draw an event: input, truth and prediction."""
    batch = collate([run.dataset("test")[index]])
    event = predict_batch(run.separator(), batch, run.adapter.interchangeable)
    if refine:
        event = refine_batch(event, run.adapter)
    row = {name: values[0].numpy() for name, values in event.quantities.items()}
    cube = run.adapter.options.detector.cube_mm
    figure = event_figure(batch.samples()[0], event.maps[0, :, 0].numpy(), run.adapter.classes, row, cube)
    print(f"figure: {save_figure(figure, path)}")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument("--refine", action="store_true", help="also fit the particles to the images")
    parser.add_argument("--split", default="test", help="val or test")
    parser.add_argument("--events", type=at_least(0), nargs="*", default=[], help="indices of test events to draw")
    parser.add_argument("--out", type=Path, default=Path("runs/neutrino_comparison"), help="folder of the results")
    options = parser.parse_args()
    runs = load_runs(options.runs)
    tables = {}
    for name, run in runs.items():
        dataset = next(iter(runs.values())).dataset(options.split)
        table = evaluate(run.separator(), dataset, run.adapter, 256, refine=options.refine)
        write_table(table, options.out / f"{name}.parquet")
        tables[name] = table
    print_misplaced(tables)
    for name, table in tables.items():
        print_run(name, table)
    for index in options.events:
        draw_event(next(iter(runs.values())), index, options.refine, options.out / f"event_{index}.png")


if __name__ == "__main__":
    sys.exit(run_script(main))
