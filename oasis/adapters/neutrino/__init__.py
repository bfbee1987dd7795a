"""Particles at the vertex of a neutrino interaction, in 3D images of a scintillator of 10 mm cubes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oasis.adapters.neutrino.adapter import NeutrinoAdapter, NeutrinoIonsAdapter

__all__ = ["NeutrinoAdapter", "NeutrinoIonsAdapter"]


def __getattr__(name: str) -> Any:
    """Import the adapters on first use, so that a module here can be run on its own."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from oasis.adapters.neutrino import adapter

    return getattr(adapter, name)
