"""Quantities of objects and images that a separator can learn to predict."""

from pydantic import Field

from oasis.options import Options


class Quantity(Options):
    """A predicted quantity.

    Attributes:
        name: its name; the truth of a sample is in its metadata, for an object as `<class>_<name>`.
        centre: a typical value, in physical units.
        width: the typical spread around it.
    """

    name: str
    centre: float = 0.0
    width: float = Field(1.0, gt=0)


class Quantities(Options):
    """The predicted quantities.

    Attributes:
        classes: the classes whose objects have predicted quantities; all by default.
        of_object: quantities of the object of each class. An object is present if all of them are finite in the
            metadata.
        of_image: quantities of the whole image.
        directions: groups of names in `of_object` that are the components of a unit vector.
        ordered: groups of classes that are filled in order, for objects that are counted as one decision: the
            second has an object only if the first has one.
    """

    classes: tuple[str, ...] = ()
    of_object: tuple[Quantity, ...] = ()
    of_image: tuple[Quantity, ...] = ()
    directions: tuple[tuple[str, ...], ...] = ()
    ordered: tuple[tuple[str, ...], ...] = ()
