"""Superclasses: groups of similar classes, named in the settings."""

from collections.abc import Iterable
from dataclasses import replace

from gendistill.data.images import Images
from gendistill.errors import UserError

WHERE = "Change the YAML file that dataset.superclasses names, or set the path of another one, as in config/superclasses/."


def apply_superclasses(data: Images, mapping: dict[str, list[str]]) -> Images:
    """The same images, with each class in one superclass; superclasses that `data` had before are forgotten.

    Args:
        data: the data set.
        mapping: for each superclass the names of its classes; superclasses are numbered in alphabetical order.

    Raises:
        UserError: a class is in no superclass or in two, a name is no class of the data set, or a superclass has no class.
    """
    superclasses = sorted(mapping)
    found: dict[str, int] = {}
    for i, superclass in enumerate(superclasses):
        if not mapping[superclass]:
            raise UserError(f"dataset.superclasses: superclass {superclass} has no class. {WHERE}")
        for name in mapping[superclass]:
            if name in found:
                where = " and ".join(dict.fromkeys([superclasses[found[name]], superclass]))
                raise UserError(
                    f"dataset.superclasses: class {name} is named twice, in {where}. Each needs one superclass. {WHERE}"
                )
            found[name] = i
    # repr shows the quotes: an unquoted 1 in YAML is a number, and the name of no class.
    unknown = [f"{name!r} (in {superclasses[i]})" for name, i in found.items() if name not in data.classes]
    if unknown:
        raise UserError(
            f"dataset.superclasses: no class of the data set: {_some(unknown)}. "
            f"Its classes: {_some(map(repr, data.classes))}. {WHERE}"
        )
    missing = [name for name in data.classes if name not in found]
    if missing:
        raise UserError(f"dataset.superclasses: in no superclass: {_some(missing)}. Each class needs one. {WHERE}")
    return replace(data, superclass_of=[found[name] for name in data.classes], superclasses=superclasses)


def _some(names: Iterable[str], most: int = 10) -> str:
    shown = list(names)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
