"""The steps that evaluate trained networks, and the cells of an experiment's tables."""

from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.nested import ENSEMBLE, main_member, members_of
from gendistill.plan.network import Network
from gendistill.plan.plan import Study
from gendistill.plan.runs import code_of, source_of
from gendistill.plan.settings import Settings, load_group, read_superclasses
from gendistill.plan.step import Step, make_step

Cell = dict[str, Any]
# Of the largest probability, at which an image leaves at an exit.
THRESHOLDS = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]


def check_has_features(network: Step, what: str, where: str) -> None:
    """Check that a network has one classifier and the features that it sees.

    Raises:
        SettingError: it is the ensemble of a joint network.
    """
    if network.settings.get("taken") == ENSEMBLE:
        raise SettingError(
            f"network.takes = {ENSEMBLE}: an ensemble has no features of its own, which {what} needs. Set network.takes to another "
            f"member, or leave {what} out, in {where}."
        )


def add_ensemble(study: Study, group: str, label: str, members: list[Step], seed: int) -> Step:
    """The average of the outputs of several networks."""
    slug = f"{_data_name(members[0])}-{group}-{label}-seed{seed}"
    step = make_step("ensemble", slug, dict(study.settings["ensemble"]), code_of("ensemble"), {"members": members})
    return study.add(f"{group}-ensemble-{label}-seed{seed}", step)


def add_statistics(study: Study, own_role: str, data: Step, network: Step) -> Step:
    """The confidence of a network on training images; `own_role` is the network's, such as `ban-gen1-seed0`."""
    slug = network.id.rpartition("-")[0]
    inputs = {"dataset": data, "network": network}
    return study.add(f"{own_role}-statistics", make_step("statistics", slug, {}, code_of("statistics"), inputs))


def add_transfer(study: Study, own_role: str, network: Step, target: Step) -> Step:
    """A linear SVM on the network's features of another data set."""
    check_has_features(network, "transfer", study.where)
    name = target.settings["name"]
    slug = f"{network.id.rpartition('-')[0]}-to-{name}"
    step = make_step("transfer", slug, {}, code_of("transfer"), {"network": network, "dataset": target})
    return study.add(f"{own_role}-transfer-{name}", step, f"{own_role}-transfer-{target.id}")


def add_fine_tune(study: Study, own_role: str, network: Step, target: Step, recipe: Settings, seed: int) -> Step:
    """The network trained on with the labels of another data set."""
    check_has_features(network, "fine_tune", study.where)
    objective = load_group("objective", "cross_entropy")
    own = {key: value for key, value in network.settings["network"].items() if key != "shares"}
    taken = {"taken": network.settings["taken"]} if "taken" in network.settings else {}
    settings = {"network": own, **taken, "objective": objective, "recipe": recipe, "seed": seed}
    slug = f"{network.id.rpartition('-')[0]}-to-{target.settings['name']}"
    inputs = {"dataset": target, "start": network}
    code = code_of("fine_tune", own, objective, data=target)
    step = make_step("fine_tune", slug, settings, code, inputs, source_of(target))
    return study.add(f"{own_role}-fine_tune-{target.settings['name']}", step, f"{own_role}-fine_tune-{target.id}")


def add_agreement(study: Study, own_role: str, data: Step, student: Step, teacher: Step, temperature: float) -> Step:
    """How far the predictions of a student and its teacher agree."""
    slug = student.id.rpartition("-")[0]
    inputs = {"dataset": data, "student": student, "teacher": teacher}
    code = code_of("agreement", data=data)
    step = make_step("agreement", slug, {"temperature": temperature}, code, inputs, source_of(data))
    return study.add(f"{own_role}-agreement", step)


def add_early_exit(study: Study, own_role: str, exits: list[Step]) -> Step:
    """What it saves to let images leave a network at the first exit that is sure."""
    slug = exits[-1].id.rpartition("-")[0]
    step = make_step("early_exit", slug, {"thresholds": THRESHOLDS}, code_of("early_exit"), {"exits": exits})
    return study.add(f"{own_role}-early_exit", step)


