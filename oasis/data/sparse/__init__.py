"""Sparse events: coordinates and features of the lit cells of large volumes, and the charge of each object."""

from oasis.data.sparse.events import SparseEvent
from oasis.data.sparse.larcv import LarcvFile
from oasis.data.sparse.spine import SpineFile

__all__ = ["LarcvFile", "SparseEvent", "SpineFile"]
