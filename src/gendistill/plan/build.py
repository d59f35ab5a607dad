"""Build the plan: all steps of the chosen experiments, each under its id, shared where they are the same."""

from dataclasses import dataclass, field
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan import lineage as lineages
from gendistill.plan.canonical import digest
from gendistill.plan.code import code_hash
from gendistill.plan.fingerprint import fingerprint
from gendistill.plan.paths import REPORT_TEMPLATE
from gendistill.plan.settings import Settings, compose_experiment, experiment_names, load_group
from gendistill.plan.step import FUNCTIONS, Step, make_step
from gendistill.plan.validate import check_experiment, check_group, file_of


@dataclass
class Plan:
    """All steps of some experiments.

    Attributes:
        steps: each step by its name `kind/id`.
        roles: for each readable name, such as `demo-ban-gen3-seed0`, the name of its step.
        settings: the composed settings of each experiment.
        runtime: the settings `runtime` of each step that computes with networks; they change no result.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Settings] = field(default_factory=dict)
    runtime: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, role: str, step: Step, runtime: dict[str, Any] | None = None) -> Step:
        """Put `step` into the plan, if it is not there yet, and give it a readable name."""
        self.roles[role] = step.name
        if runtime:
            self.runtime.setdefault(step.name, runtime)
        return self.steps.setdefault(step.name, step)

    def find(self, kind: str, id: str) -> Step:
        """The step `kind/id`.

        Raises:
            SettingError: the chosen experiments have no such step.
        """
        try:
            return self.steps[f"{kind}/{id}"]
        except KeyError:
            raise SettingError(
                f"runs/{kind}/{id} belongs to no step of the experiments {', '.join(self.settings)} as they are set now. "
                "Its settings or code were changed since, or it belongs to another experiment: --config experiments=[NAME]"
            ) from None

    def of_kind(self, kind: str) -> list[Step]:
        """All steps of one kind, in order."""
        return [step for step in self.steps.values() if step.kind == kind]

    @property
    def index(self) -> dict[str, str]:
        """The folder of each role."""
        return {role: self.steps[name].folder for role, name in sorted(self.roles.items())}

    @property
    def view_id(self) -> str:
        """The identity of what `results/` is to show: all roles, and the code and the template of the report."""
        return digest([self.index, code_hash("gendistill.results.report"), REPORT_TEMPLATE.read_text()])


def read_choice(config: dict[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    """The experiments and overrides that `snakemake --config` gives.

    Raises:
        SettingError: it gives something else, or none.
    """
    unknown = sorted(set(config) - {"experiments", "overrides"})
    if unknown:
        raise SettingError(f"{unknown[0]} = {config[unknown[0]]}: unknown. Allowed in snakemake --config: experiments, overrides.")
    lists = {}
    for key, default in (("experiments", ["demo"]), ("overrides", [])):
        value = config.get(key, default)
        lists[key] = [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
    if not lists["experiments"]:
        raise SettingError(
            f"experiments = []: must name at least one of: {', '.join(experiment_names())}. Set by snakemake --config."
        )
    return lists["experiments"], tuple(lists["overrides"])


def build_plan(experiments: list[str], overrides: tuple[str, ...] = ()) -> Plan:
    """The plan of the named experiments, with `overrides` (Hydra's syntax) on each.

    Raises:
        SettingError: a setting is unknown, of a wrong type, out of range or impossible.
    """
    plan = Plan()
    for name in experiments:
        add_experiment(plan, name, compose_experiment(name, tuple(overrides)))
    return plan


def add_experiment(plan: Plan, name: str, settings: Settings) -> None:
    """Add all steps of one experiment with composed settings."""
    where = f"{file_of(name)} or the command line"
    check_experiment(settings, where)
    plan.settings[name] = settings
    data = _add_dataset(plan, name, settings["dataset"], where)
    targets = [_add_dataset(plan, name, load_group("dataset", t, where), where) for t in settings["transfer"]]
    grown = {}
    for key, lineage in lineages.resolve(settings, where).items():
        for seed in settings["seeds"]:
            grown[key, seed] = _add_lineage(plan, f"{name}-{key}", lineage, seed, data, settings["runtime"])
    scratch = {}
    if settings["scratch"]:
        baseline = lineages.baseline(settings, where)
        for seed in settings["seeds"]:
            scratch[seed] = [
                _add_patriarch(plan, f"{name}-scratch-net{m}-seed{seed}", baseline, seed, m, data, settings["runtime"])
                for m in range(settings["scratch"])
            ]
    cells = _add_evaluations(plan, name, settings, grown, scratch, data, targets)
    tables = list(dict.fromkeys(cell["table"] for cell in cells))
    table_settings = {"experiment": name, "description": settings["description"], "tables": tables, "cells": cells}
    read = [plan.steps[step] for step in dict.fromkeys(cell["step"] for cell in cells)]
    step = make_step("tables", name, table_settings, _code("tables"), {"cells": read})
    plan.add(f"{name}-tables", step)


def _code(kind: str, *groups: Settings) -> dict[str, str]:
    """Code hash of the step's own module and of the modules that its settings name."""
    modules = [FUNCTIONS[kind].partition(":")[0], *(g["_target_"].rpartition(".")[0] for g in groups)]
    return {module: code_hash(module) for module in sorted(modules)}


def _add_dataset(plan: Plan, experiment: str, dataset: Settings, where: str) -> Step:
    check_group("dataset", dataset, where)
    settings, source = dict(dataset), {}
    if "path" in dataset:
        # The content is what counts, not where it lies.
        source = {"path": settings.pop("path")}
        settings["content"] = fingerprint(source["path"], where)
    step = make_step("dataset", dataset["name"], settings, _code("dataset", dataset), {}, source)
    return plan.add(f"{experiment}-dataset-{dataset['name']}", step)


def _add_patriarch(
    plan: Plan, role: str, own: lineages.Network, seed: int, member: int, data: Step, runtime: dict[str, Any]
) -> Step:
    settings = {"network": own.network, "objective": own.objective, "recipe": own.recipe, "seed": seed, "member": member}
    slug = f"{data.settings['name']}-{own.label}" + (f"-net{member}" if member else "") + f"-seed{seed}"
    step = make_step("patriarch", slug, settings, _code("patriarch", own.network, own.objective), {"dataset": data})
    return plan.add(role, step, runtime)


def _add_lineage(plan: Plan, role: str, lineage: lineages.Lineage, seed: int, data: Step, runtime: dict[str, Any]) -> list[Step]:
    """The patriarch and its generations, for one seed."""
    networks = [_add_patriarch(plan, f"{role}-gen0-seed{seed}", lineage.networks[0], seed, 0, data, runtime)]
    for k, own in enumerate(lineage.networks[1:], start=1):
        teacher = networks[own.teacher]
        inputs = {"dataset": data, "teacher": teacher}
        if lineage.soft_labels == "stored":
            dump = {"pad": own.recipe["pad"], "flip": own.recipe["flip"]}
            slug = teacher.id.rpartition("-")[0]
            labels = make_step("softlabels", slug, dump, _code("softlabels"), {"dataset": data, "teacher": teacher})
            name = f"{role}-softlabels{own.teacher}-seed{seed}"
            if plan.roles.get(name, labels.name) != labels.name:
                # Another student of the same teacher sees other views.
                name = f"{role}-softlabels{own.teacher}-for-gen{k}-seed{seed}"
            inputs = {"dataset": data, "softlabels": plan.add(name, labels, runtime)}
        settings = {"network": own.network, "objective": own.objective, "recipe": own.recipe, "seed": seed, "generation": k}
        slug = f"{data.settings['name']}-{own.label}-gen{k}-seed{seed}"
        code = _code("generation", own.network, own.objective)
        networks.append(plan.add(f"{role}-gen{k}-seed{seed}", make_step("generation", slug, settings, code, inputs), runtime))
    return networks


def _add_evaluations(
    plan: Plan,
    name: str,
    settings: Settings,
    grown: dict[tuple[str, int], list[Step]],
    scratch: dict[int, list[Step]],
    data: Step,
    targets: list[Step],
) -> list[dict[str, Any]]:
    """Add ensembles, transfer and statistics; return the cells of the experiment's tables, each with its step."""
    cells: list[dict[str, Any]] = []

    def cell(table: str, step: Step, **labels: Any) -> None:
        cells.append({"table": table, "step": step.name, **labels})

    def ensemble(group: str, seed: int, members: list[Step], label: str, trained: int) -> None:
        slug = f"{data.settings['name']}-{group}-{label}-seed{seed}"
        inputs = {"members": members}
        step = make_step("ensemble", slug, dict(settings["ensemble"]), _code("ensemble"), inputs)
        plan.add(f"{name}-{group}-ensemble-{label}-seed{seed}", step)
        cell("ensembles", step, lineage=group, members=label, size=len(members), networks_trained=trained, seed=seed)

    for (key, seed), networks in grown.items():
        last = len(networks) - 1
        slug = f"{data.settings['name']}-{key}-seed{seed}"
        statistics = make_step("statistics", slug, {}, _code("statistics"), {"dataset": data, "networks": networks})
        plan.add(f"{name}-{key}-statistics-seed{seed}", statistics, settings["runtime"])
        for k, network in enumerate(networks):
            cell("error", network, lineage=key, generation=k, seed=seed)
            cell("confidence", statistics, lineage=key, generation=k, seed=seed)
            for target in targets:
                step = _transfer(plan, name, network, target, settings["runtime"])
                cell("transfer", step, lineage=key, generation=k, target=target.settings["name"], seed=seed)
        if last >= 2:
            ensemble(key, seed, networks[1:], f"gen1to{last}", last + 1)
        if last >= 1:
            ensemble(key, seed, networks, f"gen0to{last}", last + 1)
    sizes = {size for networks in grown.values() for size in (len(networks) - 1, len(networks)) if size >= 2}
    for seed, networks in scratch.items():
        for member, network in enumerate(networks):
            cell("error", network, lineage="scratch", generation=0, member=member, seed=seed)
        for size in sorted(sizes & set(range(2, len(networks) + 1)) | {len(networks)} - {1}):
            ensemble("scratch", seed, networks[:size], f"net0to{size - 1}", size)
    return cells


def _transfer(plan: Plan, experiment: str, network: Step, target: Step, runtime: dict[str, Any]) -> Step:
    slug = f"{network.id.rpartition('-')[0]}-to-{target.settings['name']}"
    step = make_step("transfer", slug, {}, _code("transfer"), {"network": network, "dataset": target})
    return plan.add(f"{experiment}-transfer-{slug}", step, runtime)
