"""Converting: a domain's own files into an HDF5 file of samples, or of what samples are made of."""

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
    """Turn foreign files into an HDF5 file and return how many items it has.

    Args:
        adapter: whose format it is, by its name.
        source: a file or a folder.
        out: the HDF5 file.
        options: of the section `data`.
        force: replace a file that is no earlier output.

    Raises:
        ConfigError: no such adapter, or options that do not fit.
        DataError: files that cannot be read, or an output that must not be written.
    """
    source, out, options = Path(source), Path(out), options or {}
    domain = find_adapter(adapter)(options)
    outputs = {out: is_converted, Path(f"{out}.left_out.csv"): is_left_out}
    check_outputs(outputs, [source, *paths_in(options)], force=force)
    return domain.convert(source, out)
