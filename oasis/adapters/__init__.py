"""Adapters: the contract between a domain and the core, and the domains themselves."""

from oasis.adapters.base import Adapter
from oasis.adapters.options import DataOptions, SplitCounts, SplitFiles
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.registry import adapter_names, find_adapter
from oasis.adapters.simulated import SimulatedAdapter, SimulatedOptions
from oasis.adapters.study import Study

__all__ = [
    "Adapter",
    "DataOptions",
    "EventPrediction",
    "SimulatedAdapter",
    "SimulatedOptions",
    "SplitCounts",
    "SplitFiles",
    "Study",
    "adapter_names",
    "find_adapter",
]
