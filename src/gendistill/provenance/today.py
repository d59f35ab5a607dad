"""What today's code and settings would make of steps that ran earlier."""

from dataclasses import dataclass, field
from typing import Any

from gendistill.errors import UserError
from gendistill.plan.build import build_plan
from gendistill.plan.code import code_hash, module_hashes
from gendistill.plan.plan import Plan
from gendistill.plan.step import FUNCTIONS, Step, make_step
from gendistill.provenance.compare import differing, differing_settings
from gendistill.provenance.origins import Origin
from gendistill.results.view import read_view

# What changed, in words, and the steps that it concerns.
Causes = dict[str, list[str]]


@dataclass
class Today:
    """Steps as today's code would name them.

    Attributes:
        names: for each step, as `kind/id`, its name today; None if there can be none.
        causes: what changed.
    """

    names: dict[str, str | None] = field(default_factory=dict)
    causes: Causes = field(default_factory=dict)


def with_code_of_today(origins: dict[str, Origin]) -> Today:
    """The names that steps with these settings would get from today's code; a step whose receipt is missing keeps its own."""
    today, steps = Today(), {}
    for name, origin in origins.items():
        step = origin.step
        if not origin.receipt:
            steps[name], today.names[name] = step, name
            continue
        code, changes = _code_today(origin)
        own = FUNCTIONS.get(step.kind, "").partition(":")[0]
        if not own:
            changes.append(f"there are no steps {step.kind} any more")
        elif own not in code:
            changes.append(f"{step.kind} is the work of {own} now")
            code[own] = code_hash(own)
        if not own or any(steps[parent] is None for parent in step.parents):
            steps[name], today.names[name] = None, None
        else:
            steps[name] = _renamed(step, code, steps)
            today.names[name] = steps[name].name
            if not changes and steps[name].name != name and all(steps[p].name == p for p in step.parents):
                changes.append("ids are made in another way")
        for change in changes:
            today.causes.setdefault(change, []).append(name)
    return today


def _renamed(step: Step, code: dict[str, str], steps: dict[str, Step]) -> Step:
    """`step` with today's code, reading what today's code would make."""
    names = {name: parent.name for name, parent in steps.items() if parent}
    inputs = {
        role: steps[read] if isinstance(read, str) else [steps[member] for member in read] for role, read in step.inputs.items()
    }
    return make_step(step.kind, step.id.rpartition("-")[0], _replaced(step.settings, names), code, inputs, step.source)


def _replaced(value: Any, names: dict[str, str]) -> Any:
    """`value` with other names for steps: the cells of tables name them."""
    if isinstance(value, dict):
        return {key: _replaced(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _code_today(origin: Origin) -> tuple[dict[str, str], list[str]]:
    """Today's hash of each module that the step's spec names, and what changed in them and in what they import."""
    code, closures, changes = {}, {}, []
    for root in origin.step.code:
        try:
            code[root], closures[root] = code_hash(root), module_hashes(root)
        except OSError:
            changes.append(f"{root} is no longer there")
        except SyntaxError as error:
            changes.append(f"{root}, or what it imports, cannot be read: {error}")
    known = {module for closure in closures.values() for module in closure}
    for root, now in code.items():
        then = origin.step.code[root]
        if now == then:
            continue
        if root not in origin.modules:
            changes.append(f"{root}, or what it imports, was edited ({then} then, {now} today)")
            continue
        # What is in no closure today, but was in one then, may have been in this one.
        left = origin.modules.keys() - known - (origin.step.code.keys() - code.keys())
        recorded = {module: own for module, own in origin.modules.items() if module in closures[root] or module in left}
        edited = [_change(*difference) for difference in differing(recorded, closures[root])]
        changes += edited or [f"{root} is taken for other code than then: workflow/refactorings.yaml was edited"]
    return code, list(dict.fromkeys(changes))


def _change(module: str, then: str | None, now: str | None) -> str:
    if then is None:
        return f"{module} was added ({now})"
    return f"{module} is not imported any more ({then})" if now is None else f"{module} was edited ({then} then, {now} today)"


def plan_of_today() -> tuple[Plan | None, str]:
    """The plan of the experiments that `results/` shows, with today's settings; or none, and why."""
    view = read_view()
    if not view:
        return None, "results/view.json is not here to tell which experiments, with which overrides, are meant"
    try:
        return build_plan(view.get("experiments", []), tuple(view.get("overrides", []))), ""
    except (UserError, OSError, SyntaxError) as error:
        return None, str(error)


def settings_of_today(origins: dict[str, Origin], roles: dict[str, list[str]], plan: Plan) -> Causes:
    """What differs between the settings that the steps had and those that today's plan gives to their roles."""
    causes: Causes = {}
    for name, origin in origins.items():
        role = next((role for role in roles.get(name, []) if role in plan.roles), None)
        if name in plan.steps or not origin.receipt or not (role or name in roles):
            continue
        changes = _changes(origin.step, plan.steps[plan.roles[role]]) if role else [f"no experiment asks for {roles[name][0]} now"]
        for change in changes:
            causes.setdefault(change, []).append(name)
    return causes


def _changes(step: Step, planned: Step) -> list[str]:
    changes = [f"{name}: {then} then, {now} today" for name, then, now in differing_settings(step, planned)]
    if planned.kind != step.kind:
        changes.append(f"it is a {planned.kind} today")
    for role, then, now in differing(_counts(step), _counts(planned)):
        changes.append(f"reads {then or 'no'} {role} then, {now or 'none'} today")
    if not changes:
        changes = [f"runs {module} today" for module in planned.code if module not in step.code]
        changes += [f"does not run {module} today" for module in step.code if module not in planned.code]
    return changes


def _counts(step: Step) -> dict[str, int]:
    return {role: 1 if isinstance(read, str) else len(read) for role, read in step.inputs.items()}
