"""A simulated brick, and how complete, pure and right the catalogue of a run is.

python examples/galaxy/brick.py simulate runs/galaxy-brick brick/
oasis predict runs/galaxy-brick brick/ --detect sep --out brick.fits
python examples/galaxy/brick.py check brick_truth.csv brick.fits
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import pandas as pd
import typer
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

from oasis.adapters.galaxy.adapter import GalaxyAdapter
from oasis.adapters.galaxy.field import simulate_field
from oasis.adapters.galaxy.grid import Grid
from oasis.command import run_command
from oasis.io.tables import read_csv, write_csv
from oasis.run import Run
from oasis.stats.robust import median_and_noise

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False)

CENTRE = (150.0, 2.0)  # right ascension and declination, degrees
EDGES = (0.0, 0.05, 0.2, 0.5, 0.9)  # of blendedness
WITHIN = 1.0  # arcsec: a detection and a galaxy that are each other's nearest within this are the same


def header(kind: str, band: str, size: int, scale: float, bands: tuple[str, ...]) -> fits.Header:
    """Return the cards that the Legacy Surveys write for a plane of a brick."""
    cards = {"SURVEY": "simulated", "BRICK": "simulated", "BANDS": "".join(bands), "IMTYPE": kind}
    cards |= {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": CENTRE[0], "CRVAL2": CENTRE[1]}
    cards |= {"CRPIX1": (size + 1) / 2, "CRPIX2": (size + 1) / 2, "CD1_2": 0.0, "CD2_1": 0.0}
    cards |= {"CD1_1": -scale / 3600, "CD2_2": scale / 3600, "FILTERX": band}
    unit = {"image": "nanomaggy", "invvar": "1/nanomaggy^2", "psfsize": "arcsec"}[kind]
    return fits.Header(cards | {"BUNIT": unit} | ({"MAGZERO": 22.5} if kind == "image" else {}))


@app.command()
def simulate(
    run: Path,
    out: Path,
    size: Annotated[int, typer.Option(help="rows and columns, pixels")] = 3600,
    galaxies: Annotated[int, typer.Option(help="how many")] = 2500,
    split: Annotated[str, typer.Option(help="of the galaxies of the run")] = "test",
    seed: int = 0,
) -> None:
    """Write a brick with galaxies that the run has not been trained on, and the truth beside it."""
    adapter = Run(run).adapter
    assert isinstance(adapter, GalaxyAdapter)
    scene, training = adapter.scene(split), adapter.training
    field = simulate_field(scene, size, galaxies, seed=seed)
    known = field.conditions
    widths, scale = training.psf_fwhm, adapter.pixel_scale
    if known is not None:
        widths, scale = known.psf_fwhm, known.pixel_scale
    out.mkdir(parents=True, exist_ok=True)
    for at, band in enumerate(training.bands):
        planes = {"image": field.image[at], "invvar": 1 / field.variance[at]}
        planes["psfsize"] = np.full((size, size), widths[at], np.float32)
        for kind, values in planes.items():
            cards = header(kind, band, size, scale, tuple(training.bands))
            unit = fits.CompImageHDU(values, cards, compression_type="RICE_1", tile_shape=(100, 100))
            name = f"legacysurvey-simulated-{kind}-{band}.fits.fz"
            fits.HDUList([fits.PrimaryHDU(), unit]).writeto(out / name, overwrite=True)
    grid = Grid(out / f"legacysurvey-simulated-image-{band}.fits.fz", scale, adapter.options.reading)
    ra, dec = grid.to_sky(field.truth[["row", "col"]].to_numpy()).T
    write_csv(field.truth.assign(ra=ra, dec=dec), out.with_name(f"{out.name}_truth.csv"))
    typer.echo(f"{out}: {galaxies} galaxies on {size} x {size} pixels")


def matched(truth: pd.DataFrame, found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of galaxies and of detections that are each other's nearest, within 1 arcsec."""

    def places(table: pd.DataFrame) -> np.ndarray:
        ra, dec = table["ra"].to_numpy() - CENTRE[0], table["dec"].to_numpy()
        return 3600 * np.stack([ra * np.cos(np.radians(dec)), dec], axis=1)

    one, other = cKDTree(places(truth)), cKDTree(places(found))
    distance, nearest = other.query(one.data)
    back = one.query(other.data)[1]
    rows = np.flatnonzero((distance < WITHIN) & (back[nearest] == np.arange(len(truth))))
    return rows, nearest[rows]


def bins(truth: pd.DataFrame, rows: np.ndarray, error: np.ndarray, band: str) -> pd.DataFrame:
    """Return completeness and flux errors by blendedness."""
    has = np.isin(np.arange(len(truth)), rows)
    table = []
    for low, high in pairwise(EDGES):
        inside = truth["blendedness"].between(low, high, inclusive="left").to_numpy()
        errors = error[inside[rows]] if inside[rows].any() else np.array([np.nan])
        table.append(
            {
                "blendedness": f"{low:g}-{high:g}",
                "galaxies": int(inside.sum()),
                "completeness": has[inside].mean(),
                "bias %": np.median(errors),
                "mean |error| %": np.abs(errors).mean(),
                "median |error| %": np.median(np.abs(errors)),
            }
        )
    return pd.DataFrame(table).assign(band=band)


