"""The options of every adapter: each number has a range, bounds rise, and nonsense is one line with the key."""

from collections.abc import Iterator
from typing import Any

import pytest

from oasis.adapters import adapter_names, find_adapter
from oasis.errors import ConfigError

ADAPTERS = sorted(adapter_names())


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, values


def nested(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers(kind: type) -> list[tuple[tuple[Any, ...], Any]]:
    """Return every number, and every group of numbers, among the defaults of a domain."""
    found = list(leaves(kind.options_type().model_dump()))
    return [(path, value) for path, value in found if is_number(value) or is_pair(value)]


def is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(map(is_number, value))


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_number_has_a_range(name):
    kind = find_adapter(name)
    cases = numbers(kind)
    assert len(cases) >= 8
    for path, value in cases:
        extreme = 10**30 if all(isinstance(one, int) for one in (value if is_pair(value) else [value])) else 1e30
        for wrong in (extreme, -extreme):
            choices = [wrong]
            if is_pair(value):
                choices = [
                    tuple(wrong if at == place else one for at, one in enumerate(value))
                    for place in range(len(value))
                ]
            for choice in choices:
                with pytest.raises(ConfigError) as caught:
                    kind(nested(path, choice))
                assert str(caught.value).startswith(f"data.{path[0]}"), (path, choice, caught.value)
                assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ADAPTERS)
def test_bounds_rise(name):
    """Where the defaults rise, a reversed pair is refused, but for pairs that are no bounds."""
    kind = find_adapter(name)
    free = {"g_r", "bulge_g_r", "r_z", "bulge_fraction", "shape", "size"}
    pairs = [(path, value) for path, value in numbers(kind) if is_pair(value) and len(value) == 2]
    for path, value in pairs:
        if path[-1] not in free and value[0] < value[1]:
            with pytest.raises(ConfigError, match=path[-1]):
                kind(nested(path, tuple(reversed(value))))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("migdal", {"size": [0, 96]}, r"data\.size\.0"),
        ("migdal", {"size": [96, 600]}, r"size: \(96, 600\) is larger than the field \(288, 512\)"),
        ("migdal", {"margin": 144}, "margin: 144 pixels on every side leave nothing of the field"),
        ("migdal", {"jitter": 49}, r"jitter: 49 pixels would move tracks out of the window \(96, 96\)"),
        ("migdal", {"energies": [-3, 5]}, r"data\.energies\.0"),
        ("migdal", {"events": {"train": -1}}, r"data\.events\.train"),
        ("waveform", {"sampling_ns": 1e12}, r"data\.sampling_ns"),
        ("waveform", {"samples": 0}, r"data\.samples"),
        ("waveform", {"arrival": [0.9, 0.1]}, r"data\.arrival: expected the lower bound first"),
        ("waveform", {"signal": {"amplitude": [-1, 2]}}, r"data\.signal\.amplitude\.0"),
        ("pulses", {"pulses": 0}, r"data\.pulses"),
        ("galaxy", {"blend": {"galaxies": [0, 2]}}, r"data\.blend\.galaxies\.0"),
        ("galaxy", {"blend": {"sky": {"g": -1}}}, r"data\.blend\.sky\.g"),
        ("galaxy", {"library": {"simulated": -5}}, r"data\.library\.simulated"),
        ("galaxy", {"reading": {"pixel_scale": 0}}, r"data\.reading\.pixel_scale"),
        ("neutrino", {"energies": [60, 1]}, r"data\.energies: expected two increasing"),
        ("neutrino", {"events": {"val": 0}}, r"data\.events\.val"),
    ],
)
def test_nonsense_is_refused_in_one_line(name, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        find_adapter(name)(options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("migdal", {"energies": [1e5, 2e5]}, r"data\.energies: no electron has 100000 to 200000 keV"),
        ("migdal", {"energies": [5, 5]}, r"data\.energies: no electron has 5 to 5 keV"),
        ("pulses", {"pulse": {"amplitude": [1e-9, 1e-8]}}, r"data: no class is present .* train"),
        ("pulses", {"sampling_ns": 1e9}, r"data: no class is present .* train"),
    ],
)
def test_a_combination_that_leaves_no_event_is_said_when_the_data_set_is_built(name, options, message):
    with pytest.raises(ConfigError, match=message):
        find_adapter(name)(options).dataset("train")
