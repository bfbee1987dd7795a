"""Prediction: a run separates the images of files, in this process or on a cluster."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from oasis.device import best_device
from oasis.errors import ConfigError
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.inference.blockwise import Blockwise
from oasis.inference.catalogue.cutouts import is_cutouts
from oasis.inference.catalogue.predict import Listed, catalogue_files, predict_catalogue
from oasis.inference.choice import Choice
from oasis.inference.destinations import OutputOptions, outputs_of
from oasis.inference.job import Job
from oasis.inference.options import GRID, WindowOptions
from oasis.inference.plan import Plan, Unit
from oasis.inference.predict import predict
from oasis.inference.predicted import Predicted, tables_of
from oasis.inference.reader import Reader
from oasis.inference.zarr_store import MapStore
from oasis.io.arrays import read_array
from oasis.io.catalogues import is_our_catalogue
from oasis.io.ds9 import is_ours
from oasis.io.outputs import check_outputs
from oasis.io.tables import write_csv
from oasis.io.zarr_files import is_zarr
from oasis.run.evaluation import RunEvaluation
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)


Settings = tuple[NDArray[Any] | None, str | None, bool, bool]
"""Dark frame, key, spread and refine, as of `predict`."""


class RunPrediction(RunEvaluation):
    """The prediction of a run; see `Run`."""

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
            out: `.h5`, `.npz`, `.ome.tif` or `.zarr` (continued if interrupted), or a folder; tables beside it.
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
            ConfigError: workers without a cluster.
            DataError: the output must not be written, or no image could be used.
        """
        window, outputs = (window or WindowOptions()).resolved(self.adapter.detectors), outputs or OutputOptions()
        inputs = self._read_files(source, dark, window)
        adapter, grouped = self.adapter, bool(self.config.grouping)
        written = outputs_of(source, Path(out), outputs, adapter.suffixes, grouped, adapter.leading)
        check_outputs(written, inputs, force=force)
        calibration = self.calibration  # before anything is written, since it may be damaged
        settings = (None if dark is None else read_array(dark), key, spread or self._needs_spread, refine)
        if cluster is None and workers is not None:
            raise ConfigError("workers: belong to a cluster: name one with --cluster, or leave them out")
        if cluster is None:
            found = self._predict_here(source, out, settings, window, force, outputs)
        else:
            found = self._predict_on(cluster, workers, source, out, settings, window, force)
        if calibration is not None:
            found = found._replace(objects=found.objects.join(calibration.intervals(found.objects)))
        _write_tables(found, Path(out))
        return found

    def catalogue(
        self,
        source: str | Path,
        out: str | Path,
        window: WindowOptions | None = None,
        dark: str | Path | None = None,
        key: str | None = None,
        force: bool = False,
        cutouts: bool = False,
    ) -> Listed:
        """List the objects in the images of a file or folder, detected or at given positions, one by one.

        Args:
            source: a file or a folder; images may differ in size.
            out: the catalogue, `.fits`, `.ecsv` or `.parquet`; regions of DS9 are written beside it.
            window: the detector, or the file of positions.
            dark: a dark frame to subtract.
            key: the array in `.npz` and HDF5 files.
            force: replace files that are not earlier outputs.
            cutouts: also write the map of every object to `NAME_cutouts.fits`.

        Raises:
            ConfigError: the domain has no single objects, or an option that does not go with a catalogue.
            DataError: an output must not be written, or no image could be used.
        """
        out, window = Path(out), (window or WindowOptions()).resolved(self.adapter.detectors)
        if window.kind not in (None, "regions"):
            raise ConfigError(f"window: a catalogue is made of windows around objects, not of {window.kind}")
        if window.regions == GRID:
            raise ConfigError(f"regions: a catalogue is made of windows around objects, not of a {GRID}")
        files = catalogue_files(out, cutouts)
        kinds = {"table": is_our_catalogue, "regions": is_ours, "cutouts": is_cutouts}
        inputs = self._read_files(source, dark, window)
        check_outputs({path: kinds[name] for name, path in files.items()}, inputs, force=force)
        raw = None if dark is None else read_array(dark)
        separator = self.separator(best_device())
        facts = {"run": self.folder.name, "identity": separator.options.identity}
        intervals = self._flux_intervals(separator)
        return predict_catalogue(separator, self.adapter, source, out, window, key, raw, cutouts, facts, intervals)

    def _flux_intervals(self, separator: Separator) -> Callable[[pd.DataFrame], pd.DataFrame] | None:
        """Return what adds intervals to the fluxes of a catalogue, None if the run is not calibrated."""
        fluxes, calibration = self.adapter.fluxes, self.flux_calibration
        if fluxes is None or calibration is None:
            return None
        run, unit = separator.options.identity.get(CONFIGURATION), self.adapter.unit
        return lambda table: calibration.intervals(identified(fluxes.of_catalogue(table), run, unit))

    def _read_files(self, source: str | Path, dark: str | Path | None, window: WindowOptions) -> list[str | Path]:
        """Return the files and folders that are read, also those that belong to the image that is named."""
        others = self.adapter.together(Path(source)) if os.path.isfile(source) else []
        return [path for path in (source, dark, window.file, *others) if path is not None]

    def _predict_here(
        self,
        source: str | Path,
        out: str | Path,
        settings: Settings,
        window: WindowOptions,
        force: bool,
        outputs: OutputOptions,
    ) -> Predicted:
        """Separate in this process."""
        separator = self.separator(best_device())
        check, grouping = partial(self._known_size, separator), self.config.grouping
        return predict(
            separator, self.adapter, source, out, *settings, check, window, grouping, force, outputs=outputs
        )

    def _predict_on(
        self,
        cluster: str,
        workers: int | None,
        source: str | Path,
        out: str | Path,
        settings: Settings,
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
        recipe = (os.path.abspath(self.folder), self.changes, bool(self._trust.trusted))
        load = partial(_blockwise, recipe, out, settings, window)
        with connected(cluster, workers) as client:

            def runner(blockwise: Blockwise, units: Sequence[Unit]) -> None:
                if units:
                    OnCluster(client, load)(blockwise, units)

            return predict(separator, self.adapter, source, out, *settings, check, window, grouping, force, runner)


def _write_tables(found: Predicted, out: Path) -> None:
    """Write the tables of a prediction beside its maps."""
    table, instances = tables_of(out)
    write_csv(found.objects, table)
    if found.instances is not None:
        write_csv(found.instances, instances)


def _blockwise(
    recipe: tuple[str, tuple[str, ...], bool],
    out: str,
    settings: Settings,
    window: WindowOptions,
) -> Blockwise:
    """Return what processes units of a store, in another process than the one that began it."""
    folder, changes, trust_code = recipe
    run = RunPrediction(folder, changes, trust_code)
    separator, (dark, key, spread, refine) = run.separator(best_device()), settings
    choice = Choice(separator, lambda: run.size_check, window.kind)
    job = Job(separator, run.adapter, spread, refine, window, choice, run.config.grouping or {})
    store = MapStore(Path(out))
    return Blockwise(job, store, Plan.parse(store.facts["plan"]), Reader(run.adapter, key, dark))
