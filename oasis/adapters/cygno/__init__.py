"""Faint recoils in camera images of the CYGNO optical TPC: which pixels to hand to the clustering."""

from oasis.adapters.cygno.adapter import CygnoAdapter

__all__ = ["CygnoAdapter"]
