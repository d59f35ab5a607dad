"""Check settings: unknown keys, types and ranges, with messages that say what to change and where."""

import functools
import json
from typing import Any

import yaml

from gendistill.errors import SettingError
from gendistill.plan.paths import CONFIG, SCHEMA
from gendistill.plan.settings import Settings, load_group


@functools.cache
def _schema() -> dict[str, Any]:
    return yaml.safe_load(SCHEMA.read_text())


@functools.cache
def _validator(part: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator({"$ref": f"#/$defs/{part}", "$defs": _schema()["$defs"]})


def check_experiment(settings: Settings, where: str) -> None:
    """Check the shape of a composed experiment; its groups are checked one by one, as each run resolves them.

    Raises:
        SettingError: the first thing that is wrong.
    """
    _check("experiment", settings, "", where)


def check_group(group: str, settings: Settings, where: str) -> None:
    """Check one resolved member of a settings group, for one network.

    Raises:
        SettingError: the first thing that is wrong.
    """
    original = load_group(group, settings["name"], where)
    unknown = sorted(set(settings) - set(original))
    if unknown:
        raise SettingError(
            f"{group}.{unknown[0]} = {settings[unknown[0]]}: unknown setting of {group} {settings['name']}. "
            f"Allowed: {', '.join(k for k in original if k not in ('_target_', 'trains'))}. "
            f"Set in {where}; defined in config/{group}/{settings['name']}.yaml."
        )
    fixed = [key for key in ("_target_", "trains") if settings.get(key) != original.get(key)]
    if fixed:
        raise SettingError(f"{group}.{fixed[0]} = {settings[fixed[0]]}: must stay as in config/{group}/{settings['name']}.yaml.")
    changed = {key: value for key, value in settings.items() if original[key] != value}
    for part, source in ((changed, where), (settings, f"config/{group}/{settings['name']}.yaml")):
        _check(group, part, f"{group}.", source)


def _check(part: str, value: Any, prefix: str, where: str) -> None:
    from jsonschema.exceptions import best_match

    error = best_match(_validator(part).iter_errors(value))
    if error is None:
        return
    path = ".".join(str(item) for item in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = list(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(allowed))[0]
        name = f"{prefix}{path + '.' if path else ''}{unknown}"
        raise SettingError(f"{name} = {error.instance[unknown]}: unknown setting. Allowed: {', '.join(allowed)}. Set in {where}.")
    allowed = error.schema.get("description") or f"{error.validator} {json.dumps(error.validator_value)}"
    raise SettingError(f"{prefix}{path} = {error.instance!r}: not allowed. It must be {allowed}. Set in {where}.")


def file_of(experiment: str) -> str:
    """The file of an experiment, as messages name it."""
    return str((CONFIG / "experiment" / f"{experiment}.yaml").relative_to(CONFIG.parent))
