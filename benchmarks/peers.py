"""This package beside others on the same machine, stage by stage, in turns in one process.

    python benchmarks/peers.py --out peers.json
    python benchmarks/peers.py --reference DIR --out peers.json     # and the authors' code, a checkout of it

- ours: the stages as a run of this package goes through them;
- plain: the paper's network and loss as plain PyTorch modules, event by event where there are events;
- authors: with `--reference` their own functions (data set, network, loss, evaluation of one image);
- MONAI: its sliding window over the same network, where a large image is cut.

All have the same weights and the same events. Their results are compared before anything is timed. A ratio is
that of the times of one turn, the peer's over ours; the median and the range over the turns are given. Peak memory
is that of the process above what it held before. `benchmarks/bench.py` compares the ratios with stored ones.
"""

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from speed import PlainUNet, machine, peak_bytes, time_in_turns
from torch import Tensor, nn

from oasis.adapters.migdal import MigdalAdapter
from oasis.command import at_least, run_script
from oasis.data.loading import EpochSampler, make_loader
from oasis.data.sample_files import SampleFile, write_samples
from oasis.data.samples import Sample
from oasis.device import autocast
from oasis.evaluation.event_table import evaluate
from oasis.inference.windows import separate_tiled
from oasis.loss.overlap import OverlapLoss
from oasis.models.reference import load_reference
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

Stage = dict[str, Callable[[], Any]]
Precision = Literal["auto", "float32"]
CLASSES = ("ER", "NR")
AGREE: dict[Precision, float] = {
    "float32": 2e-3,
    "auto": 5e-2,
}  # relative tolerance of results; `auto` may be bfloat16
SETTINGS = ("base", "size", "batch", "events", "side", "repeats")


class Events:
    """Simulated events in one HDF5 file, and in a folder of tensors as the authors store them."""

    def __init__(self, folder: Path, count: int, size: tuple[int, int], batch: int) -> None:
        self.adapter = MigdalAdapter({"size": size, "events": {"test": count}})
        mixed = self.adapter.dataset("test")
        samples = [mixed[index] for index in range(count)]
        self.file = folder / "events.h5"
        write_samples(self.file, samples, CLASSES, "ADU")
        self.tensors = folder / "tensors"
        for index, sample in enumerate(samples):
            kind = "hybrid" if sample.meta["kind"] == "hybrid" else "NR"
            (self.tensors / "test" / kind).mkdir(parents=True, exist_ok=True)
            torch.save(_record(sample), self.tensors / "test" / kind / f"{index}.pt")
        records = [_record(sample) for sample in samples[:batch]]
        self.image, self.target, self.valid = (
            torch.stack([record[name].view(-1, *size) for record in records])
            for name in ("input", "target", "valid")
        )


def _record(sample: Sample) -> dict[str, Any]:
    """Return an event as the authors store it: in logarithmic units (Eq. 4 of the paper)."""
    scale = max(float(np.percentile(sample.image, 99)), 1e-12)
    logs, maps = np.log10(1 + sample.image[0] / scale), np.log10(1 + sample.target[:, 0] / scale)
    return {
        "input": torch.from_numpy(logs / logs.max()).float(),
        "target": torch.from_numpy(maps / max(maps.max(), 1e-6)).float(),
        "valid": torch.from_numpy(sample.valid[0]).float(),
        "s": scale,
        "ymax10": float(logs.max()),
        "tmax": float(max(maps.max(), 1e-6)),
    }


class Ours:
    """The stages of this package."""

    def __init__(self, events: Events, network: nn.Sequential, base: int) -> None:
        self.events, self.network = events, network
        self.loss = OverlapLoss(CLASSES, class_weights={"ER": 1}, region_weights={"ER": 3, "ER&NR": 6})
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=1e-4, fused=True)
        model = {"name": "unet", "base_channels": base}
        options = SeparatorOptions(classes=CLASSES, model=model, head={"name": "softplus"})
        self.separator = Separator(options).eval()
        self.separator.backbone.load_state_dict(network[0].state_dict())

    def load(self) -> int:
        """Read all events in batches."""
        file = SampleFile(self.events.file)
        return sum(len(batch.image) for batch in make_loader(file, EpochSampler(len(file), False), 16, 0))

    def cost(self, precision: Precision = "auto") -> Tensor:
        """The loss of the batch."""
        with autocast("cpu", precision):
            output = self.network(self.events.image)
        return self.loss(output.float(), self.events.target, self.events.valid)

    def infer(self, images: Tensor, precision: Precision = "auto") -> Tensor:
        """Scaled maps of images."""
        with torch.inference_mode(), autocast("cpu", precision):
            return self.network(images).float()  # type: ignore[no-any-return]

    def evaluate(self) -> Tensor:
        """The event table of all events; returns the predicted intensities of electrons."""
        table = evaluate(self.separator, SampleFile(self.events.file), self.events.adapter, 16, 0)
        return torch.tensor(table.loc[table["class"] == "ER", "intensity_predicted"].to_numpy())


