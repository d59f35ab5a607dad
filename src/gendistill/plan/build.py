"""Build the plan: all steps of the chosen experiments and published tables, each under its id, shared where they are the same."""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan import lineage as lineages
from gendistill.plan.claims import add_claims
from gendistill.plan.evaluations import Cell, add_standard_evaluations
from gendistill.plan.figures import add_figures
from gendistill.plan.network import check_medium, check_processes
from gendistill.plan.paper import add_table
from gendistill.plan.plan import Plan, Study
from gendistill.plan.runs import add_dataset, add_lineage, add_scratch, code_of
from gendistill.plan.scale import scaled
from gendistill.plan.settings import Settings, compose_experiments, experiment_names, load_group, paper_names
from gendistill.plan.step import make_step
from gendistill.plan.validate import check_experiment, file_of

# What may be overridden without making a study another one: more or fewer of the same runs, and how they are run and shown.
SAME_STUDY = re.compile(
    r"[+]*(seeds|claims|figures|scale|generations|scratch|transfer|soft_labels|runtime[.]\w+|run[.]\w+|lineages[.]\w+[.]generations)="
)
# As file names, as parts of the page and in LaTeX.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
RESERVED = ("asked", "claims", "contents", "cost", "environment", "macros", "main", "reproduce", "steps")


def check_names(names: list[str]) -> None:
    """Check that the names of experiments and published tables can name files and parts of the report.

    Raises:
        SettingError: one of them cannot.
    """
    for name in names:
        if not NAME.fullmatch(name) or name in RESERVED:
            raise SettingError(
                f"experiments = {name}: must be letters, digits, _, - and . only, and none of {', '.join(RESERVED)}, which the "
                f"report has for itself. Give {file_of(name)} another name."
            )


def read_choice(config: dict[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    """The experiments and published tables that `snakemake --config` gives, and the overrides on each.

    `paper=NAME` names a published table (`all`: every one); `seeds=N` asks for N seeds and `scale=NAME` for another scale.

    Raises:
        SettingError: it gives something else, or none.
    """
    allowed = ("experiments", "paper", "seeds", "scale", "overrides")
    unknown = sorted(set(config) - set(allowed))
    if unknown:
        raise SettingError(f"{unknown[0]} = {config[unknown[0]]}: unknown. Allowed in snakemake --config: {', '.join(allowed)}.")
    papers = [name for given in _as_list(config.get("paper", [])) for name in (paper_names() if given == "all" else [given])]
    for name in sorted(set(papers) - set(paper_names())):
        raise SettingError(
            f"paper = {name}: there is no such published table. Allowed: all, {', '.join(paper_names())}. "
            "Set by snakemake --config."
        )
    experiments = _as_list(config.get("experiments", [] if "paper" in config else ["demo"]))
    if not experiments + papers:
        raise SettingError(
            f"experiments = []: must name at least one of: {', '.join(experiment_names())}; or paper one of: "
            f"{', '.join(paper_names())}. Set by snakemake --config."
        )
    overrides = _as_list(config.get("overrides", []))
    if "seeds" in config:
        seeds = config["seeds"]
        if type(seeds) is not int or seeds < 1:
            raise SettingError(f"seeds = {seeds}: must be the number of seeds, at least 1. Set by snakemake --config.")
        overrides.append(f"seeds={list(range(seeds))}")
    if "scale" in config:
        overrides.append(f"scale={config['scale']}")
    return list(dict.fromkeys(experiments + papers)), tuple(overrides)


def _as_list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]


def build_plan(experiments: list[str], overrides: tuple[str, ...] = (), without_data: bool = False) -> Plan:
    """The plan of the named experiments and published tables, with `overrides` (Hydra's syntax) on each.

    `without_data`: the user's own data may be missing. Such a plan can be counted, not run.

    Raises:
        SettingError: a setting is unknown, of a wrong type, out of range or impossible.
    """
    check_names(experiments)
    changed = {override.lstrip("+").partition("=")[0] for override in overrides if not SAME_STUDY.match(override)}
    plan = Plan(changed=sorted(changed))
    with _no_collection():
        for name, settings in zip(experiments, compose_experiments(experiments, tuple(overrides)), strict=True):
            add_experiment(plan, name, settings, without_data)
        plan.prune()
    return plan


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let Python not search for cycles, of which a plan makes hardly any: with 400 experiments that took a fifth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def add_experiment(plan: Plan, name: str, settings: Settings, without_data: bool = False) -> None:
    """Add all steps of one experiment, or one published table, with composed settings."""
    where = f"{file_of(name)} or the command line"
    check_experiment(settings, where)
    settings = {**settings, "runtime": {**settings["runtime"], **settings["scale"].get("runtime", {})}}
    plan.settings[name] = settings
    study = Study(plan, name, settings, where, without_data)
    resolved = lineages.resolve(settings, where)
    for network in (network for lineage in resolved.values() for network in lineage):
        check_processes(network.recipe, settings["runtime"]["processes"], where)
    grown = {(key, seed): add_lineage(study, key, lineage, seed) for key, lineage in resolved.items() for seed in settings["seeds"]}
    if settings["table"]:
        add_table(study, resolved, grown)
        return
    targets = []
    for target in settings["transfer"]:
        dataset = load_group("dataset", target, where)
        check_medium("network", settings["network"], dataset, where)
        targets.append(add_dataset(study, scaled("dataset", dataset, settings["scale"], "transfer")))
    scratch = {}
    if settings["scratch"]:
        baseline = lineages.baseline(settings, where)
        scratch = {seed: add_scratch(study, "scratch", baseline, seed, settings["scratch"]) for seed in settings["seeds"]}
    cells = add_standard_evaluations(study, resolved, grown, scratch, targets)
    _add_tables(study, cells)
    add_figures(study, cells)


def _add_tables(study: Study, cells: list[Cell]) -> None:
    tables = list(dict.fromkeys(cell["table"] for cell in cells))
    settings = {"experiment": study.name, "description": study.settings["description"], "tables": tables, "cells": cells}
    read = [study.plan.steps[step] for step in dict.fromkeys(cell["step"] for cell in cells)]
    step = make_step("tables", study.name, settings, code_of("tables"), {"cells": read})
    study.plan.add(f"{study.name}-tables", step)
    add_claims(study, settings)
