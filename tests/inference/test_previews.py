"""Previews of signals: their own axis where the file has one."""

import numpy as np
import pytest

from oasis.inference.previews import Previews
from oasis.run import Run


@pytest.mark.parametrize(("suffix", "name", "last"), [(".csv", "time (s)", 3.9), (".npy", "sample", 39)])
def test_signals_are_drawn_over_their_own_axis(tmp_path, suffix, name, last):
    path, signal = tmp_path / f"a{suffix}", np.ones((1, 1, 40), np.float32)
    if suffix == ".csv":
        rows = np.column_stack([np.arange(40) * 0.1, signal[0, 0]])
        np.savetxt(path, rows, delimiter=",", header="time (s),counts", comments="")
    data = {"classes": ["a", "b"], "spatial_dims": 1, "bands": 1, "size": [16]}
    setup = Run.from_values(
        {"adapter": "folder", "run": "runs/none", "data": data, "model": {"depth": 1, "norm": "batch"}}
    )
    previews = Previews({path: tmp_path / "a.png"}, setup.new_separator())
    previews.add(path, np.arange(1), signal, np.ones((1, 2, 1, 40), np.float32))
    axes = previews._figure(path).axes[0]
    assert axes.get_xlabel() == name
    np.testing.assert_allclose(axes.lines[0].get_xdata()[-1], last)
    previews.close()
    assert (tmp_path / "a.png").exists()
