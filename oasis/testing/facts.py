"""Checks of facts and options that need no samples."""

from oasis.config.parts import new_loss
from oasis.errors import nearest
from oasis.regions import check_classes
from oasis.testing.case import Case, config_of


def facts(case: Case) -> None:
    """Check facts that need no samples."""
    adapter, require = case.adapter, case.require
    require(isinstance(adapter.classes, tuple), f"classes is {adapter.classes!r}: give a tuple of names")
    check_classes(adapter.classes)
    require(
        adapter.classes == adapter.classes, "classes differ when they are read again: let them follow from options"
    )
    require(adapter.spatial_dims in (1, 2, 3), f"spatial_dims is {adapter.spatial_dims!r}: give 1, 2 or 3")
    require(adapter.bands >= 1, f"bands is {adapter.bands!r}: give at least 1")
    require(adapter.context >= 0, f"context is {adapter.context!r}: give how many channels there are, 0 for none")
    require(isinstance(adapter.unit, str), f"unit is {adapter.unit!r}: give the unit of intensities as text")
    grouped = [name for group in adapter.interchangeable for name in group]
    groups = {
        "interchangeable": grouped,
        "quantities.classes": adapter.quantities.classes,
        "grouping": tuple(adapter.grouping),
    }
    for fact, names in groups.items():
        unknown = [name for name in names if name not in adapter.classes]
        require(not unknown, f"{fact}: unknown class {unknown[:1]}; {nearest(str(unknown[:1]), adapter.classes)}")
    require(
        len(set(grouped)) == len(grouped), f"interchangeable: a class is in two groups: {adapter.interchangeable}"
    )
    require(list(adapter.limits) == list(adapter.classes), "limits: leave them as they are, and state thresholds")


def defaults(case: Case) -> None:
    """Check the default values for runs by using them."""
    case.require("data" not in case.adapter.defaults, "defaults: the section data has its defaults in its options")
    config = config_of(case.adapter)
    new_loss(config, case.adapter, {0: 1})


def options(case: Case) -> None:
    """Check that options are unchanged by writing and reading a configuration file."""
    options = case.adapter.options
    plain = options.model_dump(mode="json")
    again = type(case.adapter)(plain, case.adapter.seed)
    case.require(again.options == options, f"options change when they are saved and read: {plain}")
    for fact in ("classes", "bands", "context", "spatial_dims", "unit", "interchangeable", "limits"):
        same = getattr(again, fact) == getattr(case.adapter, fact)
        case.require(same, f"{fact} differs for the same options: let it follow from them alone")
