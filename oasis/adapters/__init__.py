"""Adapters: what a domain brings to the core, found by name or in a file."""

from oasis.adapters.base import Adapter, Study, adapter_names, find_adapter

__all__ = ["Adapter", "Study", "adapter_names", "find_adapter"]
