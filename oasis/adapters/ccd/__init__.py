"""Thick CCDs: electrons and photons of radioactive xenon, and muons, as single objects that may share pixels."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oasis.adapters.ccd.adapter import CcdAdapter

__all__ = ["CcdAdapter"]


def __getattr__(name: str) -> Any:
    """Import the adapter on first use, so that a module in this package can be run by itself."""
    if name != "CcdAdapter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from oasis.adapters.ccd.adapter import CcdAdapter

    return CcdAdapter
