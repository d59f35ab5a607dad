"""Resolve what each network of a lineage is trained with, from an experiment's settings."""

from dataclasses import dataclass

from gendistill.errors import SettingError
from gendistill.plan.settings import Settings, group_label, load_group, pick, resolve_group
from gendistill.plan.validate import check_group

# Settings that are lists by themselves: one value per generation is a list of lists.
LIST_SETTINGS = ("milestones",)


@dataclass(frozen=True)
class Network:
    """The settings of one network of a lineage; `teacher` is the number of the generation that teaches it."""

    network: Settings
    objective: Settings
    recipe: Settings
    teacher: int
    label: str


@dataclass(frozen=True)
class Lineage:
    """The settings of a patriarch and its generations, in order."""

    networks: list[Network]
    soft_labels: str


def resolve(settings: Settings, where: str) -> dict[str, Lineage]:
    """The lineages of an experiment by name.

    Raises:
        SettingError: a setting is unknown, out of range, or a list of the wrong length.
    """
    changes = settings["lineages"] or ({} if settings["scratch"] else {settings["objective"]["name"]: {}})
    if "scratch" in changes:
        raise SettingError(f"lineages.scratch: this name is kept for the networks trained from scratch. Set in {where}.")
    return {name: _lineage(settings, change or {}, f"{where}, lineage {name}") for name, change in changes.items()}


def baseline(settings: Settings, where: str) -> Network:
    """A network trained from scratch: a patriarch of the experiment, without what a lineage changes."""
    return _network(settings, {}, 0, settings["generations"], where)


def _lineage(settings: Settings, change: Settings, where: str) -> Lineage:
    generations = change.get("generations", settings["generations"])
    networks = [_network(settings, change, k, generations, where) for k in range(generations + 1)]
    return Lineage(networks, change.get("soft_labels", settings["soft_labels"]))


def _network(settings: Settings, change: Settings, k: int, generations: int, where: str) -> Network:
    """Generation `k`: the experiment's settings, changed by the lineage's, and for the patriarch by its own."""
    patriarch = {**settings["patriarch"], **change.get("patriarch", {})} if k == 0 else {}
    groups = {}
    for group in ("network", "objective", "recipe"):
        own = settings[group]
        changed = change.get(group)
        if k == 0 and group == "objective":
            # A patriarch has no teacher, so it starts from its own objective, not from the students'.
            own = load_group("objective", "cross_entropy")
        elif not (k == 0 and isinstance(changed, list) and group in patriarch):
            own = resolve_group(group, own, pick(changed, k, generations, group, where), where)
        own = resolve_group(group, own, patriarch.get(group), f"{where}, patriarch")
        groups[group] = {key: _pick_leaf(key, value, k, generations, group, where) for key, value in own.items()}
        check_group(group, groups[group], where)
    trains = "patriarch" if k == 0 else "student"
    if groups["objective"]["trains"] != trains:
        raise SettingError(
            f"objective = {groups['objective']['name']}: it trains a {groups['objective']['trains']}, but generation {k} "
            f"is a {trains}. Set {'patriarch.objective' if k == 0 else 'objective'} in {where}."
        )
    teacher = pick(change.get("teacher", settings["teacher"]), k, generations, "teacher", where) if k else "none"
    label = "-".join(group_label(g, groups[g]) for g in ("network", "objective"))
    return Network(**groups, teacher=_teacher(teacher, k, where), label=label)


def _pick_leaf(key: str, value: object, k: int, generations: int, group: str, where: str) -> object:
    if key in LIST_SETTINGS and not (isinstance(value, list) and value and isinstance(value[0], list)):
        return value
    return pick(value, k, generations, f"{group}.{key}", where)


def _teacher(value: str | int, k: int, where: str) -> int:
    """The number of the generation that teaches generation `k`; -1 for a patriarch."""
    number = {"none": -1, "patriarch": 0, "previous": k - 1}.get(value, value)
    if k and not 0 <= number < k:
        raise SettingError(
            f"teacher = {value}: generation {k} must have an earlier generation (0 to {k - 1}) as its teacher. Set in {where}."
        )
    return number
