"""HTML: how objects show themselves in a notebook, as a table of facts with pictures below."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple


class Shown(NamedTuple):
    """A picture: its caption and its data URI."""

    caption: str
    source: str


def facts_html(title: str, facts: Mapping[str, object], pictures: Sequence[Shown] = ()) -> str:
    """Return facts as HTML, every text escaped.

    Args:
        title: what they are of.
        facts: by name.
        pictures: which are shown below.

    Example:
        >>> facts_html("Sample", {"id": "a<b"})
        '<table><caption>Sample</caption><tr><th>id</th><td>a&lt;b</td></tr></table>'
    """
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(fact)}</td></tr>" for name, fact in facts.items())
    table = f"<table><caption>{_text(title)}</caption>{rows}</table>"
    if not pictures:
        return table
    figures = "".join(
        f'<figure style="display:inline-block;margin:4px"><img alt="{_text(caption)}" width="160" '
        f'style="image-rendering:pixelated" src="{source}"/>'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
        for caption, source in pictures
    )
    return f"{table}<div>{figures}</div>"


def table_html(columns: Mapping[str, Sequence[str]]) -> str:
    """Return columns of texts as an HTML table, every text escaped; nothing where there are none.

    Example:
        >>> table_html({"class": ["a<b"], "x": ["1"]})
        '<table><tr><th>class</th><th>x</th></tr><tr><td>a&lt;b</td><td>1</td></tr></table>'
    """
    if not columns:
        return ""
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    rows = zip(*columns.values(), strict=True)
    body = "".join(f"<tr>{''.join(f'<td>{_text(one)}</td>' for one in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def text_html(title: str, text: str) -> str:
    """Return a text table as HTML that keeps its columns.

    Example:
        >>> text_html("Summary", "1 < 2")
        '<p>Summary</p><pre>1 &lt; 2</pre>'
    """
    return f"<p>{_text(title)}</p><pre>{_text(text)}</pre>"


def _text(value: object) -> str:
    """Return text for HTML, with the codes of control characters in their place."""
    return escape("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(value)))