class Plain:
    """The paper's description as plain PyTorch."""

    def __init__(self, events: Events, base: int) -> None:
        self.events = events
        self.network = nn.Sequential(PlainUNet(len(CLASSES), base), nn.Softplus())
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=2e-4, weight_decay=1e-4)

    def cost(self) -> Tensor:
        """The loss of the batch."""
        return plain_loss(self.network(self.events.image), self.events.target, self.events.valid)

    def infer(self, images: Tensor) -> Tensor:
        """Scaled maps of images."""
        with torch.inference_mode():
            return self.network(images)  # type: ignore[no-any-return]


class Authors:
    """The functions of a checkout of the authors' repository."""

    def __init__(self, events: Events, base: int, reference: Path) -> None:
        sys.path.insert(0, str(reference))
        self.code = importlib.import_module("OASIS")
        self.events = events
        self.network = self.code.UNetSmall(base=base)
        self.loss = self.code.SegRegLoss(w_ch=(1.0, 1.0))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=2e-4, weight_decay=1e-4)

    def dataset(self) -> Any:
        """All events."""
        size = tuple(self.events.image.shape[2:])
        return self.code.OASISDataset(str(self.events.tensors), "test", hw=size)

    def load(self) -> int:
        """Read all events in batches."""
        return sum(len(batch[0]) for batch in torch.utils.data.DataLoader(self.dataset(), batch_size=16))

    def cost(self) -> Tensor:
        """The loss of the batch."""
        output = self.network(self.events.image)
        terms = self.loss(output, self.events.image, t=self.events.target, valid=self.events.valid)
        return terms["loss"]  # type: ignore[no-any-return]

    def infer(self, images: Tensor) -> Tensor:
        """Scaled maps of images."""
        with torch.inference_mode():
            return self.network(images)  # type: ignore[no-any-return]

    def evaluate(self) -> Tensor:
        """The summed intensities of all events, one by one; returns those of electrons."""
        view, data = self.code.view_and_process, self.dataset()
        found = [
            view(self.network, data, idx=index, device="cpu", invert=True, plot=False)[0]
            for index in range(len(data))
        ]
        order = sorted(range(len(data)), key=data.ids.__getitem__)
        return torch.tensor([float(found[index]) for index in order])


