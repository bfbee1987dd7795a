"""Baselines on the same blends: the image itself, oracles of masks and of shapes, SEP, and scarlet2.

Each returns maps (b, N, B, H, W) in nmgy for a batch, as a separator does; `Sep` also measures fluxes as
catalogues do.
"""

from oasis.adapters.galaxy.baselines.extraction import Catalogue, SepOptions, catalogue_of
from oasis.adapters.galaxy.baselines.masks import input_maps, oracle_mask_maps
from oasis.adapters.galaxy.baselines.matching import centroids, match
from oasis.adapters.galaxy.baselines.scarlet import Scarlet
from oasis.adapters.galaxy.baselines.sep import Sep
from oasis.adapters.galaxy.baselines.shapes import TrueShapes
from oasis.adapters.galaxy.baselines.tuning import TunedSep, tune_sep

__all__ = [
    "Catalogue",
    "Scarlet",
    "Sep",
    "SepOptions",
    "TrueShapes",
    "TunedSep",
    "catalogue_of",
    "centroids",
    "input_maps",
    "match",
    "oracle_mask_maps",
    "tune_sep",
]
