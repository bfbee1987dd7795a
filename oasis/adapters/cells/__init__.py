"""Cells in a fluorescence microscope: nuclei, vesicles and filaments that were stained alike, taken apart."""

from oasis.adapters.cells.adapter import CellsAdapter

__all__ = ["CellsAdapter"]
