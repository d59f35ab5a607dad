"""The settings of one network of a lineage, and which of them can go together."""

from dataclasses import dataclass

from gendistill.batches import micro_batch_size
from gendistill.errors import SettingError
from gendistill.plan.nested import ENSEMBLE, check_needs, main_member, trains
from gendistill.plan.settings import Settings


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


def check_network(own: Network, k: int, where: str) -> None:
    """Check that the settings of generation `k` go together.

    Raises:
        SettingError: they do not.
    """
    dataset, network, objective, recipe = own.dataset, own.network, own.objective, own.recipe
    role, trained = "patriarch" if k == 0 else "student", trains(objective)
    if trained != role:
        made_of = " as it is made up" if objective["trains"] == "any" else ""
        raise SettingError(
            f"objective = {objective['name']}: it trains a {trained}{made_of}, but generation {k} "
            f"is a {role}. Set {'patriarch.objective' if k == 0 else 'objective'} in {where}."
        )
    check_needs(network, objective, where)
    if recipe.get("mixup") and "teacher_input_gradient" in objective.get("needs", []):
        raise SettingError(
            f"recipe.mixup = {recipe['mixup']}: not with objective = {objective['name']}, whose gradients are of one label. Set "
            f"recipe.mixup to 0, or another objective, in {where}."
        )
    if "networks" in network:
        for inner in network["networks"]:
            check_medium("network", inner, dataset, where)
        main_member(network, where)
        groups = len(network["networks"][0].get("reductions", [])) if network["networks"] else 0
        if network.get("separate", 0) > groups:
            raise SettingError(
                f"network.separate = {network['separate']}: {network['networks'][0]['name']} has {groups} groups, so it must be at "
                f"most {groups}. Set in {where}."
            )
    check_medium("network", network, dataset, where)
    check_recipe(recipe, dataset, where)
    special = objective.get("needs") or objective.get("distil_until", 1) < 1 or "terms" in objective
    if dataset.get("medium") == "text" and special:
        raise SettingError(
            f"objective = {objective['name']}: not for text, where an objective has logits and labels only, to the last epoch. "
            f"Set another one, such as ban_label, in {where}."
        )
    if k == 0 and network.get("shares"):
        raise SettingError(
            f"network.shares = {network['shares']}: generation 0 has no teacher to share layers with. Set "
            f"patriarch.network to another network, or network.shares to [], in {where}."
        )
    if k and own.soft_labels == "stored" and dataset.get("on_disk"):
        raise SettingError(
            f"soft_labels = stored: the images of {dataset['name']} have too many views to store. Set soft_labels to online in "
            f"{where}."
        )


def check_recipe(recipe: Settings, dataset: Settings, where: str) -> None:
    """Check that a recipe is one for a data set.

    Raises:
        SettingError: it is for another medium, asks for other crops than the images get, or divides a batch unevenly.
    """
    check_medium("recipe", recipe, dataset, where)
    check_processes(recipe, 1, where)
    if dataset.get("on_disk") and (recipe["pad"], recipe["flip"]) != (0, True):
        raise SettingError(
            f"recipe.pad = {recipe['pad']}, recipe.flip = {recipe['flip']}: images on disk ({dataset['name']}) are augmented by "
            f"random resized crops and mirroring, so pad must be 0 and flip true. Set recipe in {where}."
        )


def check_processes(recipe: Settings, processes: int, where: str) -> None:
    """Check that the processes that train one network together have a part of each batch, one each.

    Raises:
        SettingError: a batch comes in fewer parts, or the network is a language model.
    """
    if processes > 1 and recipe.get("medium") == "text":
        raise SettingError(f"runtime.processes = {processes}: a language model is trained by one process. Set it to 1 in {where}.")
    try:
        micro_batch_size(recipe, processes)
    except SettingError as error:
        raise SettingError(f"{error} Both are set in {where}.") from error


def check_medium(group: str, settings: Settings, dataset: Settings, where: str) -> None:
    """Check that a network or a recipe is for the medium, images or text, of a data set.

    Raises:
        SettingError: it is for the other one.
    """
    own, wanted = settings.get("medium", "images"), dataset.get("medium", "images")
    if own != wanted:
        raise SettingError(
            f"{group} = {settings['name']}: it is for {own}, but the data set {dataset['name']} has {wanted}. "
            f"Set {group} or dataset in {where}."
        )


def check_pair(student: Network, teacher: Network, k: int, where: str) -> None:
    """Check what can be said of a student and its teacher before either is trained.

    Raises:
        SettingError: their classes differ, or their attention maps cannot be matched.
    """
    names = f"generation {k} ({student.network['name']}) and its teacher ({teacher.network['name']})"
    own, other = student.dataset.get("classes"), teacher.dataset.get("classes")
    if own and other and own != other:
        raise SettingError(
            f"dataset = {student.dataset['name']} with {own} classes, but the teacher's is {teacher.dataset['name']} with {other}: "
            f"{names} must have the same classes. Set dataset or patriarch.dataset in {where}."
        )
    listens = [n for n in student.objective.get("needs", []) if n in ("teacher_maps", "teacher_features", "teacher_weights")]
    if listens and "networks" in teacher.network and main_member(teacher.network, where) == ENSEMBLE:
        raise SettingError(
            f"objective = {student.objective['name']}: it needs layers of the teacher of generation {k}, which is an ensemble. Set "
            f"network.takes of the teacher to another member, or another objective, in {where}."
        )
    own, other = student.network.get("reductions"), teacher.network.get("reductions")
    terms = student.objective.get("terms", {"": student.objective}).values()
    for taps in (term["taps"] for term in terms if isinstance(term.get("taps"), dict)):
        if len(taps["student"]) != len(taps["teacher"]):
            raise SettingError(
                f"objective.taps: {len(taps['student'])} layers of the student and {len(taps['teacher'])} of the teacher cannot be "
                f"matched, in {names}; there must be as many of both. Set it in {where}."
            )
    of_groups = any("teacher_maps" in term.get("needs", []) and term.get("taps", "groups") == "groups" for term in terms)
    if of_groups and own and other and own != other:
        raise SettingError(
            f"objective = {student.objective['name']}: maps of {names} cannot be matched: their groups are {own} and "
            f"{other} times smaller than the image. Both must have as many groups, of equal resolutions. Set network or objective "
            f"in {where}."
        )
