"""Every benchmark runs from end to end, with sizes that take a moment."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SMALL = {
    "bench": "--base 8 --size 32 32 --batch 1 --events 2 --side 0 --repeats 1",
    "curves": "--tracks 2",
    "evaluation": "--base 8 --size 32 32 --batch 2 --events 2",
    "large_images": "mosaic --side 64",
    "exports": "unet",
    "loss": "--batch 1 --size 16 16 --classes 2 --repeats 1",
    "peers": "--base 8 --size 32 32 --events 2 --side 64 --threads 1 --repeats 1",
    "release": "--cells 2",
    "roofline": "--base 8 --size 16 16 --batch 1 --matrix 16 --domains waveform --samples 2 --repeats 1",
    "speed": "--base 8 --size 16 16 --batch 1 --threads 1 --repeats 1",
    "stored_samples": "--count 4000 --blocks 1",
}


def test_every_benchmark_is_tried() -> None:
    assert SMALL.keys() == {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("name", SMALL)
def test_benchmark_prints_its_figures(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *SMALL[name].split()])
    monkeypatch.syspath_prepend(FOLDER)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert any(character.isdigit() for character in capsys.readouterr().out)


def test_only_ratios_beyond_the_spread_of_both_are_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    slower = runpy.run_path(str(FOLDER / "bench.py"))["slower"]
    stored = {"step": {"ours": {}, "plain": {"ratio": 2.0, "ratio_low": 1.8, "ratio_high": 2.2}}}
    for high, count in ((1.9, 0), (1.7, 1)):
        row = {"ratio": 1.6, "ratio_low": 1.5, "ratio_high": high}
        assert len(slower({"step": {"ours": {}, "plain": row}, "new": {"plain": row}}, stored)) == count
