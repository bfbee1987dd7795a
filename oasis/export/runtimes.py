"""Runtimes: the formats of exported programs, each with how it is traced, stored, run and recognised."""

import io
import json
import logging
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from oasis.errors import ConfigError, ModelError, import_extra, nearest
from oasis.export.card import FORMAT, Card
from oasis.export.program import Program
from oasis.export.sizes import Sizes

KEY = "oasis"  # of the card within a file
LARGEST = 2**31 - 1  # bytes of an ONNX file

Arrays = Sequence[NDArray[Any]]
Call = Callable[[Arrays], Arrays]


class Runtime(ABC):
    """A format of exported programs.

    Attributes:
        kind: its name.
        suffix: that of its files.
    """

    kind: ClassVar[Literal["onnx", "torch"]]
    suffix: ClassVar[str]

    @abstractmethod
    def stored(self, program: Program, sizes: Sizes, card: Card) -> bytes:
        """Return the content of a file with a program for some sizes, and its card."""

    @abstractmethod
    def loaded(self, path: Path) -> Call:
        """Return the function in a file."""

    @abstractmethod
    def is_export(self, path: Path) -> bool:
        """Return whether a file is one that `oasis export` wrote."""

    @property
    @abstractmethod
    def versions(self) -> dict[str, str]:
        """The versions of the software, by name; the one that runs the program comes last."""


class Onnx(Runtime):
    """ONNX, which onnxruntime runs in many languages without torch."""

    kind = "onnx"
    suffix = ".onnx"

    def __init__(self) -> None:
        for module in ("onnxscript", "onnxruntime"):
            import_extra(module, extra="export")
        self.onnx: Any = import_extra("onnx", extra="export")

    def stored(self, program: Program, sizes: Sizes, card: Card) -> bytes:
        """Return the content of a file with a program for some sizes, and its card."""
        exported = _traced(program, sizes)
        converted = torch.onnx.export(
            exported, (), dynamo=True, verbose=False, input_names=program.inputs, output_names=program.outputs
        )
        if converted is None:
            raise ModelError("torch made no program")
        model = converted.model_proto
        if sizes.kind != "trained":
            self._check_sizes(model, sizes)
        self.onnx.helper.set_model_props(model, {KEY: card.model_dump_json()})
        if model.ByteSize() > LARGEST:
            raise ModelError(f"the model has {model.ByteSize() / 1e9:.1f} GB, an ONNX file at most 2 GB")
        return bytes(model.SerializeToString())

    def _check_sizes(self, model: Any, sizes: Sizes) -> None:
        """Make a program fail for images of sizes that it was not made for; else it would give other maps.

        Lengths of an image that are too small, or no multiples, become an index outside of an array of one number,
        by which the image is multiplied. The name of the node is part of the error.
        """
        helper, numbers = self.onnx.helper, self.onnx.numpy_helper
        graph = model.graph
        image = graph.input[0].name
        used = f"{image}_of_valid_size"
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == image:
                    node.input[place] = used
        values = {
            "size_least": np.array(sizes.least),
            "size_step": np.array(sizes.step),
            "size_zero": np.array(0),
            "size_two": np.array(2),
            "size_one": np.ones(1, np.float32),
        }
        graph.initializer.extend([numbers.from_array(value, name) for name, value in values.items()])
        name = f"images_of_{sizes.least}_pixels_or_more" + (
            f"_in_multiples_of_{sizes.step}" if sizes.step > 1 else ""
        )
        steps: tuple[tuple[str, list[str], str, dict[str, int]], ...] = (
            ("Shape", [image], "size_found", {"start": 2}),
            ("Sub", ["size_found", "size_least"], "size_beyond", {}),
            ("Min", ["size_beyond", "size_zero"], "size_lacking", {}),
            ("Mod", ["size_found", "size_step"], "size_rest", {}),
            ("Sub", ["size_lacking", "size_rest"], "size_wrong", {}),
            ("Mul", ["size_wrong", "size_two"], "size_index", {}),
            ("Gather", ["size_one", "size_index"], "size_checked", {}),
            ("ReduceProd", ["size_checked"], "size_factor", {"keepdims": 0}),
            ("Mul", [image, "size_factor"], used, {}),
        )
        nodes = [
            helper.make_node(kind, inputs, [output], name=name if kind == "Gather" else output, **further)
            for kind, inputs, output, further in steps
        ]
        kept = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, *kept])

    def loaded(self, path: Path) -> Call:
        """Return the function in a file."""
        runtime = import_extra("onnxruntime", extra="export")
        session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))

    def is_export(self, path: Path) -> bool:
        """Return whether a file is one that `oasis export` wrote."""
        found = {one.key: one.value for one in self.onnx.load(path, load_external_data=False).metadata_props}
        return _is_card(found.get(KEY, "{}"))

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the software, by name; the one that runs the program comes last."""
        runtime = import_extra("onnxruntime", extra="export")
        return {"torch": torch.__version__, "onnx": self.onnx.__version__, "onnxruntime": runtime.__version__}


class Torch(Runtime):
    """A program of `torch.export`, which torch runs without this package."""

    kind = "torch"
    suffix = ".pt2"

    def stored(self, program: Program, sizes: Sizes, card: Card) -> bytes:
        """Return the content of a file with a program for some sizes, and its card."""
        file = io.BytesIO()
        torch.export.save(_traced(program, sizes), file, extra_files={KEY: card.model_dump_json()})
        return file.getvalue()

    def loaded(self, path: Path) -> Call:
        """Return the function in a file."""
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()

        def call(arrays: Arrays) -> Arrays:
            with torch.no_grad():
                return [found.numpy() for found in module(*map(torch.from_numpy, arrays))]

        return call

    def is_export(self, path: Path) -> bool:
        """Return whether a file is one that `oasis export` wrote."""
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == KEY]
            return bool(names) and _is_card(archive.read(names[0]).decode())

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the software, by name; the one that runs the program comes last."""
        return {"torch": torch.__version__}


RUNTIMES: dict[str, type[Runtime]] = {"onnx": Onnx, "torch": Torch}


def find_runtime(name: str) -> Runtime:
    """Return the runtime of a format.

    Raises:
        ConfigError: there is no such format.
        MissingExtraError: its packages are not installed.
    """
    if name not in RUNTIMES:
        raise ConfigError(f"format: unknown {name!r}; {nearest(name, RUNTIMES)}")
    return RUNTIMES[name]()


def check_suffix(path: Path, name: str) -> None:
    """Check that a file is not named as one of another format.

    Raises:
        ConfigError: it is.
    """
    named = next((other for other, one in RUNTIMES.items() if one.suffix == path.suffix), name)
    if named != name:
        raise ConfigError(f"{path}: a file of the format {named}, not {name}: add --format {named}")


def _traced(program: Program, sizes: Sizes) -> Any:
    example = program.example(2 if sizes.batch == "any" else 1, sizes.traced)
    axes = sizes.dynamic(len(program.inputs))
    with torch.no_grad():
        return torch.export.export(
            program, example, dynamic_shapes=None if axes is None else (axes,), strict=False
        )


def _is_card(text: str) -> bool:
    return bool(json.loads(text).get("format") == FORMAT)


@contextmanager
def silent() -> Iterator[None]:
    """Keep the warnings and logs of tracing and conversion from the user."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(disabled)
