"""Separators on disk: one safetensors file with the weights and the options."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from oasis.errors import ModelError, import_extra, nearest, shown
from oasis.io.files import replace_when_whole
from oasis.io.kept_code import KeptCode
from oasis.io.run_files import WEIGHTS, RunFiles
from oasis.io.texts import parse_json, write_text
from oasis.plugins import is_code
from oasis.separator.options import OWN, SeparatorOptions
from oasis.zoo.folders import PREFIX, zoo_folder

FORMAT = "oasis-separator-1"
CONFIG = "config.json"


def save_separator(module: nn.Module, options: SeparatorOptions, folder: Path) -> None:
    """Write the weights with the options, and the options as `config.json` for readers and model hubs.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    text = options.model_dump_json(indent=2)
    weights = {name: value.detach().cpu().contiguous() for name, value in own_weights(module).items()}
    blob = safetensors_bytes(weights, metadata={"format": FORMAT, "options": text})
    with replace_when_whole(folder / WEIGHTS) as temporary:
        temporary.write_bytes(blob)
    write_text(folder / CONFIG, text + "\n")


def own_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module; a tensor with several names, as in MONAI's DynUNet, appears once."""
    named: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        named.setdefault(id(value), (name, value))
    return dict(named.values())


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights that must match exactly.

    Raises:
        ModelError: names are missing or unexpected, or shapes differ.
    """
    expected = {name: tuple(value.shape) for name, value in own_weights(module).items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    differing = [name for name in expected if found.get(name) != expected[name]]
    differing += [name for name in found if name not in expected]
    if differing:
        name = differing[0]
        raise ModelError(
            f"{where}: {len(differing)} weights do not match, first {name!r}: "
            f"expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
        )
    module.load_state_dict(dict(weights), strict=False)  # second names of shared tensors are missing


def read_options(source: str | Path) -> SeparatorOptions:
    """Return the options of a saved separator; nothing is built and no code is run.

    Args:
        source: a run, a folder, a `.safetensors` file or a hub id, as for `load`.

    Raises:
        ModelError: there is no separator, or it is damaged or of another kind.
    """
    path = find_weights(source)
    with opened(path) as file:
        return stated_options(file, path)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file (truncated?): {error}") from None


def stated_options(file: Any, path: Path) -> SeparatorOptions:
    """Return the options in an opened file.

    Raises:
        ModelError: they are missing or from another program.
    """
    metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: not a separator of oasis-seg (format {shown(metadata.get('format'))})")
    described = parse_json(metadata.get("options", ""), f"{path}: options", ModelError)
    return SeparatorOptions.parse(described, where=str(path))


def check_buildable(options: SeparatorOptions, trust_code: bool, path: Path) -> None:
    """Check that a backbone can be built without running untrusted code.

    Raises:
        ModelError: it is defined in a code file, or is a module that the author passed in.
    """
    name = str(options.model.get("name"))
    if is_code(name) and not trust_code:
        raise ModelError(
            f"{path}: its backbone is code in {name.rpartition(':')[0]}, which is not executed without "
            "permission: pass trust_code=True (--trust-code), or the module itself as backbone="
        )
    if name.startswith(OWN):
        raise ModelError(
            f"{path}: its backbone is its author's own module {name.removeprefix(OWN)}: pass it as backbone="
        )


def without_fetching(options: SeparatorOptions, path: Path) -> SeparatorOptions:
    """Return options without pretrained weights, since the file contains all weights; code is the run's copy."""
    drawn = {key: None if key == "encoder_weights" else value for key, value in options.model.items()}
    name = str(drawn.get("name"))
    if is_code(name):
        drawn["name"] = KeptCode(RunFiles(path.parent).code).located(name)
    return options.model_copy(update={"model": drawn})


def find_weights(source: str | Path) -> Path:
    """Return the weights file of a run, a folder, a model of the zoo or a hub id, or the file itself.

    Raises:
        ModelError: there is no such file.
        MissingExtraError: the package for hub ids is not installed.
    """
    path = Path(source)
    if path.is_file():
        return path
    if isinstance(source, str) and source.startswith(PREFIX):
        return zoo_folder(source.removeprefix(PREFIX)) / WEIGHTS
    if path.is_dir():
        if (path / WEIGHTS).is_file():
            return path / WEIGHTS
        raise ModelError(f"{path}: contains no {WEIGHTS}: is it a run, and did its training complete an epoch?")
    if isinstance(source, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        parent = path.parent
        if parent.is_dir():
            names = [entry.name for entry in parent.iterdir() if entry.is_dir()]
            raise ModelError(
                f"{source}: no such run; {nearest(path.name, names) if names else 'there is none in this folder'}"
            )
        hub = import_extra("huggingface_hub", extra="hub")
        try:
            return Path(hub.hf_hub_download(source, WEIGHTS))
        except Exception as error:
            raise ModelError(f"{source}: no such file or folder, and not found on the hub: {error}") from None
    raise ModelError(f"{source}: no such file or folder")
