"""Conversion of a domain's own files to an HDF5 file of samples or of components."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oasis.adapters.registry import find_adapter
from oasis.io.outputs import check_outputs, is_converted, is_left_out, paths_in


def convert(
    adapter: str,
    source: str | Path,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    force: bool = False,
) -> int:
    """Convert foreign files to an HDF5 file and return its number of items.

    Args:
        adapter: the name of the adapter whose format it is.
        source: a file or a folder.
        out: the HDF5 file.
        options: the options of the section `data`.
        force: replace a file that is not an earlier output.

    Raises:
        ConfigError: there is no such adapter, or options are invalid.
        DataError: files cannot be read, or the output must not be written.
    """
    source, out, options = Path(source), Path(out), options or {}
    domain = find_adapter(adapter)(options)
    outputs = {out: is_converted, Path(f"{out}.left_out.csv"): is_left_out}
    check_outputs(outputs, [source, *paths_in(options)], force=force)
    return domain.convert(source, out)
