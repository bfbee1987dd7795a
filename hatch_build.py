"""The long description of the package: the README with links that work where only the package is known.

Relative links lead to the repository in `project.urls.Source`, to the files of this version. Without a repository
their text remains, and pictures are left out. `python hatch_build.py` checks that a release has a repository.
"""

import re
import sys
import tomllib
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?://)([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://|mailto:|#)([^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", flags=re.MULTILINE | re.DOTALL)


def published(readme: str, source: str | None, version: str) -> str:
    r"""Return a README whose links and pictures are absolute.

    Args:
        readme: the text, in Markdown.
        source: the address of the repository, such as https://example.org/owner/name, if there is one.
        version: the version, whose tag is v and the version.

    Example:
        >>> published("[terms](docs/index.md#terms) ![a](b.png)", "https://example.org/o/n/", "1.0")
        '[terms](https://example.org/o/n/blob/v1.0/docs/index.md#terms) ![a](https://example.org/o/n/raw/v1.0/b.png)'
        >>> published("see [the `terms`](docs/index.md)\n\n![a](b.png)\n", None, "1.0")
        'see the `terms`\n'
    """
    base = source.rstrip("/") if source else ""
    kept: list[str] = []

    def keep(code: re.Match[str]) -> str:
        kept.append(code[0])
        return f"\0{len(kept) - 1}\0"

    text = CODE.sub(keep, readme)
    if base:
        text = PICTURE.sub(rf"![\1]({base}/raw/v{version}/\2)", text)
        text = LINK.sub(rf"[\1]({base}/blob/v{version}/\2)", text)
    else:
        text = re.sub(r"\n\n+(?=\n\n)", "", LINK.sub(r"\1", PICTURE.sub("", text))).rstrip() + "\n"
    return re.sub("\0(\\d+)\0", lambda place: kept[int(place[1])], text)


class CustomMetadataHook(MetadataHookInterface):
    """Writes the long description when a wheel or a source distribution is built."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set the field `readme`."""
        urls = metadata.get("urls")
        source = urls.get("Source") if isinstance(urls, dict) else None
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        readme = published(text, source, str(metadata["version"]))
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def main() -> str | None:
    """Return what a release lacks, if anything."""
    project = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))["project"]
    if project["urls"].get("Source", "").startswith("https://"):
        return None
    return (
        "pyproject.toml: project.urls has no Source, the public repository that the links and pictures of the "
        'README need on PyPI: state it as Source = "https://..." before a release'
    )


if __name__ == "__main__":
    sys.exit(main())