@app.command()
def check(
    truth: Path,
    catalogue: Path,
    bands: Annotated[str, typer.Option(help="whose fluxes are compared")] = "g,r,z",
    faintest: Annotated[float, typer.Option(help="magnitude in r of the faintest galaxies that count")] = 22.0,
    figure: Annotated[Path | None, typer.Option(help="also draw completeness, purity and flux errors")] = None,
) -> None:
    """Compare a catalogue with the truth: completeness, purity, and flux errors by blendedness."""
    all_true = read_csv(truth, ["ra", "dec", "blendedness"])
    found = Table.read(catalogue).to_pandas()
    rows, detections = matched(all_true, found)
    purity = len(rows) / len(found)
    bright = (22.5 - 2.5 * np.log10(all_true["flux_r"]) <= faintest).to_numpy()
    complete = np.isin(np.flatnonzero(bright), rows).mean()
    typer.echo(f"{len(all_true)} galaxies, {bright.sum()} to r = {faintest:g}; {len(found)} in the catalogue")
    typer.echo(f"completeness to r = {faintest:g}: {complete:.3f}; purity: {purity:.3f}")
    kept = bright[rows]
    chosen = all_true[bright].reset_index(drop=True)
    position = np.cumsum(bright) - 1
    tables = []
    for band in bands.split(","):
        true = all_true[f"flux_{band}"].to_numpy()[rows]
        flux = found[f"flux_{band}"].to_numpy()[detections]
        pull = ((flux - true) / found[f"flux_{band}_error"].to_numpy()[detections])[kept]
        alone = (all_true["blendedness"].to_numpy()[rows] < EDGES[1])[kept]
        middle, spread = median_and_noise(pull[alone])
        typer.echo(
            f"{band}: (flux - true) / error of isolated galaxies: median {middle:+.2f}, scatter {spread:.2f}"
        )
        tables.append(bins(chosen, position[rows[kept]], (100 * (flux - true) / true)[kept], band))
    typer.echo(pd.concat(tables).to_string(index=False, float_format="{:.3g}".format))
    if figure is not None:
        draw(all_true, found, rows, detections, figure)


def draw(truth: pd.DataFrame, found: pd.DataFrame, rows: np.ndarray, detections: np.ndarray, out: Path) -> None:
    """Draw completeness and purity by magnitude, and the flux error against blendedness."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    edges = np.arange(17.5, 23.6, 0.5)
    middle = (edges[:-1] + edges[1:]) / 2
    true = 22.5 - 2.5 * np.log10(truth["flux_r"].to_numpy())
    listed = found["magnitude_r"].to_numpy()
    for magnitudes, matches, label in ((true, rows, "completeness"), (listed, detections, "purity")):
        whole, part = (np.histogram(one, edges)[0] for one in (magnitudes, magnitudes[matches]))
        left.plot(middle, np.where(whole > 0, part / np.maximum(whole, 1), np.nan), marker="o", label=label)
    left.set(xlabel="r magnitude (true, measured)", ylabel="fraction", ylim=(0, 1.03))
    left.legend()
    error = 100 * (found["flux_r"].to_numpy()[detections] / truth["flux_r"].to_numpy()[rows] - 1)
    points = right.scatter(truth["blendedness"].to_numpy()[rows], error, c=true[rows], s=5, cmap="viridis_r")
    right.axhline(0, color="black", linewidth=0.7)
    right.set(xlabel="blendedness", ylabel="flux error in r, %", ylim=(-100, 100))
    figure.colorbar(points, label="true r magnitude")
    figure.savefig(out, dpi=110)


@app.command()
def show(
    brick: Path,
    catalogue: Path,
    out: Path,
    corner: Annotated[tuple[int, int], typer.Option(help="first row and column of the part that is drawn")] = (
        0,
        0,
    ),
    side: Annotated[int, typer.Option(help="rows and columns of it")] = 240,
    band: str = "r",
) -> None:
    """Draw a part of a brick, the maps of its galaxies, and what is left; needs the cutouts of `--cutouts`."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    path = next(brick.glob(f"*-image-{band}.fits*"))
    with fits.open(path) as units:
        image = units[1].section[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    found, maps = Table.read(catalogue).to_pandas(), np.zeros_like(image)
    number = [name[-1] for name in found if name.startswith("flux_") and not name.endswith("error")].index(band)
    with fits.open(catalogue.with_name(f"{catalogue.stem}_cutouts.fits")) as units:
        for unit in units[1:]:
            start = np.array([unit.header["ROW0"], unit.header["COLUMN0"]]) - corner
            low, high = np.maximum(start, 0), np.minimum(start + unit.shape[1:], side)
            if (low < high).all():
                inside, within = (tuple(map(slice, low - by, high - by)) for by in (0, start))
                maps[inside] += unit.data[number][within]
    _, noise = median_and_noise(image)
    places = found[["x", "y"]].to_numpy() - corner[::-1]
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.5), constrained_layout=True)
    for axis, values, title in zip(axes, (image, maps, image - maps), ("image", "maps", "rest"), strict=True):
        axis.imshow(np.arcsinh(values / noise), vmin=-3, vmax=6, cmap="gray_r", origin="lower")
        axis.set(title=f"{title}, {band}", xlim=(0, side), ylim=(0, side), xticks=[], yticks=[])
    axes[0].scatter(*places.T, s=60, facecolors="none", edgecolors="tab:red", linewidths=0.8)
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    sys.exit(run_command(app, sys.argv[1:]))
