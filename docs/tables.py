"""The tables of the reference pages, made from the options themselves so that they cannot go stale."""

import inspect
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic_core import PydanticUndefined

from oasis.options import Options

NAMES = {int: "integer", float: "number", bool: "true or false", str: "text", Path: "path", Any: "any"}
BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def options_table(options: type[Options], texts: Mapping[str, str] | None = None) -> str:
    """Return one row per key of a group of options: name, type, default, meaning.

    Raises:
        KeyError: a key that is described neither in the class's docstring, nor in its field, nor in `texts`.
    """
    known = {**described(options, "Attributes"), **(texts or {})}
    rows = []
    for name, field in options.model_fields.items():
        limits = ((sign, getattr(limit, key)) for limit in field.metadata for sign, key in _bound(limit))
        bounds = [f", {sign}\u00a0{_bound_text(value)}" for sign, value in limits]
        default = field.get_default(call_default_factory=True)
        rows.append(
            (
                f"`{name}`",
                type_name(field.annotation) + "".join(bounds),
                default_text(default),
                _text(name, field, known),
            )
        )
    return table(("key", "type", "default", "meaning"), rows)


def arguments_table(kind: type, leave_out: set[str]) -> str:
    """Return one row per argument of a class's constructor, as its docstring states them."""
    texts = described(kind, "Args")
    rows = [
        (f"`{name}`", type_name(parameter.annotation), default_text(parameter.default), texts[name])
        for name, parameter in inspect.signature(kind).parameters.items()
        if name not in leave_out
    ]
    return table(("key", "type", "default", "meaning"), rows)


def command_tables(app: typer.Typer) -> dict[str, str]:
    """Return for every command its help, its usage and its options, by `command_NAME`.

    Raises:
        KeyError: an option without help, other than those that all commands have.
    """
    return {
        f"command_{name.replace('-', '_')}": _of_command(name, command)
        for name, command in typer.main.get_command(app).commands.items()
    }


def _of_command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words = [one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments]
    rows = [
        (f"`{one.name.upper()}`", "required" if one.required else "", help_text(one.help)) for one in arguments
    ]
    for one in (one for one in command.params if one.param_type_name == "option"):
        hidden = one.is_flag or callable(one.default) or one.multiple
        default = "" if hidden or one.default in (None, False, "") else one.default
        value = "" if one.is_flag else " VALUE"
        shown = "required" if one.required else (f"`{default}`" if default != "" else "")
        if one.secondary_opts and one.default:
            shown = f"`{one.opts[0]}`"
        rows.append((f"`{', '.join([*one.opts, *one.secondary_opts])}{value}`", shown, help_text(one.help)))
    usage = " ".join(["oasis", name, *words, *(["[OPTIONS]"] if len(rows) > len(arguments) else [])])
    parts = [sentence(command.help or ""), f"```text\n{usage}\n```"]
    return "\n\n".join([*parts, table(("argument or option", "default", "meaning"), rows)] if rows else parts)


def help_text(text: str | None) -> str:
    """Return the help of an option as Markdown that shows every sign of it.

    Example:
        >>> print(help_text("with --each a folder: a* or b*"))
        with `--each` a folder: a\\* or b\\*
    """
    return re.sub(r"(?<![\w-])--[\w-]+", r"`\g<0>`", (text or "").replace("*", "\\*"))


def columns_table(columns: Mapping[str, str]) -> str:
    """Return one row per column of an event table."""
    return table(("column", "meaning"), [(f"`{name}`", text) for name, text in columns.items()])


def terms_table(terms: Mapping[str, type[Options]]) -> str:
    """Return one row per option of every term of the loss, after the weight that they all have."""
    rows = []
    for name, term in terms.items():
        known = described(term, "Attributes")
        options = [f"`{key}`: {known[key].rstrip('.')}" for key in term.model_fields if key != "weight"]
        rows.append(
            (f"`{name}`", sentence(inspect.cleandoc(term.__doc__ or "").split("\n\n")[0]), "; ".join(options))
        )
    return table(("term", "what it is", "options beside `weight`"), rows)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def described(kind: type, section: str) -> dict[str, str]:
    """Return the entries `name: text` of a section of a class's Google docstring, and of those it inherits from.

    Example:
        >>> list(described(Options, "Attributes"))
        ['taken_whole', 'taken_by_name']
    """
    found = {}
    for one in (one for one in reversed(kind.__mro__) if one is kind or issubclass(one, Options)):
        _, _, rest = inspect.cleandoc(one.__doc__ or "").partition(f"{section}:\n")
        body = re.split(r"\n(?=\S)", rest)[0]
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", body, flags=re.MULTILINE)
        found |= {name: sentence(text) for name, text in entries}
    return found