def plain_loss(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return Eq. 1 of the paper for two classes, with a mask for each region and the weights of the paper."""
    er, nr = (target[:, label : label + 1] > 0 for label in (0, 1))
    weights = (3.0 * (er & ~nr) + 1.0 * ~er + 6.0 * (er & nr)) * valid
    regression = ((prediction - target).abs() * weights).sum() / (2 * weights.sum())
    total, edges = torch.zeros(()), torch.zeros(())
    for axis in (2, 3):
        length = valid.shape[axis] - 1
        inside = valid.narrow(axis, 1, length) * valid.narrow(axis, 0, length)
        total = total + (prediction.diff(dim=axis).abs() * inside).sum()
        edges = edges + inside.sum()
    return regression + 0.01 * total / edges


def descend(network: nn.Module, optimizer: torch.optim.Optimizer, cost: Callable[[], Tensor]) -> None:
    """One training step."""
    cost().backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def agree(title: str, ours: Tensor, theirs: Tensor, precision: Precision = "float32") -> None:
    """Check that two results are the same up to rounding, and print by how much they differ.

    Raises:
        AssertionError: they are not.
    """
    difference = float((ours - theirs).abs().mean() / theirs.abs().mean().clamp_min(1e-12))
    print(f"{title} in {precision}: mean difference {difference:.1e} of the mean")
    assert difference < AGREE[precision], f"{title}: results differ"


def compare_results(ours: "Ours", name: str, peer: "Plain | Authors") -> None:
    """Check that maps, losses and intensities agree, in float32 and in the precision that is timed."""
    image, maps, loss = ours.events.image, peer.infer(ours.events.image), peer.cost().detach()
    for precision in AGREE:
        agree(f"maps of {name}", ours.infer(image, precision), maps, precision)
        agree(f"loss of {name}", ours.cost(precision).detach(), loss, precision)
    if isinstance(peer, Authors):
        # The maps of random weights are exponentials of large numbers.
        agree(f"log intensities of {name}", ours.evaluate().log(), peer.evaluate().log(), "auto")


def tiles(side: int) -> Stage:
    """Return two ways through a large image with one network, after a comparison with the whole image."""
    from monai.inferers import SlidingWindowInferer

    model = {"name": "unet", "base_channels": 8, "depth": 3, "norm": "batch"}
    scaling = {"scale": 23.0, "peak": False}
    separator = Separator(SeparatorOptions(classes=CLASSES, model=model, scaling=scaling)).eval()
    image = np.abs(np.random.default_rng(0).normal(0, 50, (1, side, side))).astype(np.float32)
    batch = torch.from_numpy(image)[None]
    slide = SlidingWindowInferer(roi_size=(320, 320), sw_batch_size=4, overlap=0.25, mode="gaussian")

    def ours() -> Tensor:
        return torch.from_numpy(separate_tiled(separator, image, core=256))[:, 0]

    def monai() -> Tensor:
        with torch.inference_mode():
            return slide(batch, lambda part: separator(part).maps[:, :, 0])[0]  # type: ignore[no-any-return]

    with torch.inference_mode():
        whole = separator(batch).maps[0, :, 0]
    agree("tiles, ours", ours(), whole, "auto")
    print(f"tiles of MONAI: largest difference {float((monai() - whole).abs().max() / whole.max()):.1e}")
    return {"ours": ours, "MONAI": monai}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Compare results, then time every stage."""
    torch.manual_seed(0)
    events = Events(folder, arguments.events, tuple(arguments.size), arguments.batch)
    plain, weights = Plain(events, arguments.base), folder / "weights.pt"
    state = {_name(name): weight for name, weight in plain.network[0].state_dict().items()}
    torch.save(state, weights)
    ours = Ours(events, load_reference(weights), arguments.base)
    peers: dict[str, Plain | Authors] = {"plain": plain}
    if arguments.reference:
        peers["authors"] = Authors(events, arguments.base, arguments.reference)
        peers["authors"].network.load_state_dict(state)
    for name, peer in peers.items():
        compare_results(ours, name, peer)
    both = {"ours": ours, **peers}
    stages: dict[str, Stage] = {
        "training step": {
            name: partial(descend, one.network, one.optimizer, one.cost) for name, one in both.items()
        },
        "inference of a batch": {name: partial(one.infer, events.image) for name, one in both.items()},
        "inference of one image": {name: partial(one.infer, events.image[:1]) for name, one in both.items()},
    }
    if arguments.reference:
        stages["loading"] = {name: both[name].load for name in ("ours", "authors")}
        stages["evaluation"] = {name: both[name].evaluate for name in ("ours", "authors")}
    if arguments.side:
        stages["tiles"] = tiles(arguments.side)
    counts = {"loading": arguments.events, "evaluation": arguments.events, "inference of one image": 1, "tiles": 1}
    return {
        title: _timed(title, stage, arguments.repeats, counts.get(title, len(events.image)))
        for title, stage in stages.items()
    }


def _timed(title: str, stage: Stage, repeats: int, images: int) -> dict[str, Any]:
    """Return images per second, ratios and peaks of a stage, and print them."""
    memory = {name: peak_bytes(task) / 2**20 for name, task in stage.items()}
    times = time_in_turns(repeats, **stage)
    result: dict[str, Any] = {
        name: {"images_per_second": images / median(seconds), "peak_mib": memory[name]}
        for name, seconds in times.items()
    }
    for name in times.keys() - {"ours"}:
        ratios = sorted(theirs / mine for theirs, mine in zip(times[name], times["ours"], strict=True))
        result[name] |= {"ratio": median(ratios), "ratio_low": ratios[0], "ratio_high": ratios[-1]}
        speed = (
            f"{result[name]['images_per_second']:8.2f} images/s, ours {result['ours']['images_per_second']:8.2f}"
        )
        print(f"{title:24s} {name:8s} {speed}: {median(ratios):5.2f} x ({ratios[0]:.2f}-{ratios[-1]:.2f})", end="")
        print(f"; peak {memory[name]:.0f} MiB, ours {memory['ours']:.0f}")
    return result


def _name(plain: str) -> str:
    """Return the authors' name of a weight of the plain network.

    Example:
        >>> _name("downs.1.0.weight"), _name("mixes.0.bias")
        ('enc3.block.net.0.weight', 'up3.conv1x1.bias')
    """
    head, rest = plain.split(".", 1)
    if head in ("first", "bottleneck", "last"):
        return {"first": "enc1.net.", "bottleneck": "bott.net.", "last": "head."}[head] + rest
    number, rest = rest.split(".", 1)
    level = f"enc{int(number) + 2}" if head in ("pools", "downs") else f"up{3 - int(number)}"
    inner = {"pools": "pool", "downs": "block.net", "mixes": "conv1x1", "ups": "block.net"}[head]
    return f"{level}.{inner}.{rest}"


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line, by default that of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="a checkout of the authors' repository")
    parser.add_argument(
        "--base", type=at_least(1), default=32, help="channels of the first level, a multiple of 8"
    )
    parser.add_argument("--size", type=at_least(1), nargs=2, default=[288, 512], metavar=("H", "W"))
    parser.add_argument("--batch", type=at_least(1), default=4, help="images of a training step and of inference")
    parser.add_argument("--events", type=at_least(1), default=16, help="events that are loaded and evaluated")
    parser.add_argument(
        "--side", type=at_least(0), default=1024, help="of the image that is cut into tiles; 0 for none"
    )
    parser.add_argument("--threads", type=at_least(1), default=torch.get_num_threads())
    parser.add_argument("--repeats", type=at_least(1), default=5)
    parser.add_argument("--out", type=Path, help="a JSON file")
    return parser.parse_args(given)


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare results, time every stage, and return all figures with what they depend on."""
    torch.set_num_threads(arguments.threads)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    with tempfile.TemporaryDirectory() as folder:
        stages = measure(arguments, Path(folder))
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    return {**machine(), "settings": settings, "stages": stages}


def main() -> None:
    """Measure, print and store."""
    arguments = parse_arguments()
    found = measured(arguments)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
