"""Options: frozen groups of named settings that refuse unknown names and suggest the most similar known one."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from oasis.errors import ConfigError, nearest, shown


def _without_truth_values(schema: Any) -> Any:
    """Return a schema whose numbers are not read from true and false, which pydantic takes for 1 and 0."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_without_truth_values, schema))
    if not isinstance(schema, dict) or schema.get("function") == _NUMBER:
        return schema
    inner = {key: _without_truth_values(value) for key, value in schema.items()}
    is_number = schema.get("type") in ("int", "float")
    return core_schema.no_info_before_validator_function(_number, inner) if is_number else inner


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


_NUMBER = {"type": "no-info", "function": _number}  # how pydantic writes down this function


class Options(BaseModel):
    """Base class of every group of settings; a subclass declares its fields, their types and defaults.

    Attributes:
        taken_whole: keys whose table is one choice: a new table replaces the default one, see `merge`.
        taken_by_name: keys whose table describes the kind given by its key `name`: a table of another kind
            replaces the default one.

    Example:
        >>> class Noise(Options):
        ...     sigma: float = 1.0
        >>> Noise.parse({"sigma": 2}).sigma
        2.0
        >>> Noise.parse({"sigmo": 2}, where="detector")
        Traceback (most recent call last):
            ...
        oasis.errors.ConfigError: detector.sigmo: unknown key; did you mean 'sigma'?
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    taken_whole: ClassVar[frozenset[str]] = frozenset()
    taken_by_name: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **values: Any) -> None:
        """Build the options from values by name.

        Raises:
            ConfigError: the first key that is unknown or has an invalid value.
        """
        kind = type(self)
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self)
        except ValidationError as error:
            raise ConfigError(_first_problem(kind, error, kind.__name__)) from None

    # This makes pydantic validate nested options with the rest, so that messages contain the whole path of a key.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = _without_truth_values(handler(source))
        return schema

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Build the options from plain values; error messages begin with `where`.

        Raises:
            ConfigError: the first key that is unknown or has an invalid value.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_first_problem(cls, error, where)) from None

    @classmethod
    def merge(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        """Return plain values over others, such as those of a file over defaults; tables are merged key by key.

        Example:
            >>> class Weights(Options):
            ...     taken_whole = frozenset({"by_class"})
            ...     by_class: dict[str, float] = {}
            ...     decay: float = 0.0
            >>> Weights.merge({"by_class": {"a": 1}, "decay": 0.1}, {"by_class": {"b": 2}})
            {'by_class': {'b': 2}, 'decay': 0.1}
        """
        merged = dict(below)
        for key, value in above.items():
            under = below.get(key)
            if isinstance(value, Mapping) and isinstance(under, Mapping) and key not in cls.taken_whole:
                name = under.get("name", cls._default_name(key))
                if key not in cls.taken_by_name or value.get("name", name) == name:
                    value = cls._options_of(key, name).merge(under, value)
            merged[key] = value
        return merged

    @classmethod
    def _default_name(cls, key: str) -> Any:
        """Return the kind of the default of a key."""
        default = cls.model_fields[key].default if key in cls.model_fields else None
        return default.get("name") if isinstance(default, Mapping) else getattr(default, "name", None)

    @classmethod
    def _options_of(cls, key: str, name: Any) -> "type[Options]":
        """Return the options class that validates the table of a key; `Options` if the key is not a field."""
        field = cls.model_fields.get(key)
        choices = [kind for kind in _models(field and field.annotation) if issubclass(kind, Options)]
        named = [kind for kind in choices if _name(kind) == name]
        return (named or choices or [Options])[0]


def _first_problem(options: type[BaseModel], error: ValidationError, where: str) -> str:
    problem = error.errors()[0]
    owner, choices, parts = options, [options], [where]
    for part in map(str, problem["loc"]):
        if "[" in part:  # the name of a type in a union, not of a key
            continue
        named = next((choice for choice in choices if _name(choice) == part), None)
        if named is not None:  # the name of the chosen group of options is not a key
            owner, choices = named, []
            continue
        parts.append(part)
        if part in owner.model_fields:  # keys and indices of containers are not fields
            choices = list(_models(owner.model_fields[part].annotation))
            owner = choices[0] if choices else owner
    path = ".".join(part for part in parts if part)
    if ":" in parts[-1] and problem["input"] is None:  # {train:96}, which YAML reads as one name
        key, _, value = parts[-1].partition(":")
        return f"{path}: YAML needs a space after a colon: {{{shown(key)[1:-1]}: {shown(value)[1:-1]}}}"
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key; {nearest(parts[-1], owner.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not path and problem["type"] == "value_error":  # of several keys, which the message names
        return message
    return f"{path or options.__name__}: {message} (found {shown(problem['input'])}){_hint(problem)}"


def _hint(problem: Mapping[str, Any]) -> str:
    """Return how to correct text that YAML does not read as text, such as a class called NO, or no UTF-8."""
    found = problem["input"]
    if problem["type"] == "string_unicode":  # of a path
        return "; a name has to be valid UTF-8: set PYTHONUTF8=1 where the locale is another, or rename it"
    if problem["type"] != "string_type" or not isinstance(found, bool | int | float):
        return ""
    words = "; YAML reads NO, off and the like as false" if found is False else ""
    words = "; YAML reads YES, on and the like as true" if found is True else words
    return f"{words}; put a name in quotes"


def _name(options: type[BaseModel]) -> Any:
    """Return the name by which one of several groups of options is chosen, if it has one."""
    return options.model_fields["name"].default if "name" in options.model_fields else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