def sentence(text: str) -> str:
    """Return a text on one line, with its mathematics as Markdown has it.

    Example:
        >>> sentence("A of :math:`x^2`,\\n    in mm")
        'A of $x^2$, in mm'
    """
    return re.sub(r":math:`([^`]*)`", r"$\1$", " ".join(text.split()))


def type_name(annotation: Any) -> str:
    """Return the type of a key in words.

    Example:
        >>> type_name(int | None), type_name(Literal["a", True]), type_name(tuple[int, int])
        ('integer or null', '`a` or `true`', 'list of 2: integer')
    """
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return "section"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(default_text(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(value) for value in arguments))
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is dict:
        return f"{type_name(arguments[1])} by name" if arguments[1] is not Any else "section"
    if origin is tuple and arguments[1:] == (...,):
        return f"list: {type_name(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: {type_name(arguments[0])}"
    return NAMES[annotation]


def default_text(default: Any) -> str:
    """Return a default as it would be written in YAML."""
    if default is PydanticUndefined or default is inspect.Parameter.empty:
        return "required"
    if isinstance(default, Options):
        return "as below"
    text = yaml.safe_dump(_plain(default), default_flow_style=True, width=1000)
    return f"`{text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}`"


def yaml_block(values: Mapping[str, Any]) -> str:
    """Return values as a block of YAML."""
    return f"```yaml\n{yaml.safe_dump(_plain(values), sort_keys=False, default_flow_style=None)}```"


def _bound(limit: Any) -> list[tuple[str, str]]:
    return [sign for kind, sign in BOUNDS.items() if isinstance(limit, kind)]


def _bound_text(value: float) -> str:
    """Return a bound as it is read.

    Example:
        >>> _bound_text(-1e9), _bound_text(0.0), _bound_text(8192), _bound_text(2**64 - 1)
        ('−1e9', '0', '8192', '2⁶⁴ − 1')
    """
    if value == 2**64 - 1:
        return "2⁶⁴ − 1"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"e\+?(-?)0*", r"e\1", text).replace("-", "−")


def _text(name: str, field: Any, known: Mapping[str, str]) -> str:
    return str(field.description) if field.description else known[name]


def _plain(value: Any) -> Any:
    """Return a value as YAML shows it best: lists for tuples, numbers of six digits."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def surveys_table(surveys: Mapping[str, tuple[float, Mapping[str, Any]]]) -> str:
    """Return a Markdown table of the presets of surveys."""
    rows = [
        "| survey | pixel, arcsec | band | wavelength, nm | PSF | noise | electrons per nmgy |",
        "|" + " --- |" * 7,
    ]
    for name, (scale, bands) in surveys.items():
        for number, (band, one) in enumerate(bands.items()):
            first = f"`{name}` | {scale:g}" if not number else " | "
            facts = f"{one.wavelength:.0f} | {one.psf_fwhm:g} | {one.sky:.2g} | {one.gain:.3g}"
            rows.append(f"| {first} | {band} | {facts} |")
    return "\n".join(rows)


def colab_links(notebooks: Iterable[str], source: str, version: str) -> str:
    """Return what opens notebooks in Google Colab: links to the files of a version, if it is on GitHub.

    Args:
        notebooks: the names of the notebooks.
        source: the address of the public repository; empty if there is none.
        version: the version, whose tag is v and the version.

    Example:
        >>> colab_links(["first_steps"], "https://github.com/o/n/", "1.0").splitlines()[2]
        '- [first steps](https://colab.research.google.com/github/o/n/blob/v1.0/docs/notebooks/first_steps.ipynb)'
        >>> "Upload notebook" in colab_links(["first_steps"], "", "1.0")
        True
    """
    colab, github = "https://colab.research.google.com", "https://github.com/"
    if not source.startswith(github):
        return f"In [Colab]({colab}/#create=true)\nchoose *File*, *Upload notebook*,\nand the file of a notebook."
    place = f"{colab}/github/{source.removeprefix(github).rstrip('/')}/blob/v{version}/docs/notebooks"
    links = [f"- [{name.replace('_', ' ')}]({place}/{name}.ipynb)" for name in notebooks]
    return "\n".join(["Open in Colab:", "", *links])
