"""Quantities: which numbers of objects and images a separator can learn to predict."""

from pydantic import Field

from oasis.options import Options


class Quantity(Options):
    """A number that is predicted.

    Attributes:
        name: of the number; the truth of a sample is in its meta, for an object as `<class>_<name>`.
        centre: a typical value, in physical units.
        width: how far values lie around it.
    """

    name: str
    centre: float = 0.0
    width: float = Field(1.0, gt=0)


class Quantities(Options):
    """Which numbers are predicted.

    Attributes:
        classes: whose objects they are predicted of; all by default.
        of_object: of the object of each class. An object is there if all of them are finite in the meta.
        of_image: of the whole image.
        directions: groups of names of `of_object` that are the components of a unit vector.
    """

    classes: tuple[str, ...] = ()
    of_object: tuple[Quantity, ...] = ()
    of_image: tuple[Quantity, ...] = ()
    directions: tuple[tuple[str, ...], ...] = ()
