"""Fields of a frozen dataclass that are computed when they are first read."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast, overload

T = TypeVar("T")


class Deferred(Generic[T]):
    """A field that is None, a value, or a function without arguments that is called when the field is first read.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Shot:
        ...     table: Deferred[list[int]] = Deferred()
        >>> Shot(lambda: [1, 2]).table, Shot([3]).table, Shot().table
        ([1, 2], [3], None)
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> None: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T | None: ...
    def __get__(self, instance: object | None, owner: type) -> T | None:
        if instance is None:  # a dataclass asks for the default
            return None
        value = vars(instance)[self.name]
        if callable(value):
            value = vars(instance)[self.name] = value()
        return cast("T | None", value)

    def __set__(self, instance: object, value: T | Callable[[], T] | None) -> None:
        vars(instance)[self.name] = value

    def changed(self, instance: object, change: Callable[[T], T]) -> Callable[[], T] | None:
        """Return a function that computes the changed value later, or None if there is no value."""
        value: Any = vars(instance)[self.name]
        if value is None:
            return None
        return lambda: change(value() if callable(value) else value)
