"""The steps that get data and train networks: data sets, patriarchs, soft labels, generations."""

from gendistill.errors import SettingError
from gendistill.plan.canonical import canonical_json
from gendistill.plan.code import code_hash
from gendistill.plan.fingerprint import fingerprint
from gendistill.plan.nested import ENSEMBLE, main_member, members_of, targets_in
from gendistill.plan.network import Network
from gendistill.plan.plan import Study
from gendistill.plan.settings import Settings, read_superclasses
from gendistill.plan.step import FUNCTIONS, Step, make_step
from gendistill.plan.validate import check_group
from gendistill.softlabels.extent import distilled_epochs, draws_few

# Reads images that stay in their files; `data.sources` imports it only then.
ON_DISK = "gendistill.data.on_disk"
# Write and read the store of such images; imported only where there is one.
PACK, IMAGE_STORE = "gendistill.data.pack", "gendistill.data.image_store"
# The kinds of step that do for text what another kind does for images.
FOR_TEXT = {
    "dataset": "text",
    "patriarch": "language_patriarch",
    "generation": "language_generation",
    "softlabels": "language_softlabels",
}


def code_of(kind: str, *groups: Settings, data: Step | None = None) -> dict[str, str]:
    """Code hash of the step's own module, of the modules that its settings name, and of what reads or packs data on disk."""
    modules = [FUNCTIONS[kind].partition(":")[0], *(target.rpartition(".")[0] for g in groups for target in targets_in(g))]
    modules += [ON_DISK] if data and data.settings.get("on_disk") else []
    modules += [IMAGE_STORE] if data and data.settings.get("store") else []
    modules += [PACK] if any(group.get("store") for group in groups) else []
    return {module: code_hash(module) for module in sorted(modules)}


def kind_for(kind: str, dataset: Settings) -> str:
    """The kind of step that does the work of `kind` for the medium of a data set."""
    return FOR_TEXT[kind] if dataset.get("medium") == "text" else kind


def add_dataset(study: Study, dataset: Settings) -> Step:
    """The step that prepares a data set.

    Raises:
        SettingError: a setting is not allowed, or names files that are not there.
    """
    known = study.plan.datasets
    key = canonical_json(dataset)
    if key not in known:
        known[key] = _dataset_step(study, dataset)
    # Data of one name with other settings, such as a teacher's, have names of their own.
    return study.add(f"dataset-{dataset['name']}", known[key], f"dataset-{known[key].id}")


def _dataset_step(study: Study, dataset: Settings) -> Step:
    check_group("dataset", dataset, study.where)
    settings, source = dict(dataset), {}
    if "path" in dataset:
        # The content is what counts, not where it lies.
        source = {"path": settings.pop("path")}
        where = f"{study.where}; config/dataset/{dataset['name']}.yaml says what belongs there"
        try:
            settings["content"] = fingerprint(source["path"], where, bool(dataset.get("on_disk")))
        except SettingError:
            if not study.without_data:
                raise
            settings["content"] = ""
    if path := settings.pop("superclasses", None):
        # Only checked: class_structure alone reads them, so that no network depends on them.
        read_superclasses(path, study.where)
    kind = kind_for("dataset", dataset)
    return make_step(kind, dataset["name"], settings, code_of(kind, dataset), {}, source)


def source_of(data: Step) -> dict[str, str]:
    """What a step needs to know of its data set beside the prepared file: where image files lie that stay on disk."""
    return data.source if data.settings.get("on_disk") else {}


def add_patriarch(study: Study, role: str, own: Network, seed: int, member: int = 0) -> Step:
    """A network trained on labels only; `member` tells networks of one seed apart."""
    data = add_dataset(study, own.dataset)
    kind = kind_for("patriarch", own.dataset)
    settings = {**_groups(own), "seed": seed, "member": member}
    slug = f"{own.dataset['name']}-{own.label}" + (f"-net{member}" if member else "") + f"-seed{seed}"
    code = code_of(kind, own.network, own.objective, data=data)
    return _add_network(study, role, own, make_step(kind, slug, settings, code, {"dataset": data}, source_of(data)), data)


def _groups(own: Network) -> Settings:
    """What a training is told of its groups; which of several networks goes on in the lineage is not its business."""
    network = {key: value for key, value in own.network.items() if key != "takes"}
    return {"network": network, "objective": own.objective, "recipe": own.recipe}


def _add_network(study: Study, role: str, own: Network, trained: Step, data: Step) -> Step:
    """A trained network; of several trained together the main one, with a step for each that takes it out."""
    network = own.network
    if "networks" not in network:
        return study.add(role, trained)
    name, _, seed = role.rpartition("-")
    study.add(f"{name}-joint-{seed}", trained)
    main, members = main_member(network, study.where), {}
    names = members_of(network)
    # Whose evaluations the training's history has.
    answers = ENSEMBLE if network.get("answer") == ENSEMBLE else names[0]
    for member in names:
        slug = f"{trained.id.rpartition('-')[0]}-{member}"
        settings = {**trained.settings, "taken": member, "main": member == answers}
        inputs = {"joint": trained, "dataset": data}
        step = make_step("member", slug, settings, code_of("member", network, data=data), inputs, source_of(data))
        members[member] = study.add(role if member == main else f"{name}-{member}-{seed}", step)
    return members[main]


def add_scratch(study: Study, group: str, own: Network, seed: int, size: int) -> list[Step]:
    """`size` networks of one seed trained from scratch, the first of which is the patriarch."""
    return [add_patriarch(study, f"{group}-net{m}-seed{seed}", own, seed, m) for m in range(size)]


def add_lineage(study: Study, key: str, lineage: list[Network], seed: int) -> list[Step]:
    """The patriarch and its generations, for one seed."""
    networks = [add_patriarch(study, f"{key}-gen0-seed{seed}", lineage[0], seed)]
    for k, own in enumerate(lineage[1:], start=1):
        data, teacher = add_dataset(study, own.dataset), networks[own.teacher]
        inputs = {"dataset": data}
        if own.soft_labels == "stored":
            inputs["softlabels"] = _add_soft_labels(study, key, own, k, seed, data, teacher)
        if own.soft_labels == "online" or own.network.get("shares"):
            inputs["teacher"] = teacher
        kind = kind_for("generation", own.dataset)
        settings = {**_groups(own), "seed": seed, "generation": k}
        slug = f"{own.dataset['name']}-{own.label}-gen{k}-seed{seed}"
        code = code_of(kind, own.network, own.objective, data=data)
        step = make_step(kind, slug, settings, code, inputs, source_of(data))
        networks.append(_add_network(study, f"{key}-gen{k}-seed{seed}", own, step, data))
    return networks


def _add_soft_labels(study: Study, key: str, own: Network, k: int, seed: int, data: Step, teacher: Step) -> Step:
    kind = kind_for("softlabels", own.dataset)
    # All that decides which views, or which stretches of text, the student will see.
    names = ("pad", "flip") if kind == "softlabels" else ("batch_size",)
    dump = {name: own.recipe[name] for name in names}
    epochs = distilled_epochs(own.objective.get("distil_until", 1.0), own.recipe["epochs"])
    if kind == "softlabels" and draws_few(epochs, **dump):
        dump |= {"seed": seed, "generation": k, "epochs": epochs}
    slug = teacher.id.rpartition("-")[0]
    labels = make_step(kind, slug, dump, code_of(kind), {"dataset": data, "teacher": teacher})
    # Another student of the same teacher may see other views.
    return study.add(f"{key}-softlabels{own.teacher}-seed{seed}", labels, f"{key}-softlabels{own.teacher}-for-gen{k}-seed{seed}")
