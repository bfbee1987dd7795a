"""The command `oasis`: each of its verbs is a few lines over a public function."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oasis.command import REFUSED, SAME, ended_in_order, going_on, lengths, named, run_command, say, verb
from oasis.errors import ConfigError

if TYPE_CHECKING:
    from oasis.inference.options import WindowOptions
    from oasis.run import Run

app = typer.Typer(
    help="Overlap-aware segmentation of images: the intensity map of every class, also where objects overlap.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigPath = Annotated[Path, typer.Argument(help="a YAML configuration, or a run's folder")]
RunPath = Annotated[Path, typer.Argument(help="a run's folder")]
Changes = Annotated[list[str], typer.Option("--set", help="change a key: training.epochs=20 (repeatable)")]
Refine = Annotated[bool, typer.Option("--refine", help="also fit the domain's model to each image")]
Previews = Annotated[bool, typer.Option("--previews", help="also write a picture of every input and its maps")]
Spread = Annotated[bool, typer.Option("--spread", help="also write the spread of the maps over all orientations")]
Level = Annotated[int | None, typer.Option(help="which resolution of OME-Zarr images, 0 for the full one", min=0)]
Cluster = Annotated[
    str | None, typer.Option(help="a Dask cluster: local, slurm or tcp://HOST:PORT, for an output .zarr")
]
Workers = Annotated[int, typer.Option(help="processes that prepare samples", min=0, max=512)]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="run the Python files that a run's folder names")]
Force = Annotated[bool, typer.Option("--force", help="replace a file that this command did not write")]
Quiet = Annotated[bool, typer.Option("--quiet", help="print warnings and errors only")]


NETWORKS = ("train", "evaluate", "calibrate", "stream")  # spend their time in a network, in batches of one size


def main() -> None:
    """Run the command; what a user can cause is one line on standard error and exit code 2."""
    if sys.argv[1:2] and sys.argv[1] in NETWORKS:
        from oasis.device import keep_freed_memory

        keep_freed_memory()  # of this process, which is only for the network
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command with arguments and return its exit code."""
    return run_command(app, arguments)


def _show_version(wanted: bool) -> None:
    if wanted:
        from oasis import __version__

        typer.echo(f"oasis-seg {__version__}")
        raise typer.Exit


