"""Errors and their hints."""

import signal
from pathlib import Path

import pytest

from oasis import errors


@pytest.mark.parametrize(
    "error", [errors.ConfigError, errors.DataError, errors.ModelError, errors.MissingExtraError]
)
def test_every_error_is_an_oasis_error(error: type[Exception]) -> None:
    assert issubclass(error, errors.OasisError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("softplas", "did you mean 'softplus'?"),
        ("SOFTPLUS", "did you mean 'softplus'?"),
        ("zzz", "known: fraction, softplus"),
        ("", "known: fraction, softplus"),
    ],
)
def test_a_hint_is_the_nearest_name_or_all_of_them_in_order(name: str, hint: str) -> None:
    assert errors.nearest(name, iter(["softplus", "fraction"])) == hint


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    with pytest.raises(errors.MissingExtraError, match=r"no_such_package .* pip install 'oasis-seg\[galaxy\]'"):
        errors.import_extra("no_such_package", extra="galaxy")
    assert errors.import_extra("math", extra="galaxy").pi > 3


def test_a_hint_keeps_the_case_of_the_known_name() -> None:
    assert errors.nearest("monai/unet", ["monai/UNet", "monai/VNet"]) == "did you mean 'monai/UNet'?"


def test_an_extra_cannot_take_the_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library for clusters ends the program on Ctrl-C from its import on."""
    (tmp_path / "takes_signals.py").write_text("import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    assert errors.import_extra("takes_signals", "x").__name__ == "takes_signals"
    assert signal.getsignal(signal.SIGINT) is before
