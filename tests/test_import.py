"""The public names, and that importing the package alone is light."""

import importlib.util
import json
import subprocess
import sys

import pytest

import oasis

HEAVY = {
    "h5py",
    "lightning",
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pytorch_lightning",
    "scipy",
    "torch",
}


@pytest.mark.parametrize(
    ("statement", "avoided"),
    [
        ("import oasis", HEAVY),
        ("from oasis import OasisError", HEAVY),
        ("from oasis import Run, Separator, OverlapLoss", {"lightning", "pytorch_lightning"}),
    ],
)
def test_no_heavy_library_is_loaded_before_it_is_needed(statement: str, avoided: set[str]) -> None:
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(json.loads(output))
    assert "oasis" in loaded
    assert not loaded & avoided


@pytest.mark.parametrize("name", oasis.__all__)
def test_every_public_name_resolves(name: str) -> None:
    if importlib.util.find_spec(f"oasis.{oasis._HOME[name]}") is None:
        pytest.skip(f"oasis.{oasis._HOME[name]} is not there yet")
    assert getattr(oasis, name).__name__ == name
    assert name in dir(oasis)


def test_all_names_have_a_home_and_others_do_not_exist() -> None:
    assert set(oasis.__all__) == set(oasis._HOME)
    with pytest.raises(AttributeError, match="no attribute 'OverlapLos'"):
        oasis.OverlapLos  # noqa: B018