@app.callback()
def oasis(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """What is common to all commands."""


@app.command()
@verb
def init(
    adapter: Annotated[
        str | None, typer.Argument(help="an installed domain, as oasis adapters lists them, or a folder")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the YAML file; by default NAME.yaml")] = None,
    dims: Annotated[int | None, typer.Option(help="spatial axes of the images of a folder", min=1, max=3)] = None,
    offset: Annotated[float, typer.Option(help="counts of the camera of a folder in the dark")] = 0.0,
    gain: Annotated[float, typer.Option(help="its photoelectrons per count", min=0.0)] = 1.0,
    channels: Annotated[
        str, typer.Option(help="endings of file names where every channel is a file of its own: _DAPI,_GFP")
    ] = "",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the quickstart configuration of a domain, or that of a folder of your own images."""
    from oasis.adapters.camera import Camera
    from oasis.starting.folders import is_folder, write_folder
    from oasis.starting.quickstarts import write_quickstart

    if adapter is None:
        raise ConfigError(
            "give the folder of your own images (oasis init path/to/folder), or an adapter, as oasis adapters "
            "lists them (oasis init migdal)"
        )
    endings = tuple(filter(None, (one.strip() for one in channels.split(","))))
    if not is_folder(adapter):
        if endings or dims is not None or (offset, gain) != (0.0, 1.0):
            raise ConfigError(
                f"{adapter}: a domain: --dims, --offset, --gain and --channels are for a folder of images"
            )
        path = write_quickstart(adapter, out, force)
    else:
        camera = Camera.parse({"offset": offset, "gain": gain}, "camera")
        path, found = write_folder(adapter, out, dims, camera, force, endings)
        typer.echo(found)
    typer.echo(f"{path}: train it with  oasis train {shlex.quote(str(path))}")


@app.command()
@verb
def demo(
    name: Annotated[str | None, typer.Argument(help="a domain; without one they are listed")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder; by default runs/demo-NAME")] = None,
    events: Annotated[int, typer.Option(help="events to separate, at most", min=8)] = 300,
    quiet: Quiet = False,
) -> None:
    """Show a domain by a small trained model of the package: a run that is evaluated, without training."""
    from oasis.run import Run
    from oasis.zoo.folders import copy_model, described_in, zoo_names

    if name is None:
        raise ConfigError(f"choose a domain: {', '.join(zoo_names())}, as in  oasis demo {zoo_names()[0]}")
    folder = out if out is not None else Path(f"runs/demo-{name}")
    source = described_in(name, folder)
    described = Run(source, [f"data.events.test={min(events, Run(source).config.data['events']['test'])}"])
    described.dataset("test")  # a library may be missing, which is known before anything is written
    shown = described.moved_to(copy_model(name, folder))
    _evaluated(shown, "test", refine=False, workers=0)
    typer.echo(f"look at {shown.files.figures('test') / 'gallery.png'}")
    where = shlex.quote(str(folder))
    typer.echo(f"{folder} is a run: look at its events with  oasis view {where}")
    typer.echo(f"separate images with  oasis predict {where} IMAGES --out maps.h5")


@app.command("new-adapter")
@verb
def new_adapter(
    name: Annotated[str, typer.Argument(help="the name of the domain")],
    dims: Annotated[int, typer.Option(help="number of spatial axes of its images", min=1, max=3)] = 2,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write an adapter for a domain of one's own, which trains as it is, its configuration and its test."""
    from oasis.starting.new_adapter import write_adapter

    paths = write_adapter(name, dims, force=force)
    typer.echo(f"{', '.join(map(str, paths))}: train it with  oasis train {paths[1]}")


@app.command()
@verb
def train(
    config: Annotated[Path | None, typer.Argument(help="a YAML configuration")] = None,
    changes: Changes = [],  # noqa: B006
    resume: Annotated[Path | None, typer.Option(help="resume the run in this folder")] = None,
    run: Annotated[
        str | None, typer.Option(callback=named, help="the run's folder, instead of the configuration's")
    ] = None,
    devices: Annotated[int | None, typer.Option(help="processes or GPUs that share the work")] = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Train a separator from a configuration into a run's folder."""
    from oasis.run import Run

    if (config is None) == (resume is None):
        raise ConfigError("give either a configuration or --resume RUN")
    changes = [
        *changes,
        *([f"run={json.dumps(str(run))}"] if run is not None else []),
        *([f"training.devices={devices}"] if devices is not None else []),
    ]
    trained = Run.from_config(config, changes) if config is not None else Run(resume, changes, trust_code)  # type: ignore[arg-type]
    with going_on(lambda: trained.how_to_go_on(changes if resume is not None else ())):
        trained.train(resume=resume is not None)
    if trained.is_main:
        typer.echo(f"{trained.folder}: the best separator is in {trained.files.weights.name}")


@app.command()
@verb
def evaluate(
    run: RunPath,
    changes: Changes = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    refine: Refine = False,
    workers: Workers = 1,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a run on held-out samples: event table, summary and figures."""
    from oasis.run import Run

    _evaluated(Run(run, changes, trust_code), split, refine, workers)


def _evaluated(run: "Run", split: str, refine: bool, workers: int) -> None:
    """Evaluate a run and print what was found."""
    found = run.evaluate(split, refine, workers)
    if found.coverage is not None:
        typer.echo(found.coverage.to_string(index=False, float_format="{:.3g}".format))
    if found.flux_coverage is not None:
        typer.echo(found.flux_coverage.to_string(index=False, float_format="{:.3g}".format))
    typer.echo(found.summary.text(run.adapter.unit))
    if found.size is not None:
        typer.echo(f"Larger images have {'the same' if found.size.same else 'other'} maps: {found.size.text()}")
    files = run.files
    if found.instances is not None and found.quality is not None:
        typer.echo(found.quality.to_string(index=False, float_format="{:.3f}".format))
        typer.echo(f"{files.instances(split)}: {len(found.instances)} single objects")
    typer.echo(f"{files.events(split)}: {len(found.table)} rows; figures in {files.figures(split)}")


@app.command()
@verb
def report(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs that were evaluated on the same events")],
    out: Annotated[Path | None, typer.Option(help="the HTML file; report.html by default")] = None,
    events: Annotated[int, typer.Option(help="maximum number of events to show", min=0)] = 60,
    force: Force = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Write a report of one or several runs as one HTML file."""
    from oasis.run import Run

    first, *others = (Run(run, trust_code=trust_code) for run in runs)
    path = first.report(out, events, others, force)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@app.command()
@verb
def compare(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs that were evaluated on the same events")],
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Compare runs event by event and mark differences whose 95 % interval excludes 0."""
    from oasis.report.evaluated import compare_runs
    from oasis.run import Run

    typer.echo(compare_runs([Run(run, trust_code=trust_code) for run in runs]))


@app.command()
@verb
def ablate(
    ablation: Annotated[Path, typer.Argument(help="a YAML ablation, or an ablation's folder")],
    changes: Changes = [],  # noqa: B006
    run: Annotated[
        str | None, typer.Option(callback=named, help="the ablation's folder, instead of the file's")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="processes on this machine that share the work", min=1, max=512)
    ] = 1,
    search: Annotated[
        bool, typer.Option("--search", help="search for the best point, not the whole grid")
    ] = False,
    trials: Annotated[int | None, typer.Option(help="of a search", min=1)] = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Train and compare runs that differ in chosen keys, or search for the best; resume what was interrupted."""
    from oasis.ablation.grid import run_grid
    from oasis.ablation.loading import load_ablation
    from oasis.ablation.search import run_search

    varied = load_ablation(ablation, changes, run, trust_code)
    with going_on(lambda: f"finished work is kept: resume with {SAME}"):
        typer.echo(run_search(varied, workers, trials) if search else run_grid(varied, workers))


@app.command()
@verb
def calibrate(
    run: RunPath,
    changes: Changes = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="a split that was not used in training")] = "val",
    workers: Workers = 1,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Fit intervals for intensities, which `evaluate` and `predict` use from then on."""
    from oasis.run import Run

    calibrated = Run(run, changes, trust_code)
    calibrated.calibrate(split, workers)
    count = len(calibrated.dataset(split))
    written = [calibrated.files.calibration, calibrated.files.flux_calibration]
    names = ", ".join(str(path) for path in written if path.exists())
    typer.echo(f"{names}: fitted to {count} events of {split}")


@app.command()
@verb
def predict(
    run: RunPath,
    source: Annotated[
        Path, typer.Argument(help="an image file (.npy, .tif, .h5, .zarr, .fits, .png, ...) or a folder of them")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="the file for the maps: .h5, .npz, .ome.tif or .zarr; with --each a folder; for a catalogue of "
            "objects .fits, .ecsv or .parquet"
        ),
    ],
    each: Annotated[
        str | None, typer.Option(help="write one file for every input: ome.tif, h5, npz, or csv for signals")
    ] = None,
    previews: Previews = False,
    dark: Annotated[Path | None, typer.Option(help="a dark frame to subtract")] = None,
    key: Annotated[str | None, typer.Option(help="the array in .npz and .h5 files")] = None,
    axes: Annotated[str | None, typer.Option(help="the axes of the arrays, such as CZYX")] = None,
    spread: Spread = False,
    refine: Refine = False,
    window: Annotated[str | None, typer.Option(help="how images are cut: whole, tiles or regions")] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="boxes or positions: a CSV file, a catalogue, or YOLO label files; grid: side by side"),
    ] = None,
    detect: Annotated[
        str | None,
        typer.Option(help="how objects are found: a detector of the domain (sep), or a file of positions"),
    ] = None,
    cutouts: Annotated[bool, typer.Option("--cutouts", help="with a catalogue: the map of every object")] = False,
    tile: Annotated[int | None, typer.Option(help="pixels of a tile along every axis")] = None,
    memory: Annotated[str | None, typer.Option(help="memory of the process with tiles, such as 2GB")] = None,
    level: Level = None,
    cluster: Cluster = None,
    workers: Annotated[int | None, typer.Option(help="processes that the cluster starts", min=1, max=4096)] = None,
    force: Force = False,
    changes: Changes = [],  # noqa: B006
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Separate images: a map per class, and a table of intensities, with intervals if the run is calibrated."""
    from oasis.inference.destinations import OutputOptions
    from oasis.inference.failures import in_lines
    from oasis.inference.options import WindowOptions
    from oasis.inference.predicted import tables_of
    from oasis.io.catalogues import is_catalogue
    from oasis.run import Run

    cut = WindowOptions.parse(
        {
            "kind": window,
            "tile": tile,
            "memory": memory,
            "regions": regions and str(regions),
            "detect": detect,
            "level": level,
        }
    )
    changes = changes if axes is None else [*changes, f"data.axes={axes}"]
    kept = f"what is done is kept: continue with {SAME}" if out.suffix.lower() == ".zarr" else ""
    with going_on(lambda: kept):
        described = Run(run, changes, trust_code)
        if each is None and is_catalogue(out):
            others = {"--spread": spread, "--refine": refine, "--previews": previews, "--cluster": cluster}
            _catalogue(described, source, out, cut, dark, key, force, cutouts, others)
            return
        if cutouts:
            raise ConfigError("cutouts: go with a catalogue: name an output .fits, .ecsv or .parquet")
        outputs = OutputOptions.parse({"each": each, "previews": previews})
        found = described.predict(source, out, dark, key, spread, refine, force, cut, cluster, workers, outputs)
    for line in in_lines(found.failed):
        say(line)
    intervals = " with intervals" if "intensity_low" in found.objects else ""
    objects = "" if found.instances is None else f"; {tables_of(out)[1]}: single objects"
    tables = f"{out.with_suffix('.csv')}: intensities{intervals}{objects}"
    typer.echo(f"{out}: maps of {_counted(found.images, 'image')}; {tables}")
    if found.failed:
        raise typer.Exit(REFUSED)


def _catalogue(
    run: "Run",
    source: Path,
    out: Path,
    window: "WindowOptions",
    dark: Path | None,
    key: str | None,
    force: bool,
    cutouts: bool,
    others: dict[str, Any],
) -> None:
    """List the objects in images, and say what was written."""
    from oasis.inference.catalogue.predict import catalogue_files
    from oasis.inference.failures import in_lines

    for name, value in others.items():
        if value:
            raise ConfigError(f"{out}: {name} does not go with a catalogue, but with an output .h5")
    found = run.catalogue(source, out, window, dark, key, force, cutouts)
    for line in in_lines(found.failed):
        say(line)
    written = ", ".join(str(path) for path in catalogue_files(out, cutouts).values())
    intervals = " with intervals" if any(str(name).endswith("_calibrated") for name in found.table) else ""
    typer.echo(f"{written}: {len(found.table)} objects in {_counted(found.images, 'image')}{intervals}")
    if found.failed:
        raise typer.Exit(REFUSED)


@app.command()
@verb
def view(
    run: RunPath,
    images: Annotated[list[Path] | None, typer.Argument(help="image files, or folders of them")] = None,
    split: Annotated[str, typer.Option(help="the split whose events can be chosen")] = "test",
    window: Annotated[
        str | None, typer.Option(help="whole: show images of another size also where that changes their maps")
    ] = None,
    port: Annotated[int, typer.Option(help="of this machine; 0 for a free one", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open the page in a browser")] = True,
    changes: Changes = [],  # noqa: B006
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Show events and images with their maps in the browser, on this machine alone, until Ctrl-C."""
    from oasis.run import Run
    from oasis.view.server import serve

    described = Run(run, changes, trust_code)
    with ended_in_order() as stop:
        serve(
            described, images or [], split, window, port, browser,
            lambda address: typer.echo(f"{run}: shown at {address} until Ctrl-C"), stop,
        )  # fmt: skip
    typer.echo("the viewer was closed")


@app.command()
@verb
def export(
    run: RunPath,
    kind: Annotated[str, typer.Option("--format", help="onnx, or torch for a program of torch.export")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="the file; by default in the run's folder")] = None,
    size: Annotated[
        str, typer.Option(help="image sizes: any, trained (that in training), or auto: any if maps are the same")
    ] = "auto",
    force: Force = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Write the separator as a program for other software, checked against the run, with a model card."""
    from oasis.run import Run

    path, card = Run(run, trust_code=trust_code).export(out, kind, size, force)
    difference = card.check.difference if card.check is not None else 0
    typer.echo(f"{path}: {card.sizes}; differs from the run by {difference:.1e} of the brightest pixel at most")


@app.command()
@verb
def push(
    run: RunPath,
    repository: Annotated[str, typer.Argument(help="the repository on the Hugging Face hub: owner/name")],
    public: Annotated[bool, typer.Option("--public", help="a new repository can be seen by everybody")] = False,
    licence: Annotated[
        str | None, typer.Option(help="of the model, by its identifier on the hub, such as mit")
    ] = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Upload a run to the Hugging Face hub, with a model card; oasis.load takes the name of its repository."""
    from oasis.run import Run

    address = Run(run, trust_code=trust_code).push_to_hub(repository, not public, licence)
    typer.echo(f"{address}: load it with  oasis.load({json.dumps(repository)})")


@app.command()
@verb
def stream(
    run: RunPath,
    source: Annotated[
        str,
        typer.Argument(help="a folder or a file (.tif, .h5) that grows, or - for raw frames on standard input"),
    ],
    out: Annotated[Path, typer.Option(help="the store for the maps: .zarr")],
    dark: Annotated[Path | None, typer.Option(help="a dark frame to subtract")] = None,
    key: Annotated[str | None, typer.Option(help="the array in an .h5 file")] = None,
    shape: Annotated[str, typer.Option(help="of a raw frame: 1152,2048")] = "",
    dtype: Annotated[str, typer.Option(help="of the numbers of raw frames: uint16, <f4")] = "",
    window: Annotated[str | None, typer.Option(help="how frames are cut: whole or regions")] = None,
    regions: Annotated[Path | None, typer.Option(help="boxes or positions, or grid, as for predict")] = None,
    queue: Annotated[int, typer.Option(help="frames that may wait", min=1, max=100_000)] = 64,
    drop: Annotated[
        bool, typer.Option("--drop", help="drop frames that find the queue full, and count them")
    ] = False,
    idle: Annotated[
        float | None, typer.Option(help="end after so many seconds without a new frame", min=0.0)
    ] = None,
    every: Annotated[float, typer.Option(help="seconds between lines about rate and latency", min=0.1)] = 10.0,
    force: Force = False,
    changes: Changes = [],  # noqa: B006
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Separate frames as they come, until the source ends or Ctrl-C: maps, table, rate and latency."""
    from oasis.inference.options import WindowOptions
    from oasis.run import Run

    cut = WindowOptions.parse({"kind": window, "regions": regions and str(regions)})
    # unbuffered: a thread that waits in a buffer at the end of the process would abort it
    frames = open(0, "rb", buffering=0, closefd=False) if source == "-" else source  # noqa: SIM115
    described = Run(run, changes, trust_code)
    with ended_in_order() as stop:
        found = described.stream(
            frames, out, dark, key, lengths(shape), dtype, cut, queue, drop, idle, every,
            lambda state: None if quiet else typer.echo(state.text()), stop, force,
        )  # fmt: skip
    typer.echo(found.text())
    for (path, number), why in list(found.left_out.items())[:1]:
        say(f"{path}: frame {number}: {why}; left out {len(found.left_out)} frames")
    if found.error is not None:
        say(found.error)
    typer.echo(f"{out}: maps of {_counted(found.frames, 'frame')}; {out.with_suffix('.csv')}: intensities")
    if found.error is not None or found.left_out:
        raise typer.Exit(REFUSED)


@app.command()
@verb
def simulate(
    config: ConfigPath,
    out: Annotated[Path, typer.Option(help="the HDF5 file of samples")],
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    force: Force = False,
    changes: Changes = [],  # noqa: B006
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Write the samples of a split to a file."""
    typer.echo(f"{out}: {_described(config, changes, trust_code).simulate(out, split, force)} samples")


@app.command()
@verb
def convert(
    source: Annotated[Path, typer.Argument(help="a foreign file or folder")],
    out: Annotated[Path, typer.Option(help="the HDF5 file")],
    adapter: Annotated[str, typer.Option(help="whose format it is")] = "migdal",
    changes: Annotated[
        list[str], typer.Option("--set", help="change a key of the section data: convert.size=96 (repeatable)")
    ] = [],  # noqa: B006
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Convert a domain's own files to an HDF5 file of samples or of components."""
    from oasis.adapters.converting import convert as convert_files
    from oasis.config.changes import changed

    count = convert_files(adapter, source, out, changed({}, changes), force)
    typer.echo(f"{out}: {count} items")


@app.command()
@verb
def regions(
    config: ConfigPath,
    changes: Changes = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="train, val or test")] = "train",
    samples: Annotated[int | None, typer.Option(help="number of samples to count; all by default", min=1)] = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Print the pixels and the intensity in every overlap region."""
    described = _described(config, changes, trust_code)
    typer.echo(described.region_statistics(split, samples).text(described.adapter.unit))


def _described(path: Path, changes: list[str], trust_code: bool) -> "Run":
    """Return the run of a YAML file or a folder."""
    from oasis.run import Run

    return Run(path, changes, trust_code) if path.is_dir() else Run.from_config(path, changes)


@app.command()
@verb
def info(run: RunPath, trust_code: TrustCode = False, quiet: Quiet = False) -> None:
    """Print the facts of a run: model, loss, progress and the resolved region weights."""
    from oasis.run import Run

    typer.echo(Run(run, trust_code=trust_code).facts().text())


@app.command()
@verb
def models(
    pattern: Annotated[str, typer.Argument(help="a shell pattern: unet, smp/unet-*, timm/convnext*")] = "*",
    quiet: Quiet = False,
) -> None:
    """List the backbones whose name matches a pattern."""
    from oasis.models import list_models

    names = list_models(pattern)
    if not names:
        raise ConfigError(f"no model matches {pattern!r}; try unet, smp/*, timm/* or monai/*")
    typer.echo("\n".join(names))


@app.command()
def adapters() -> None:
    """List the installed domains."""
    from oasis.adapters import adapter_names, find_adapter

    for name in adapter_names():
        kind: Any = find_adapter(name)
        typer.echo(f"{name}: {(kind.__doc__ or '').splitlines()[0]}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
