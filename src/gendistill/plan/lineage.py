"""Resolve what each network of a lineage is trained with, from an experiment's settings."""

from gendistill.errors import SettingError
from gendistill.plan.nested import resolve_nested
from gendistill.plan.network import Network, check_network, check_pair
from gendistill.plan.scale import scaled
from gendistill.plan.settings import Settings, group_label, load_group, member, pick, resolve_group
from gendistill.plan.validate import check_group
from gendistill.softlabels.exact import why_online


def resolve(settings: Settings, where: str) -> dict[str, list[Network]]:
    """The lineages of an experiment by name: the patriarch and its generations, in order.

    Raises:
        SettingError: a setting is unknown, out of range, a list of the wrong length, or impossible for a student and its teacher.
    """
    changes = settings["lineages"] or ({} if settings["scratch"] else {settings["objective"]["name"]: {}})
    if "scratch" in changes:
        raise SettingError(f"lineages.scratch: this name is kept for the networks trained from scratch. Set in {where}.")
    return {name: _lineage(settings, change or {}, f"{where}, lineage {name}") for name, change in changes.items()}


def baseline(settings: Settings, where: str) -> Network:
    """A network trained from scratch: a patriarch of the experiment, without what a lineage changes."""
    return _network(settings, {}, 0, settings["generations"], where)


def _lineage(settings: Settings, change: Settings, where: str) -> list[Network]:
    generations = change.get("generations", settings["generations"])
    networks = [_network(settings, change, k, generations, where) for k in range(generations + 1)]
    for k, student in enumerate(networks[1:], start=1):
        check_pair(student, networks[student.teacher], k, where)
    return networks


def _network(settings: Settings, change: Settings, k: int, generations: int, where: str) -> Network:
    """Generation `k`: the experiment's settings, changed by the lineage's, and for the patriarch by its own."""
    patriarch = {**settings["patriarch"], **change.get("patriarch", {})} if k == 0 else {}
    dataset = resolve_group("dataset", settings["dataset"], patriarch.get("dataset"), f"{where}, patriarch")
    check_group("dataset", dataset, where)
    dataset = scaled("dataset", dataset, settings["scale"])
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
        usual = member(group, own["name"], where)
        own = {key: _pick_leaf(key, value, usual.get(key), k, generations, group, where) for key, value in own.items()}
        check_group(group, own, where)
        own = resolve_nested(group, own, settings["scale"], where)
        groups[group] = scaled(group, own, settings["scale"])
        if groups[group] is not own:
            check_group(group, groups[group], where)
    teacher = pick(change.get("teacher", settings["teacher"]), k, generations, "teacher", where) if k else "none"
    soft_labels = change.get("soft_labels", settings["soft_labels"])
    listens = any(need.startswith("teacher_") for need in groups["objective"].get("needs", []))
    if listens or why_online(groups["recipe"]):
        # Only logits are stored, and only those on the views, so the teacher has to run anyway.
        soft_labels = "online"
    label = "-".join(group_label(g, groups[g]) for g in ("network", "objective"))
    own = Network(dataset, **groups, teacher=_teacher(teacher, k, where), soft_labels=soft_labels, label=label)
    check_network(own, k, where)
    return own


def _pick_leaf(key: str, value: object, usual: object, k: int, generations: int, group: str, where: str) -> object:
    # Of a setting that is a list by itself, one value per generation is a list of lists.
    if isinstance(usual, list) and not (isinstance(value, list) and value and isinstance(value[0], list)):
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
