"""The export of a separator: traced for the most general sizes, compared with the separator, then written."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import oasis
from oasis.errors import ModelError
from oasis.evaluation.surroundings import SizeCheck
from oasis.export.card import FORMAT, GENERATOR, Card, Check, tensors_of
from oasis.export.program import Program
from oasis.export.runtimes import Call, Runtime, check_suffix, find_runtime, silent
from oasis.export.sizes import Sizes, possible
from oasis.io.files import digest, one_line, replace_alone
from oasis.io.outputs import Recogniser, check_named
from oasis.io.texts import read_json, read_text, write_text
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)

SIZES = ("auto", "any", "trained")  # image sizes that a user can ask for
TOLERANCE = 2e-4  # largest difference from the separator, relative to the brightest pixel of an image


@dataclass(frozen=True)
class ExportFacts:
    """What a model card says beyond the separator itself.

    Attributes:
        thresholds: by class, the intensity above which it counts as present.
        size_check: the measured effect of larger surroundings on the maps, or None.
        data: the domain and the data it was trained on.
    """

    thresholds: Mapping[str, float]
    size_check: SizeCheck | None
    data: Mapping[str, Any]


def export_separator(separator: Separator, path: Path, kind: str, facts: ExportFacts, fixed: bool = False) -> Card:
    """Write a separator as a program, with its model card beside it, and return the card.

    The program is compared with the separator in its runtime before any file is written.

    Args:
        separator: the separator.
        path: the file of the program.
        kind: `onnx` or `torch`.
        facts: facts for the card.
        fixed: only for images of the size in training.

    Raises:
        ConfigError: the path is named as a file of another format.
        ModelError: the model cannot be exported, or the program differs from the separator.
        MissingExtraError: packages are not installed.
        DataError: the path cannot be written to.
    """
    runtime = find_runtime(kind)
    check_suffix(path, kind)
    program = Program(copy.deepcopy(separator).cpu().eval())
    problems = []
    for sizes in possible(separator.backbone, separator.options.trained_size, fixed):
        card = _card(program, sizes, runtime, facts)
        try:
            with silent(), replace_alone(path) as temporary:
                temporary.write_bytes(_content(runtime, program, sizes, card))
                check = compare(program, runtime.loaded(temporary), sizes, runtime)
        except _UnableError as error:
            problems.append(str(error))
            logger.info("no program for %s: %s", sizes.text(), error)
            continue
        card = card.model_copy(update={"check": check, "sha256": digest(path)})
        json_path, text_path = cards_of(path)
        write_text(text_path, card.text(path.name))
        card.save(json_path)
        return card
    raise ModelError(f"model {separator.options.model.get('name')}: cannot be exported as {kind}: {problems[-1]}")


def cards_of(path: Path) -> tuple[Path, Path]:
    """Return the files of the model card of a program, as JSON and as text.

    Raises:
        ConfigError: the program has no name of its own.
    """
    check_named(path, "model.onnx")
    return path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.md")


def recognisers(path: Path, kind: str) -> dict[Path, Recogniser]:
    """Return the files that an export writes, each with the function that recognises an earlier one."""
    json_path, text_path = cards_of(path)
    return {
        path: find_runtime(kind).is_export,
        json_path: lambda found: read_json(found).get("format") == FORMAT,
        text_path: lambda found: read_text(found).startswith(GENERATOR),
    }


def compare(program: Program, call: Call, sizes: Sizes, runtime: Runtime) -> Check:
    """Compare a stored program with the separator on random images of several sizes and batches.

    Raises:
        ModelError: it fails, or differs by more than the tolerance.
    """
    largest, cases = 0.0, sizes.cases()
    for seed, (batch, size) in enumerate(cases):
        example = program.example(batch, size, seed)
        with torch.inference_mode():
            expected = [one.numpy() for one in program(*example)]
        where = f"{batch} x {' x '.join(map(str, size))} pixels"
        try:
            found = call([one.numpy() for one in example])
        except Exception as error:
            raise _UnableError(f"the program fails for {where}: {one_line(error)}") from error
        peak = np.nan_to_num(example[0].numpy()).reshape(batch, -1).max(1)
        difference = max(_difference(*pair, peak) for pair in zip(found, expected, strict=True))
        largest = max(largest, difference)
        if not difference <= TOLERANCE:
            raise _UnableError(f"the program differs from the separator by {difference:.1e} for {where}")
    *_, (name, version) = runtime.versions.items()
    texts = tuple(f"{batch} of {' x '.join(map(str, size))}" for batch, size in cases)
    return Check(runtime=f"{name} {version}", tolerance=TOLERANCE, difference=largest, cases=texts)


class _UnableError(ModelError):
    """A program that cannot be made for some sizes."""


def _content(runtime: Runtime, program: Program, sizes: Sizes, card: Card) -> bytes:
    try:
        return runtime.stored(program, sizes, card)
    except Exception as error:  # of torch, onnx and the network's own code
        raise _UnableError(one_line(error)) from error


def _difference(found: NDArray[Any], expected: NDArray[Any], peak: NDArray[Any]) -> float:
    """Return the largest difference in units of the largest number of an image: its brightest pixel, or beyond."""
    if found.shape != expected.shape or (np.isnan(found) != np.isnan(expected)).any():
        return np.inf
    rows, wanted = (np.nan_to_num(one).reshape(len(peak), -1) for one in (found, expected))
    scale = np.maximum(np.maximum(peak, np.abs(wanted).max(1)), 1e-6)
    return float((np.abs(rows - wanted).max(1) / scale).max())


def _card(program: Program, sizes: Sizes, runtime: Runtime, facts: ExportFacts) -> Card:
    options = program.separator.options
    inputs, outputs = tensors_of(program, sizes)
    return Card(
        kind=runtime.kind,
        classes=options.classes,
        unit=options.unit,
        inputs=inputs,
        outputs=outputs,
        sizes=sizes.text(),
        size=sizes.kind,
        multiple_of=sizes.step,
        smallest=sizes.least,
        trained_size=options.trained_size,
        sees_whole_frame=program.separator.sees_whole_frame,
        size_check=facts.size_check,
        thresholds=dict(facts.thresholds),
        model=options.model,
        scaling=options.scaling.model_dump(),
        head=options.head.model_dump(),
        data=dict(facts.data),
        versions={"oasis-seg": oasis.__version__, **runtime.versions},
    )
