"""Configuration of the documentation: sphinx-build -W -b html docs docs/_build/html."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import rooms
import tables
from tables import columns_table

import oasis
from oasis.adapters.camera import Camera
from oasis.adapters.ccd.baselines import Cuts
from oasis.adapters.ccd.options import CcdOptions
from oasis.adapters.ccd.options import ReadOptions as CcdReadOptions
from oasis.adapters.ccd.sensor import Sensor
from oasis.adapters.cells.options import CellsOptions
from oasis.adapters.cygno.digitisation import Digitisation
from oasis.adapters.cygno.metrics import COLUMNS as SELECTION_COLUMNS
from oasis.adapters.cygno.noise import NoiseOptions as PixelNoiseOptions
from oasis.adapters.cygno.options import CygnoOptions
from oasis.adapters.cygno.tracks import TrackOptions
from oasis.adapters.folder.options import FolderOptions, MixingOptions, SplitRule
from oasis.adapters.folder.stated import Stated
from oasis.adapters.galaxy.convert import Conversion
from oasis.adapters.galaxy.detection import Detection
from oasis.adapters.galaxy.options import GalaxyAdapterOptions, LibraryOptions
from oasis.adapters.galaxy.photometry import COLUMNS as PHOTOMETRY
from oasis.adapters.galaxy.scene import BlendOptions
from oasis.adapters.galaxy.simulation import GalaxyOptions
from oasis.adapters.galaxy.surveys import SURVEYS, BandOptions
from oasis.adapters.galaxy.varying import StarOptions, Varying
from oasis.adapters.migdal import MigdalAdapter
from oasis.adapters.migdal.artefacts import Artefacts
from oasis.adapters.migdal.candidates import EnergyScale
from oasis.adapters.migdal.detector import Detector
from oasis.adapters.migdal.options import MigdalOptions, Variation
from oasis.adapters.neutrino.comparing import OF_FIT, OF_QUANTITIES
from oasis.adapters.neutrino.metrics import COLUMNS as PARTICLE_COLUMNS
from oasis.adapters.neutrino.options import NeutrinoOptions
from oasis.adapters.neutrino.refinement import RefinementOptions
from oasis.adapters.neutrino.simulation import Detector as ScintillatorCubes
from oasis.adapters.waveform.metrics import COLUMNS as PULSE_COLUMNS
from oasis.adapters.waveform.noise import NoiseOptions
from oasis.adapters.waveform.options import PulsesOptions, ReadOptions, WaveformOptions
from oasis.adapters.waveform.scene import BackgroundOptions, PulseOptions
from oasis.adapters.waveform.shapes import PulseShape
from oasis.cli import app
from oasis.config.schema import LossOptions, RunConfig
from oasis.data.augmentation import Augmentation
from oasis.data.remixing import Remix
from oasis.data.warping import Affine, Elastic
from oasis.evaluation.calibration import CalibrationOptions
from oasis.evaluation.event_table import COLUMNS
from oasis.evaluation.identity import IDENTITY, OF_RUNS
from oasis.loss.overlap import OverlapLoss
from oasis.loss.terms import TERMS
from oasis.models.sparse import SparseTransformer
from oasis.models.unet import UNet
from oasis.scaling import AsinhScale, LogScale
from oasis.separator.objects import ObjectOptions
from oasis.separator.options import HeadOptions
from oasis.training.options import TrainingOptions

project = "oasis-seg"
author = "The oasis-seg developers"
copyright = author
release = oasis.__version__
PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTEBOOKS = ("first_steps", "own_folder", "own_domain", "own_training_loop", "event_table")

extensions = [
    "myst_nb",  # Markdown, and notebooks with the outputs that are stored in them
    "sphinx.ext.autodoc",
    "sphinx-mathjax-offline",  # nothing is fetched from elsewhere
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute"]
nb_execution_mode = "off"
nb_merge_streams = True
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = f"oasis-seg {release}"

default_role = "code"
highlight_language = "none"  # where a block states none, as printed tables
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "model_config"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

myst_enable_extensions = ["dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {
    "run": tables.options_table(RunConfig),
    "migdal": tables.options_table(MigdalOptions),
    "migdal_defaults": tables.yaml_block(MigdalAdapter.defaults),
    "detector": tables.options_table(Detector),
    "artefacts": tables.options_table(Artefacts),
    "variation": tables.options_table(Variation),
    "energy_scale": tables.options_table(EnergyScale),
    "tokens": tables.arguments_table(SparseTransformer, leave_out={"in_channels", "out_channels", "spatial_dims"}),
    "unet": tables.arguments_table(UNet, leave_out={"in_channels", "out_channels", "spatial_dims"}),
    "scaling": tables.options_table(LogScale, {"name": "the kind of scaling"}),
    "asinh": tables.options_table(AsinhScale, {"name": "the kind of scaling"}),
    "head": tables.options_table(HeadOptions),
    "cells": tables.options_table(CellsOptions),
    "colab": tables.colab_links(NOTEBOOKS, PROJECT["urls"].get("Source", ""), release),
    "cygno": tables.options_table(CygnoOptions),
    "cygno_columns": columns_table(SELECTION_COLUMNS),
    "cygno_digitisation": tables.options_table(Digitisation),
    "cygno_noise": tables.options_table(PixelNoiseOptions),
    "cygno_track": tables.options_table(TrackOptions),
    "neutrino": tables.options_table(NeutrinoOptions),
    "neutrino_columns": columns_table(PARTICLE_COLUMNS),
    "neutrino_detector": tables.options_table(ScintillatorCubes),
    "neutrino_fit": columns_table(OF_FIT),
    "neutrino_numbers": columns_table({name.format("…"): text for name, text in OF_QUANTITIES.items()}),
    "neutrino_refinement": tables.options_table(RefinementOptions),
    "objects": tables.options_table(ObjectOptions),
    "loss": tables.options_table(LossOptions, tables.described(OverlapLoss, "Args")),
    "terms": tables.terms_table(TERMS),
    "augmentation": tables.options_table(Augmentation),
    "affine": tables.options_table(Affine),
    "elastic": tables.options_table(Elastic),
    "remix": tables.options_table(Remix),
    "calibration": tables.options_table(CalibrationOptions),
    "ccd": tables.options_table(CcdOptions),
    "ccd_cuts": tables.options_table(Cuts),
    "ccd_read": tables.options_table(CcdReadOptions),
    "ccd_sensor": tables.options_table(Sensor),
    "folder": tables.options_table(FolderOptions),
    "folder_camera": tables.options_table(Camera),
    "folder_stated": tables.options_table(Stated),
    "folder_split": tables.options_table(SplitRule),
    "folder_mixing": tables.options_table(MixingOptions),
    "galaxy": tables.options_table(GalaxyAdapterOptions),
    "galaxy_blend": tables.options_table(BlendOptions),
    "galaxy_columns": columns_table(PHOTOMETRY),
    "galaxy_convert": tables.options_table(Conversion),
    "galaxy_band": tables.options_table(BandOptions),
    "galaxy_varying": tables.options_table(Varying),
    "galaxy_stars": tables.options_table(StarOptions),
    "galaxy_surveys": tables.surveys_table(SURVEYS),
    "galaxy_detection": tables.options_table(Detection),
    "galaxy_library": tables.options_table(LibraryOptions),
    "galaxy_population": tables.options_table(GalaxyOptions),
    "waveform": tables.options_table(WaveformOptions),
    "waveform_background": tables.options_table(BackgroundOptions),
    "waveform_columns": columns_table(PULSE_COLUMNS),
    "waveform_noise": tables.options_table(NoiseOptions),
    "waveform_pulse": tables.options_table(PulseOptions),
    "waveform_pulses": tables.options_table(PulsesOptions),
    "waveform_read": tables.options_table(ReadOptions),
    "waveform_shape": tables.options_table(PulseShape),
    "training": tables.options_table(TrainingOptions),
    **tables.command_tables(app),
    "columns": columns_table(COLUMNS | IDENTITY | OF_RUNS),
}

SHAPE = re.compile(r"(?<!`)\([^()`]*\*\w+[^()`]*(?:\([^()`]*\)[^()`]*)?\)")


COLON = "\ue000"  # of no alphabet
ANNOTATED = re.compile(r"~?(?:\w+\.)?Annotated\[")


def plain_types(signature: str) -> str:
    """Return a signature without the limits and the help that are noted beside types.

    Example:
        >>> plain_types("(a: Annotated[tuple[Annotated[float, Ge(ge=0)], int], Up()] = (0, 1), b: ~pathlib.Path)")
        '(a: tuple[float, int] = (0, 1), b: Path)'
    """
    while found := ANNOTATED.search(signature):
        depth, first, end = 1, None, found.end()
        while depth:
            sign = signature[end]
            depth += (sign in "[({") - (sign in "])}")
            first = end if first is None and depth == 1 and sign == "," else first
            end += 1
        signature = signature[: found.start()] + signature[found.end() : first] + signature[end:]
    return signature.replace("~pathlib.", "")


def shorten(_app: Any, _what: str, _name: str, _object: Any, _options: Any, signature: str, returns: str) -> Any:
    """Show plain types in signatures."""
    return (plain_types(signature), returns) if signature else None


def restore(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Put the colons back that `mark_up` hid from Napoleon."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def mark_up(_app: Any, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Mark shapes such as (b, N, *S) as code, and keep Napoleon from taking a list's first item for a type."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[number] = SHAPE.sub(r"``\g<0>``", line)
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", COLON)  # what precedes a colon is a type to Napoleon
    for number in range(len(lines) - 1, 0, -1):
        if lines[number - 1].strip() == "Returns:" and lines[number].lstrip().startswith("- "):
            indent = lines[number][: -len(lines[number].lstrip())]
            lines[number:number] = [f"{indent}By name", ""]


def setup(app: Any) -> None:
    """Write the pages of the API before they are read, and connect the hook ahead of Napoleon's."""
    app.connect("builder-inited", lambda _: rooms.write())
    app.connect("autodoc-process-docstring", mark_up, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("autodoc-process-signature", shorten)
