"""Galaxies that overlap on the sky: deblending of multi-band survey images into a flux map per galaxy."""

from oasis.adapters.galaxy.adapter import GalaxiesAdapter, GalaxyAdapter

__all__ = ["GalaxiesAdapter", "GalaxyAdapter"]
