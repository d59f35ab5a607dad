"""Whether today's code and settings would give the same runs; if not, why."""

from gendistill.provenance.blocks import Ancestry, other_copies, title_of
from gendistill.provenance.today import Causes, plan_of_today, settings_of_today, with_code_of_today
from gendistill.provenance.values import field, numbers_as_ranges


def verdict(targets: list[str], ancestry: Ancestry) -> list[str]:
    """The last lines of an ancestry: what today's code and settings would make of the runs `targets`."""
    lines = [*_code(targets, ancestry), *_settings(targets, ancestry)]
    copies = [name for name in ancestry.origins if other_copies(name, ancestry)]
    if copies:
        who = numbers_as_ranges([ancestry.numbers[name] for name in copies])
        lines.append(_line("copies", f"Made from other copies of earlier steps than those that are here now: {who}."))
    return lines


def _code(targets: list[str], ancestry: Ancestry) -> list[str]:
    today = with_code_of_today(ancestry.origins)
    missing = [name for name, origin in ancestry.origins.items() if not origin.receipt]
    doubt = f", as far as can be told without the receipts of {_who(missing, ancestry)}" if missing else ""
    others = {run: today.names[run] for run in targets if today.names[run] != run}
    if not others:
        return [_line("code", f"Today's code gives the same id{'s' if len(targets) > 1 else ''}{doubt}.")]
    lines = [_line("code", f"Today's code does not give the same id{'s' if len(targets) > 1 else ''}{doubt}:")]
    lines += [
        _line("", f"[{ancestry.numbers[run]}] would be {f'runs/{now}' if now else 'impossible'}") for run, now in others.items()
    ]
    lines += [_line("", "because"), *_causes(today.causes, ancestry)]
    older = [name for name in {n: None for names in today.causes.values() for n in names} if not ancestry.origins[name].modules]
    if older:
        lines.append(_line("", f"Older receipts do not tell which of the imports was edited: {_who(older, ancestry)}."))
    caused = {name for names in today.causes.values() for name in names}
    follow = [name for name, now in today.names.items() if now != name and name not in caused]
    return [*lines, _line("", f"Changed by what they read only: {_who(follow, ancestry)}.")] if follow else lines


def _settings(targets: list[str], ancestry: Ancestry) -> list[str]:
    plan, problem = plan_of_today()
    if plan is None:
        return [_line("settings", f"Not compared with today's: {problem.rstrip('.')}.")]
    causes = settings_of_today(ancestry.origins, ancestry.roles, plan)
    if causes:
        return [_line("settings", "Today's settings ask for another run, because"), *_causes(causes, ancestry)]
    untold = [run for run in targets if run not in plan.steps and run not in ancestry.roles]
    if untold:
        who = _who(untold, ancestry)
        return [_line("settings", f"Not compared with today's: {who} has no role in the results. See: gendistill diff")]
    return [_line("settings", "Today's settings are the same.")]


def _causes(causes: Causes, ancestry: Ancestry) -> list[str]:
    """Each cause with the steps that it concerns."""
    return [field("", f"{cause}: {_who(names, ancestry)}", indent=4, hang=2) for cause, names in causes.items()]


def _who(names: list[str], ancestry: Ancestry) -> str:
    if len(names) == 1:
        return title_of(names[0], ancestry)
    return numbers_as_ranges([ancestry.numbers[name] for name in names])


def _line(name: str, text: str) -> str:
    return field(name, text, indent=2)
