"""Catalogues of Galaxy Zoo DECaLS: reading them, selecting galaxies, pixel scales, finding the images.

Source: https://doi.org/10.5281/zenodo.4573248 and Walmsley et al. 2022, arXiv 2102.08414.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.cutout import object_name
from oasis.adapters.galaxy.files import find_files
from oasis.adapters.galaxy.survey import Magnitude
from oasis.adapters.options import Rising
from oasis.errors import DataError
from oasis.options import Options

PLAIN = ("ra", "dec", "redshift", "petro_th50", "petro_th90", "mag_r", "sersic_nmgy_r", "wrong_size_warning")
ALONE = ("none", "neither")
"""Names that the campaigns give to the answer that a galaxy is neither merging nor disturbed."""

VOTES = ("_fraction", "_debiased")
"""Ends of the names of columns with fractions of votes."""

SAME = 2.0  # arcsec: a galaxy of a catalogue that is nearer to a row than this is the same


class Selection(Options):
    """Which galaxies of a catalogue are taken.

    Attributes:
        kind: `isolated` galaxies, `merging` ones (real blends, without truth), or `all`.
        fraction: least fraction of the volunteers who agree that a galaxy is of this kind.
        votes: least number of volunteers who voted.
        magnitudes: from the brightest to the faintest r magnitude, or None for any.
    """

    kind: Literal["isolated", "merging", "all"] = "isolated"
    fraction: float = Field(0.8, ge=0, le=1)
    votes: int = Field(0, ge=0, le=1_000_000)
    magnitudes: Annotated[tuple[Magnitude, Magnitude], Rising] | None = None


def read_catalogue(path: str | Path, votes: bool = False) -> pd.DataFrame:
    """Read a catalogue of Galaxy Zoo DECaLS, CSV or Parquet: position, sizes, r magnitude, votes on merging.

    Columns for one campaign (`merging-dr5_none`) lose its name, and `merging_total-votes` becomes `merging_total`.

    Args:
        path: the path of the file.
        votes: also read the fractions of votes on all other questions (`_fraction`, `_debiased`).

    Returns:
        One row per galaxy, indexed by its name (`iauname` or `id_str`), with `merging_*`, and with `mag_r` from
        `sersic_nmgy_r` where it lacks it. Values that are not numbers become NaN.

    Raises:
        DataError: a file that is missing, damaged, or names no galaxies.
    """
    path = Path(path)

    def wanted(name: str) -> bool:
        return _wanted(name) or (votes and name.endswith(VOTES))

    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path, columns=[name for name in pq.read_schema(path).names if wanted(name)])
        else:
            table = pd.read_csv(path, usecols=wanted, low_memory=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable catalogue: {str(error).splitlines()[0]}") from None
    key = next((name for name in ("iauname", "id_str") if name in table), None)
    if key is None:
        raise DataError(f"{path}: names no galaxies: expected a column iauname or id_str")
    table = table.drop_duplicates(key).set_index(table[key].drop_duplicates().astype(str)).drop(columns=key)
    table.index.name = "name"
    table = table.rename(columns=_plain_name)
    table = table.loc[:, ~table.columns.duplicated()]
    numbers = table.columns.difference(["wrong_size_warning"])
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    if "mag_r" not in table and "sersic_nmgy_r" in table:
        flux = table["sersic_nmgy_r"].where(table["sersic_nmgy_r"] > 0)
        table["mag_r"] = survey.magnitude(flux)
    return table


def _wanted(name: str) -> bool:
    return name in (*PLAIN, "iauname", "id_str") or name.startswith("merging")


def _plain_name(name: str) -> str:
    return re.sub(r"-dr\d+(?=_)", "", name).replace("_total-votes", "_total")


def why_not(catalogue: pd.DataFrame, selection: Selection | None = None) -> pd.Series:
    """Return for each galaxy the reason why it is not selected, or an empty text if it is.

    Galaxies with a wrong size in the catalogue (`wrong_size_warning`) are never selected: the field of view of
    their picture is wrong too.

    Raises:
        DataError: the catalogue lacks the columns that the selection needs.

    Example:
        >>> table = pd.DataFrame({"merging_none_fraction": [0.9, 0.5]}, index=["a", "b"])
        >>> why_not(table).tolist()
        ['', 'merging_none_fraction 0.50 below 0.80']
    """
    selection = selection or Selection()
    reasons = pd.Series("", index=catalogue.index, dtype=object)
    if selection.magnitudes is not None:
        low, high = selection.magnitudes
        magnitude = _column(catalogue, "mag_r")
        outside = ~magnitude.between(low, high)
        reasons[outside] = magnitude[outside].map(f"mag_r {{:.2f}} outside {low:g} to {high:g}".format)
    if selection.kind != "all":
        name, alone = _alone(catalogue)
        seen, word = (alone, "below") if selection.kind == "isolated" else (1 - alone, "above")
        limit = selection.fraction if selection.kind == "isolated" else 1 - selection.fraction
        few = ~(seen >= selection.fraction)
        reasons[few] = alone[few].map(f"{name} {{:.2f}} {word} {limit:.2f}".format)
    if selection.votes:
        votes = _column(catalogue, "merging_total")
        few = ~(votes >= selection.votes)
        reasons[few] = votes[few].map(f"{{:.0f}} votes on merging, fewer than {selection.votes}".format)
    if "wrong_size_warning" in catalogue:
        wrong = catalogue["wrong_size_warning"].astype(str).str.lower().isin(("true", "1", "1.0"))
        reasons[wrong] = "wrong_size_warning"
    return reasons


def _column(catalogue: pd.DataFrame, name: str) -> pd.Series:
    if name not in catalogue:
        raise DataError(f"the catalogue has no column {name}; found {', '.join(map(str, catalogue.columns))}")
    return catalogue[name]


def _alone(catalogue: pd.DataFrame) -> tuple[str, pd.Series]:
    """Return the fraction of votes that a galaxy does not merge, and the name of its column."""
    for answer in ALONE:
        name = f"merging_{answer}_fraction"
        if name in catalogue:
            return name, catalogue[name]
        if f"merging_{answer}" in catalogue and "merging_total" in catalogue:
            return name, catalogue[f"merging_{answer}"] / catalogue["merging_total"]
    return ALONE[0], _column(catalogue, f"merging_{ALONE[0]}_fraction")


def pixel_scales(catalogue: pd.DataFrame) -> dict[str, float]:
    r"""Return the pixel scale of the Galaxy Zoo DECaLS pictures by name, arcsec.

    .. math:: s = \max(\min(0.04\,p_{50},\; 0.02\,p_{90}),\; 0.1)

    with the Petrosian radii :math:`p` that contain 50 and 90 % of the light. Source: Eq. 1 of arXiv 2102.08414.

    Raises:
        DataError: the catalogue has no `petro_th50` and `petro_th90`.

    Example:
        >>> pixel_scales(pd.DataFrame({"petro_th50": [5.0, 1.0], "petro_th90": [12.0, 3.0]}, index=["a", "b"]))
        {'a': 0.2, 'b': 0.1}
    """
    radii = pd.concat([0.04 * _column(catalogue, "petro_th50"), 0.02 * _column(catalogue, "petro_th90")], axis=1)
    scales = radii.min(axis=1, skipna=False).clip(lower=0.1).dropna()
    return {str(name): float(scale) for name, scale in scales.items()}


def find_images(catalogue: pd.DataFrame, source: str | Path) -> tuple[dict[str, Path], list[str]]:
    """Find the images of a catalogue by their names, as in `J002/J002658.19-014709.9.png`, anywhere in a folder.

    Returns:
        The path of each image by name, and the names without one.

    Raises:
        DataError: there is no such folder, or it contains no images at all.
    """
    images = {object_name(path): path for path in reversed(find_files(source))}
    found = {name: images[name] for name in catalogue.index if name in images}
    return found, [name for name in catalogue.index if name not in images]


def with_votes(table: pd.DataFrame, catalogue: str | Path, within: float = SAME) -> pd.DataFrame:
    """Return a table of galaxies with the columns of the nearest galaxy of Galaxy Zoo; NaN where there is none.

    Args:
        table: with `ra` and `dec`, degrees, such as the catalogue of a brick.
        catalogue: the path of a catalogue of Galaxy Zoo DECaLS, CSV or Parquet, with `ra` and `dec`.
        within: the largest distance, arcsec.

    Returns:
        The rows of the table in their order, with `galaxy_zoo` (the name of the galaxy there, empty for none),
        `galaxy_zoo_distance` (arcsec) and the columns of the catalogue, as `galaxy_zoo_<column>` where the table
        has one of the same name.

    Raises:
        DataError: the catalogue cannot be read, or one of both has no positions.
    """
    votes = read_catalogue(catalogue, votes=True)
    missing = [name for name in ("ra", "dec") if name not in votes or name not in table]
    if missing:
        what = " and ".join(missing)
        raise DataError(f"{catalogue}: cannot be joined by position: {what} is missing there or in the table")
    votes = votes.loc[np.isfinite(votes[["ra", "dec"]].to_numpy(float)).all(axis=1)]
    added = votes.reset_index(names="galaxy_zoo")
    if not len(votes) or not len(table):
        return table.assign(galaxy_zoo="")
    chord, nearest = cKDTree(_directions(votes)).query(_directions(table))
    distance = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1))) * 3600
    near = distance < within
    rows = pd.Index(np.where(near, nearest, -1))  # -1 is no row: NaN
    joined = added.reindex(rows).reset_index(drop=True)
    joined["galaxy_zoo"] = joined["galaxy_zoo"].fillna("")
    joined["galaxy_zoo_distance"] = np.where(near, distance, np.nan)
    names = {str(name): f"galaxy_zoo_{name}" for name in joined if name in table}
    whole: pd.DataFrame = pd.concat([table.reset_index(drop=True), joined.rename(columns=names)], axis=1)
    return whole


def _directions(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return unit vectors (n, 3) of positions on the sky; not finite ones are as far away as possible."""
    ra, dec = np.radians(table["ra"].to_numpy(float)), np.radians(table["dec"].to_numpy(float))
    found = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    return np.asarray(np.where(np.isfinite(found).all(axis=1, keepdims=True), found, 1e3))