def add_class_structure(study: Study, own_role: str, dataset: Settings, data: Step, network: Step) -> Step:
    """How the features of classes and superclasses lie, and which classes come second.

    Raises:
        SettingError: the file of superclasses is not there, or holds something else.
    """
    check_has_features(network, "class_structure", study.where)
    slug, path = network.id.rpartition("-")[0], dataset.get("superclasses")
    settings = {"superclasses": read_superclasses(path, study.where)} if path else {}
    inputs = {"dataset": data, "network": network}
    step = make_step("class_structure", slug, settings, code_of("class_structure"), inputs)
    return study.add(f"{own_role}-class_structure", step)


def add_standard_evaluations(
    study: Study,
    lineages: dict[str, list[Network]],
    grown: dict[tuple[str, int], list[Step]],
    scratch: dict[int, list[Step]],
    targets: list[Step],
) -> list[Cell]:
    """Ensembles, transfer and statistics of an experiment; returns the cells of its tables, each with its step."""
    cells: list[Cell] = []

    def cell(table: str, step: Step, **labels: Any) -> None:
        cells.append({"table": table, "step": step.name, **labels})

    for (key, seed), networks in grown.items():
        # The students': a patriarch may have learnt from other data of the same classes.
        data = study.plan.steps[networks[-1].inputs["dataset"]]
        last = len(networks) - 1
        if data.kind == "text":
            for k, network in enumerate(networks):
                cell("perplexity", network, lineage=key, generation=k, seed=seed)
            continue
        for k, network in enumerate(networks):
            role = f"{key}-gen{k}-seed{seed}"
            cell("error", network, lineage=key, generation=k, seed=seed)
            beside = members_beside(study, role, lineages[key][k])
            for member, step in beside.items():
                cell("error", step, lineage=f"{key}-{member}", generation=k, seed=seed)
            if exits := _exits(lineages[key][k], network, beside):
                cell("early_exits", add_early_exit(study, role, exits), lineage=key, generation=k, seed=seed)
            if not data.settings.get("on_disk"):
                cell("confidence", add_statistics(study, role, data, network), lineage=key, generation=k, seed=seed)
            if lineages[key][-1].dataset.get("superclasses") and network.settings.get("taken") != ENSEMBLE:
                step = add_class_structure(study, role, lineages[key][-1].dataset, data, network)
                cell("structure", step, lineage=key, generation=k, seed=seed)
            for target in targets:
                step = add_transfer(study, role, network, target)
                cell("transfer", step, lineage=key, generation=k, target=target.settings["name"], seed=seed)
        # Of the students, and with the patriarch: of each size, to see what one more network gives.
        for first in (1, 0):
            for end in range(first + 1, last + 1):
                members, size = f"gen{first}to{end}", end + 1 - first
                step = add_ensemble(study, key, members, networks[first : end + 1], seed)
                cell("ensembles", step, lineage=key, members=members, size=size, networks_trained=end + 1, seed=seed)
    for seed, networks in scratch.items():
        for member, network in enumerate(networks):
            cell("error", network, lineage="scratch", generation=0, member=member, seed=seed)
        for size in range(2, len(networks) + 1):
            step = add_ensemble(study, "scratch", f"net0to{size - 1}", networks[:size], seed)
            cell("ensembles", step, lineage="scratch", members=f"net0to{size - 1}", size=size, networks_trained=size, seed=seed)
    return cells


def members_beside(study: Study, role: str, own: Network) -> dict[str, Step]:
    """The networks that were trained together with the one of a role, by the name of the member."""
    if "networks" not in own.network:
        return {}
    name, _, seed = role.rpartition("-")
    others = [member for member in members_of(own.network) if member != main_member(own.network, study.where)]
    return {member: study.plan.steps[study.plan.roles[f"{study.name}-{name}-{member}-{seed}"]] for member in others}


def _exits(own: Network, main: Step, beside: dict[str, Step]) -> list[Step]:
    """The exits of a network that has several, in order; none of any other network."""
    if own.network.get("members") != "groups":
        return []
    named = beside | {main.settings["taken"]: main}
    exits = sorted((name for name in named if name.startswith("exit")), key=lambda name: int(name.removeprefix("exit")))
    return [named[name] for name in exits]


def _data_name(network: Step) -> str:
    return network.inputs["dataset"].partition("/")[2].rpartition("-")[0]
