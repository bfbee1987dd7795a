"""The model card of an exported program: what a user of the file must know, as JSON and as text."""

from typing import Any, ClassVar, Literal

from oasis.evaluation.stored import Stored
from oasis.evaluation.surroundings import SizeCheck
from oasis.export.program import Program
from oasis.export.sizes import Sizes
from oasis.io.yaml_text import flow
from oasis.options import Options

FORMAT: Literal["oasis-export-1"] = "oasis-export-1"
GENERATOR = "<!-- written by oasis export -->"
MEANING = {
    "image": "the image in {unit}, as the domain's reader returns it; pixels that are not finite count as 0",
    "context": "the further inputs that the model was trained with",
    "valid": "where the scaling is fitted; all true where nothing is known",
    "maps": "the intensity of every class in {unit}, in the order of the classes",
}


class Tensors(Options):
    """An input or output of the program.

    Attributes:
        name: its name in the file.
        shape: its axes, such as `batch`, `class` or a number.
        type: `float32` or `bool`.
        meaning: what it is.
    """

    name: str
    shape: tuple[str, ...]
    type: str = "float32"
    meaning: str = ""


class Check(Options):
    """The comparison of the program with the separator, on random images.

    Attributes:
        runtime: what ran the program.
        tolerance: the largest difference accepted, relative to the brightest pixel of an image.
        difference: the largest difference found.
        cases: the batches and sizes of the images.
    """

    runtime: str
    tolerance: float
    difference: float
    cases: tuple[str, ...]


class Card(Stored):
    """The model card of an exported program.

    Attributes:
        kind: `onnx` or `torch`.
        classes: the class names, in the order of the maps.
        unit: the unit of the intensities.
        inputs: the inputs, in order.
        outputs: the outputs, in order.
        sizes: the batches and image sizes that it takes, in words.
        size: `any`, `multiples` or `trained`.
        multiple_of: the number that image sizes must be multiples of.
        smallest: the smallest number of pixels along an axis.
        trained_size: the spatial size of the images in training, or None.
        sees_whole_frame: whether a pixel depends on the whole frame, by its normalisation for example.
        size_check: the measured effect of larger surroundings on the maps, or None if it is not known.
        thresholds: by class, the intensity above which it counts as present.
        model: the backbone and its options.
        scaling: the scaling of intensity.
        head: the head.
        data: the domain and the data it was trained on.
        versions: of the software.
        check: the comparison with the separator; None in the card within the file.
        sha256: of the file; "" in the card within it.
    """

    what: ClassVar = "model card"
    format: Literal["oasis-export-1"] = FORMAT
    kind: Literal["onnx", "torch"]
    classes: tuple[str, ...]
    unit: str
    inputs: tuple[Tensors, ...]
    outputs: tuple[Tensors, ...]
    sizes: str
    size: Literal["any", "multiples", "trained"]
    multiple_of: int
    smallest: int
    trained_size: tuple[int, ...] | None
    sees_whole_frame: bool
    size_check: SizeCheck | None = None
    thresholds: dict[str, float] = {}
    model: dict[str, Any] = {}
    scaling: dict[str, Any] = {}
    head: dict[str, Any] = {}
    data: dict[str, Any] = {}
    versions: dict[str, str] = {}
    check: Check | None = None
    sha256: str = ""

    def text(self, name: str) -> str:
        """Return the card as Markdown.

        Args:
            name: the name of the file.
        """
        lines = [GENERATOR, f"# {name}", "", f"Separates {', '.join(self.classes)}; intensities in {self.unit}."]
        lines += ["", "| | tensor | type | meaning |", "|---|---|---|---|"]
        for side, tensors in (("input", self.inputs), ("output", self.outputs)):
            lines += [
                f"| {side} | `{one.name}` ({', '.join(one.shape)}) | {one.type} | {one.meaning} |"
                for one in tensors
            ]
        lines += [
            "",
            f"- **Sizes**: {self.sizes}.",
            f"- **Trained on** {_pixels(self.trained_size)}.",
            self._larger(),
        ]
        lines += [f"- **{key}**: {_listed(getattr(self, key.lower()))}" for key in ("Model", "Scaling", "Head")]
        lines += [f"- **Present above** ({self.unit}): {_listed(self.thresholds)}"] if self.thresholds else []
        lines += [f"- **Data**: {_listed(self.data)}"] if self.data else []
        if self.check is not None:
            lines += [
                f"- **Check**: against the separator with {self.check.runtime} on random images, "
                f"{'; '.join(self.check.cases)}: largest difference {self.check.difference:.1e} of the brightest "
                f"pixel, {self.check.tolerance:.0e} accepted."
            ]
        lines += [f"- **Versions**: {_listed(self.versions)}", f"- **SHA-256** of the file: `{self.sha256}`"]
        lines += [
            "",
            "Intervals of a calibration, grouping into objects and cuts of large images are not in the file.",
        ]
        return "\n".join(lines) + "\n"

    def _larger(self) -> str:
        if self.size_check is None:
            sees = (
                "a pixel depends on the whole frame, so that they may differ"
                if self.sees_whole_frame
                else "unknown"
            )
            return f"- **Maps in larger images**: not measured ({sees})."
        same = "the same" if self.size_check.same else "other than at the size in training"
        return f"- **Maps in larger images**: {same} ({self.size_check.text()})."


def tensors_of(program: Program, sizes: Sizes) -> tuple[tuple[Tensors, ...], tuple[Tensors, ...]]:
    """Return the inputs and outputs of a program."""
    options = program.separator.options
    names = [("x", "y", "z")[axis] for axis in reversed(range(sizes.dims))]
    space = tuple(names) if sizes.kind != "trained" else tuple(map(str, sizes.traced))
    batch, unit = "batch" if sizes.batch == "any" else "1", options.unit or "its own unit"
    channels = {"image": options.bands, "context": options.context, "valid": 1}
    inputs = tuple(
        Tensors(
            name=name,
            shape=(batch, str(channels[name]), *space),
            type="bool" if name == "valid" else "float32",
            meaning=MEANING[name].format(unit=unit),
        )
        for name in program.inputs
    )
    classes = str(len(options.classes))
    maps = Tensors(
        name="maps", shape=(batch, classes, str(options.bands), *space), meaning=MEANING["maps"].format(unit=unit)
    )
    return inputs, (maps, *(Tensors(name=name, shape=(batch, classes)) for name in program.outputs[1:]))


def _pixels(size: tuple[int, ...] | None) -> str:
    return "images of an unknown size" if size is None else f"images of {' x '.join(map(str, size))} pixels"


def _listed(values: dict[str, Any]) -> str:
    return flow(values)[1:-1]
