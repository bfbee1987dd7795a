"""Files of waveforms: every kind is read, and what cannot be used is refused in one line."""

import h5py
import numpy as np
import pytest

from oasis.adapters.waveform.files import read_spectrum, read_templates, read_waveforms
from oasis.errors import DataError

WAVEFORMS = np.random.default_rng(0).normal(size=(3, 20))


def write(path, values):
    match path.suffix:
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez(path, waveforms=values)
        case ".csv":
            np.savetxt(path, values, delimiter=",")
        case ".h5":
            with h5py.File(path, "w") as file:
                file["waveforms"] = values
    return path


def refusal(function, path):
    with pytest.raises(DataError) as caught:
        function(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".h5"])
def test_waveforms_are_the_rows_of_a_file(tmp_path, suffix):
    path = write(tmp_path / f"waveforms{suffix}", WAVEFORMS)
    np.testing.assert_allclose(read_waveforms(path), WAVEFORMS)


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_single_waveform_may_have_one_axis(tmp_path, suffix):
    path = write(tmp_path / f"waveform{suffix}", WAVEFORMS[0])
    np.testing.assert_allclose(read_waveforms(path), WAVEFORMS[:1])


def test_an_axis_of_one_band_is_left_out(tmp_path):
    np.testing.assert_array_equal(read_waveforms(write(tmp_path / "a.npy", WAVEFORMS[:, None])), WAVEFORMS)


def test_samples_that_are_not_finite_are_refused_with_their_place(tmp_path):
    values = WAVEFORMS.copy()
    values[1, 7] = np.nan
    values[2, 0] = np.inf
    message = refusal(read_waveforms, write(tmp_path / "a.csv", values))
    assert "2 values are NaN or infinite, the first in row 1, column 7" in message


@pytest.mark.parametrize("shape", [(20, 3), (2, 3, 20), (4,)])
def test_what_is_not_a_stack_of_waveforms_is_refused(tmp_path, shape):
    assert "expected one per row, of at least 16" in refusal(
        read_waveforms, write(tmp_path / "a.npy", np.ones(shape))
    )


def test_files_without_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "object.npz", np.array([{}], dtype=object))
    assert "never loaded" in refusal(read_waveforms, tmp_path / "object.npz")
    (tmp_path / "empty.npy").write_bytes(b"")
    refusal(read_waveforms, tmp_path / "empty.npy")
    (tmp_path / "empty.csv").write_text("")
    assert "no numeric array" in refusal(read_waveforms, tmp_path / "empty.csv")
    (tmp_path / "text.csv").write_text("1,2,3\n4,five,6\n")
    assert "five" in refusal(read_waveforms, tmp_path / "text.csv")
    np.save(tmp_path / "none.npy", np.zeros((0, 100)))
    refusal(read_waveforms, tmp_path / "none.npy")


def test_templates_are_scaled_to_a_peak_of_1_and_cut_at_0(tmp_path):
    pulses = np.zeros((2, 20))
    pulses[0, 5:8] = [2, 4, -1]
    pulses[1, 9] = 0.5
    found = read_templates(write(tmp_path / "a.npy", pulses))
    assert found[0, 5:8].tolist() == [0.5, 1, 0]
    assert found.max(axis=1).tolist() == [1, 1]
    pulses[1] = -1
    message = refusal(read_templates, write(tmp_path / "a.npy", pulses))
    assert "template 1 is nowhere above 0" in message


def test_a_spectrum_of_another_form_is_refused(tmp_path):
    path = str(write(tmp_path / "a.csv", np.ones((5, 3))))
    with pytest.raises(DataError, match="two columns: frequency in MHz, power density"):
        read_spectrum(path, path)
