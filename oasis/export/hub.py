"""The model hub: a run as a repository of the Hugging Face hub, with a card that says what it is and how good."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from oasis.errors import ConfigError, DataError, import_extra
from oasis.io.files import one_line
from oasis.io.texts import write_text
from oasis.io.yaml_text import flow

EXTRA = "hub"
CARD = "README.md"
NAME = re.compile(r"[\w.-]+/[\w.-]+")
TEMPLATE = """---
library_name: oasis-seg
pipeline_tag: image-segmentation
tags: [image-segmentation, image-to-image, overlap, oasis-seg]
{licence}---

# {title}

Separates an image in which {classes} overlap into the intensity of each, in {unit}.

```python
import oasis

separator = oasis.load("{repository}")  # pip install 'oasis-seg[hub]'
maps = separator.separate(image)  # {{{named}}}, in the unit of the image
```

Maps are right as far as images look like those of the training: the same instrument, the same kinds of objects,
the same unit and zero point.

| | |
|---|---|
{facts}

## Evaluation

{evaluation}
"""


def hub_card(
    repository: str,
    classes: Sequence[str],
    unit: str,
    facts: Mapping[str, str],
    summary: str | None,
    licence: str | None,
) -> str:
    """Return a model card as Markdown.

    Args:
        repository: `owner/name`.
        classes: the class names.
        unit: of the intensities.
        facts: what is to be known of the training, by name.
        summary: how good the model is on held-out samples; None if that was not measured.
        licence: its identifier on the hub, such as `mit`.

    Example:
        >>> card = hub_card("me/cells", ("a", "b"), "photons", {"seed": "0"}, None, "mit")
        >>> card.splitlines()[4:8]
        ['license: mit', '---', '', '# cells']
    """
    cells = [(name, text.replace("|", "\\|").replace("\n", " ")) for name, text in facts.items()]
    return TEMPLATE.format(
        licence="" if licence is None else f"{flow({'license': licence})[1:-1]}\n",
        title=repository.partition("/")[2],
        classes=" and ".join(classes),
        unit=unit or "the unit of the image",
        repository=repository,
        named=", ".join(f'"{name}": array' for name in classes),
        facts="\n".join(f"| {name} | {text} |" for name, text in cells),
        evaluation="Not measured on held-out samples." if summary is None else f"```text\n{summary}\n```",
    )


def push(files: Sequence[Path], card: str, repository: str, private: bool, token: str | None = None) -> str:
    """Upload files with a card to a repository of the hub, new or existing, and return its address.

    Args:
        files: the files, each under its own name.
        card: the model card.
        repository: `owner/name`.
        private: whether a new repository can be seen by its owner alone.
        token: of access; by default that of `hf auth login` or of the environment.

    Raises:
        ConfigError: the name is not one of a repository.
        DataError: the hub cannot be reached, or refuses.
        MissingExtraError: huggingface_hub is not installed.
    """
    check_name(repository)
    hub = import_extra("huggingface_hub", EXTRA)
    with tempfile.TemporaryDirectory(prefix="oasis-push-") as folder:
        for file in files:
            shutil.copyfile(file, Path(folder) / file.name)
        write_text(Path(folder) / CARD, card)
        try:
            api = hub.HfApi(token=token, library_name="oasis-seg")
            address = str(api.create_repo(repository, private=private, exist_ok=True))
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a separator")
        except Exception as error:  # whatever the hub, the network or the token is wrong with
            raise DataError(
                f"{repository}: cannot be pushed to the hub: {one_line(error)} (signed in with  hf auth login ?)"
            ) from error
    return address


def check_name(repository: str) -> None:
    """Check that a name is one of a repository.

    Raises:
        ConfigError: it is not.
    """
    if not NAME.fullmatch(repository):
        raise ConfigError(f"{repository!r}: expected the name of a repository of the hub, such as owner/name")
