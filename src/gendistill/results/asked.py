"""What was asked for: of each experiment and published table, the settings that matter."""

from typing import Any

from gendistill.plan.nested import shortened
from gendistill.plan.plan import Plan
from gendistill.plan.step import NETWORKS, Step

# What of an objective is for the plan only, or its name.
NOT_SHOWN = ("name", "_target_", "trains", "needs", "temperature_squared")
DATA = ("dataset", "text")


def asked(plan: Plan, name: str) -> dict[str, str]:
    """The settings that matter of one experiment or published table, as text by what they are."""
    behind = plan.behind(step.name for step in plan.shown(name))
    steps = [step for step in plan.steps.values() if step.name in behind]
    networks = [step for step in steps if step.kind in NETWORKS]
    settings = plan.settings[name]
    lines = {
        "data": _listed(_data(step) for step in steps if step.kind in DATA),
        "networks": _listed(step.settings["network"]["name"] for step in networks),
        "objectives": _grouped([step.settings["objective"] for step in networks]),
        "recipes": _listed(_recipe(step.settings["recipe"]) for step in networks),
        "generations": str(max((step.settings.get("generation", 0) for step in networks), default=0)),
        "seeds": ", ".join(str(seed) for seed in settings["seeds"]),
        "scale": settings["scale"]["name"],
    }
    return {what: text for what, text in lines.items() if text}


def _data(step: Step) -> str:
    per_class = step.settings.get("train_per_class")
    return step.settings["name"] + (f" ({per_class} training images a class)" if per_class else "")


def _recipe(recipe: dict[str, Any]) -> str:
    return f"{recipe['name']} ({recipe['epochs']} epochs, batches of {recipe['batch_size']})"


def _grouped(objectives: list[dict[str, Any]]) -> str:
    """The objectives by name, each with all values that its settings have."""
    values: dict[str, dict[str, list[str]]] = {}
    for objective in objectives:
        own = values.setdefault(objective["name"], {})
        for key, value in shortened(objective).items():
            if key not in NOT_SHOWN and str(value) not in own.setdefault(key, []):
                own[key].append(str(value))
    shown = {name: "; ".join(f"{key} {', '.join(found)}" for key, found in own.items()) for name, own in values.items()}
    return ", ".join(f"{name} ({settings})" if settings else name for name, settings in shown.items())


def _listed(texts: Any) -> str:
    return ", ".join(dict.fromkeys(texts))
