"""Instances: grouping of class maps into single objects, and their matching with true ones."""
