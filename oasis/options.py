"""Options: frozen groups of named settings that refuse unknown names, with the nearest known one."""

from collections.abc import Iterator, Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from oasis.errors import ConfigError, nearest


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
    path = ".".join(str(part) for part in (where, *problem["loc"]) if part != "")
    if problem["type"] == "extra_forbidden":
        owner = options
        for part in problem["loc"][:-1]:  # keys and indices of containers are no fields
            if part in owner.model_fields:
                owner = next(_models(owner.model_fields[str(part)].annotation), owner)
        return f"{path}: unknown key; {nearest(str(problem['loc'][-1]), owner.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path or options.__name__}: {message} (found {problem['input']!r})"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
