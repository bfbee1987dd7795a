"""Options: frozen groups of named settings that refuse unknown names, with the nearest known one."""

from collections.abc import Iterator, Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from oasis.errors import ConfigError, nearest, shown


class Options(BaseModel):
    """Base of every group of settings; a subclass names its fields, their types and defaults.

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

    def __init__(self, **values: Any) -> None:
        """Build the options from values by name.

        Raises:
            ConfigError: the first key that is unknown or has a value that does not fit.
        """
        kind = type(self)
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self)
        except ValidationError as error:
            raise ConfigError(_first_problem(kind, error, kind.__name__)) from None

    # Nested options are then validated with the rest, so that messages name the whole path of a key.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Build the options from plain values; `where` names their place in error messages.

        Raises:
            ConfigError: the first key that is unknown or has a value that does not fit.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_first_problem(cls, error, where)) from None


def _first_problem(options: type[BaseModel], error: ValidationError, where: str) -> str:
    problem = error.errors()[0]
    owner, choices, parts = options, [options], [where]
    for part in map(str, problem["loc"]):
        named = next((choice for choice in choices if _name(choice) == part), None)
        if named is not None:  # which of several groups of options was chosen is no key
            owner, choices = named, []
            continue
        parts.append(part)
        if part in owner.model_fields:  # keys and indices of containers are no fields
            choices = list(_models(owner.model_fields[part].annotation))
            owner = choices[0] if choices else owner
    path = ".".join(part for part in parts if part)
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key; {nearest(parts[-1], owner.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path or options.__name__}: {message} (found {shown(problem['input'])}){_hint(problem)}"


def _hint(problem: Mapping[str, Any]) -> str:
    """Return how to mend text that YAML reads as something else, such as a class called NO."""
    found = problem["input"]
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
