import numpy as np
import pytest

from oasis.adapters import Adapter, adapter_names, find_adapter
from oasis.errors import ConfigError, DataError


class Plain(Adapter):
    classes = ("a",)

    def dataset(self, split):
        raise NotImplementedError


class TwoBands(Plain):
    bands = 2


def test_installed_adapters_are_found_by_name():
    assert "migdal" in adapter_names()
    assert find_adapter("migdal").classes == ("ER", "NR")


def test_adapters_in_files(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from oasis.adapters import Adapter\n"
        "class Mine(Adapter):\n    classes = ('x',)\n    def dataset(self, split): ...\n"
        "class Other: pass\n"
    )
    assert find_adapter(f"{path}:Mine").classes == ("x",)
    with pytest.raises(ConfigError, match="did you mean 'Mine'"):
        find_adapter(f"{path}:Mime")
    with pytest.raises(ConfigError, match="not a subclass"):
        find_adapter(f"{path}:Other")
    with pytest.raises(ConfigError, match="no such file"):
        find_adapter(f"{tmp_path}/nowhere.py:Mine")


def test_unknown_options_are_refused():
    with pytest.raises(ConfigError, match=r"data\.size: unknown key"):
        Plain({"size": 3})


@pytest.mark.parametrize(
    ("adapter", "shape", "expected"),
    [
        (Plain, (20, 30), (1, 1, 20, 30)),
        (Plain, (4, 20, 30), (4, 1, 20, 30)),
        (Plain, (4, 1, 20, 30), (4, 1, 20, 30)),
        (TwoBands, (2, 20, 30), (1, 2, 20, 30)),
        (TwoBands, (4, 2, 20, 30), (4, 2, 20, 30)),
    ],
)
def test_prepare_gives_images_with_all_axes(adapter, shape, expected):
    raw = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    images = adapter().prepare(raw)
    assert images.shape == expected
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images.ravel(), raw.ravel())
    dark = np.full(expected[1:], 2.0)
    np.testing.assert_array_equal(adapter().prepare(raw, dark), images - 2)


@pytest.mark.parametrize(("adapter", "shape"), [(Plain, (30,)), (TwoBands, (20, 30)), (TwoBands, (3, 20, 30))])
def test_prepare_refuses_other_shapes(adapter, shape):
    with pytest.raises(DataError, match="does not hold images"):
        adapter().prepare(np.ones(shape))


def test_a_dark_frame_has_to_fit():
    with pytest.raises(DataError, match="dark frame"):
        Plain().prepare(np.ones((20, 30)), np.ones((20, 31)))


def test_a_domain_without_foreign_files_says_so(tmp_path):
    with pytest.raises(DataError, match="no files of its own"):
        Plain().convert(tmp_path / "x.pkl", tmp_path / "y.h5")
