"""Reading the authors' weights: the output is theirs, and a file that does not fit is refused. About 3 s."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from paper_unet import draw_weights, paper_unet
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.errors import ModelError
from oasis.models import load_reference

State = dict[str, Tensor]


@pytest.mark.parametrize("base", [8, 16])
@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(("suffix", "save"), [(".pt", torch.save), (".safetensors", save_file)])
def test_the_output_is_the_authors(
    tmp_path: Path, base: int, size: tuple[int, int], prefix: str, suffix: str, save: Callable[[State, Path], None]
) -> None:
    weights = draw_weights(base)
    path = tmp_path / f"weights{suffix}"
    save({prefix + name: weight for name, weight in weights.items()}, path)
    image = torch.from_numpy(np.random.default_rng(0).random((2, 1, *size), np.float32))
    with torch.no_grad():
        output = load_reference(path).double()(image.double())  # rounding would differ between processors
        expected = F.softplus(paper_unet({name: one.double() for name, one in weights.items()}, image.double()))
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_the_published_size_is_recognised(tmp_path: Path) -> None:
    torch.save(draw_weights(32), tmp_path / "weights.pt")
    model = load_reference(tmp_path / "weights.pt")
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_982_274


def drop(weights: State) -> None:
    del weights["up3.conv1x1.bias"]


def add(weights: State) -> None:
    weights["aux.weight"] = torch.zeros(1)


def reshape(weights: State) -> None:
    weights["bott.net.0.weight"] = weights["bott.net.0.weight"][:3]


def empty(weights: State) -> None:
    weights.clear()


def drop_many(weights: State) -> None:
    for name in [name for name in weights if name.startswith("up")]:
        del weights[name]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, "missing: up3.conv1x1.bias"),
        (add, "left over: aux.weight"),
        (reshape, "of another shape: bott.net.0.weight"),
        (empty, "no weight enc1.net.0.weight"),
        (
            drop_many,
            "missing: up1.block.net.0.bias, up1.block.net.0.weight, up1.block.net.1.bias, up1.block.net.1.weight "
            "and 26 more",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, spoil: Callable[[State], None], message: str) -> None:
    weights = draw_weights(8)
    spoil(weights)
    refused(tmp_path / "weights.pt", weights, message)


def test_something_else_than_weights_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "list.pt", [1, 2], "not a state dict")
    refused(tmp_path / "epoch.pt", {"epoch": 3}, "not a state dict")


def refused(path: Path, content: object, message: str) -> None:
    torch.save(content, path)
    with pytest.raises(ModelError) as error:
        load_reference(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


class Unpicklable:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (pytest.fail, ("foreign code ran",))


def test_a_file_is_read_as_data_alone(tmp_path: Path) -> None:
    torch.save({"enc1.net.0.weight": Unpicklable()}, tmp_path / "foreign.pt")
    (tmp_path / "foreign.pkl").write_bytes(pickle.dumps(Unpicklable(), protocol=2))
    (tmp_path / "short.safetensors").write_bytes(b"123")
    for name in ("foreign.pt", "foreign.pkl", "short.safetensors", "absent.pt", "."):
        with pytest.raises(ModelError) as error:
            load_reference(tmp_path / name)
        assert "\n" not in str(error.value)


def test_the_result_can_be_trained_on(tmp_path: Path) -> None:
    torch.save(draw_weights(8), tmp_path / "weights.pt")
    model = load_reference(tmp_path / "weights.pt")
    assert isinstance(model, nn.Module)
    model(torch.rand(1, 1, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
