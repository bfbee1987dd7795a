"""Where no file can be used, the reason of most of them is said, not that of the first one alone."""

import numpy as np
import pytest

from oasis.errors import DataError
from oasis.inference.destinations import OutputOptions
from oasis.run import Run


@pytest.mark.parametrize("out", ["maps.h5", "maps.zarr", "maps"])
def test_the_reason_of_most_files_is_said_first(pulses_run, tmp_path, out):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.npy").write_bytes(b"damaged")
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / "in" / name, np.full(1024, np.nan, np.float32))
    outputs = OutputOptions(each="h5" if out == "maps" else None)
    with pytest.raises(DataError, match=r"a\.npy: .*; none of the 3 files can be used, 2 for .*0\.npy: damaged"):
        Run(pulses_run).predict(tmp_path / "in", tmp_path / out, outputs=outputs)
