"""Instances: class maps are grouped into single objects, and those are matched with true ones."""
