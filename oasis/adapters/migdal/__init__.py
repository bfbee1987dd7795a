"""The MIGDAL optical time projection chamber: electron recoils under nuclear recoils in camera images."""

from oasis.adapters.migdal.adapter import MigdalAdapter

__all__ = ["MigdalAdapter"]
