"""The MIGDAL optical time projection chamber: electron recoils under nuclear recoils in camera images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oasis.adapters.migdal.adapter import MigdalAdapter

__all__ = ["MigdalAdapter"]


def __getattr__(name: str) -> Any:
    """Import the adapter on first use, so that a module in this package can be run by itself."""
    if name != "MigdalAdapter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from oasis.adapters.migdal.adapter import MigdalAdapter

    return MigdalAdapter
