"""Resolve what each network of a lineage is trained with, from an experiment's settings."""

from dataclasses import dataclass

from gendistill.errors import SettingError
from gendistill.plan.scale import scaled
from gendistill.plan.settings import Settings, group_label, load_group, pick, resolve_group
from gendistill.plan.validate import check_group

# Settings that are lists by themselves: one value per generation is a list of lists.
LIST_SETTINGS = ("milestones", "needs", "reductions", "shares")


@dataclass(frozen=True)
class Network:
    """The settings of one network of a lineage.

    Attributes:
        dataset, network, objective, recipe: the resolved members of the groups.
        teacher: the number of the generation that teaches it; -1 for a patriarch.
        soft_labels: `stored` or `online`.
        label: a readable name.
    """

    dataset: Settings
    network: Settings
    objective: Settings
    recipe: Settings
    teacher: int
    soft_labels: str
    label: str


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
        _check_pair(student, networks[student.teacher], k, where)
    return networks


def _network(settings: Settings, change: Settings, k: int, generations: int, where: str) -> Network:
    """Generation `k`: the experiment's settings, changed by the lineage's, and for the patriarch by its own."""
    patriarch = {**settings["patriarch"], **change.get("patriarch", {})} if k == 0 else {}
    dataset = resolve_group("dataset", settings["dataset"], patriarch.get("dataset"), f"{where}, patriarch")
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
        own = {key: _pick_leaf(key, value, k, generations, group, where) for key, value in own.items()}
        groups[group] = scaled(group, own, settings["scale"])
        check_group(group, groups[group], where)
    trains = "patriarch" if k == 0 else "student"
    if groups["objective"]["trains"] != trains:
        raise SettingError(
            f"objective = {groups['objective']['name']}: it trains a {groups['objective']['trains']}, but generation {k} "
            f"is a {trains}. Set {'patriarch.objective' if k == 0 else 'objective'} in {where}."
        )
    for group in ("network", "recipe"):
        kind, wanted = groups[group].get("medium", "images"), dataset.get("medium", "images")
        if kind != wanted:
            raise SettingError(
                f"{group} = {groups[group]['name']}: it is for {kind}, but the data set {dataset['name']} has {wanted}. "
                f"Set {group} or dataset in {where}."
            )
    if dataset.get("on_disk") and (groups["recipe"]["pad"], groups["recipe"]["flip"]) != (0, True):
        raise SettingError(
            f"recipe.pad = {groups['recipe']['pad']}, recipe.flip = {groups['recipe']['flip']}: images on disk "
            f"({dataset['name']}) are augmented by random resized crops and mirroring, so pad must be 0 and flip true. Set "
            f"recipe in {where}."
        )
    objective = groups["objective"]
    if dataset.get("medium") == "text" and (objective.get("needs") or objective.get("distil_until", 1) < 1):
        raise SettingError(
            f"objective = {objective['name']}: not for text, where an objective has logits and labels only, to the last epoch. "
            f"Set another one, such as ban_label, in {where}."
        )
    if k == 0 and groups["network"].get("shares"):
        raise SettingError(
            f"network.shares = {groups['network']['shares']}: generation 0 has no teacher to share layers with. Set "
            f"patriarch.network to another network, or network.shares to [], in {where}."
        )
    teacher = pick(change.get("teacher", settings["teacher"]), k, generations, "teacher", where) if k else "none"
    soft_labels = change.get("soft_labels", settings["soft_labels"])
    if "teacher_maps" in groups["objective"].get("needs", []):
        # Maps are not stored, so the teacher has to run anyway.
        soft_labels = "online"
    elif k and soft_labels == "stored" and dataset.get("on_disk"):
        raise SettingError(
            f"soft_labels = stored: the images of {dataset['name']} have too many views to store. Set soft_labels to online in "
            f"{where}."
        )
    label = "-".join(group_label(g, groups[g]) for g in ("network", "objective"))
    return Network(dataset, **groups, teacher=_teacher(teacher, k, where), soft_labels=soft_labels, label=label)


def _check_pair(student: Network, teacher: Network, k: int, where: str) -> None:
    """Check what can be said of a student and its teacher before either is trained."""
    names = f"generation {k} ({student.network['name']}) and its teacher ({teacher.network['name']})"
    own, other = student.dataset.get("classes"), teacher.dataset.get("classes")
    if own and other and own != other:
        raise SettingError(
            f"dataset = {student.dataset['name']} with {own} classes, but the teacher's is {teacher.dataset['name']} with {other}: "
            f"{names} must have the same classes. Set dataset or patriarch.dataset in {where}."
        )
    own, other = student.network.get("reductions"), teacher.network.get("reductions")
    if "teacher_maps" in student.objective.get("needs", []) and own != other:
        raise SettingError(
            f"objective = {student.objective['name']}: attention maps of {names} cannot be matched: their groups are {own} and "
            f"{other} times smaller than the image. Both must have as many groups, of equal resolutions. Set network or objective "
            f"in {where}."
        )


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
