"""Check settings: unknown keys, types and ranges, with messages that say what to change and where."""

import functools
import math
from typing import Any

import yaml

from gendistill.errors import SettingError
from gendistill.plan.paths import CONFIG, SCHEMA
from gendistill.plan.settings import GROUPS, Settings, load_group


@functools.cache
def _schema() -> dict[str, Any]:
    return yaml.safe_load(SCHEMA.read_text())


@functools.cache
def _validator(part: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator({"$ref": f"#/$defs/{part}", "$defs": _schema()["$defs"]})


def check_experiment(settings: Settings, where: str) -> None:
    """Check the shape of a composed experiment; the values in its groups are checked as each network resolves them.

    Raises:
        SettingError: the first thing that is wrong.
    """
    _check("experiment", settings, "", where)
    for group in GROUPS:
        check_keys(group, settings[group], where)


def check_keys(group: str, settings: Settings, where: str) -> None:
    """Check that the settings of a group are those that its member has, no more and no fewer.

    Raises:
        SettingError: the first that is unknown, missing, or must not be changed.
    """
    original = load_group(group, settings["name"], where)
    file = f"config/{group}/{settings['name']}.yaml"
    allowed = ", ".join(key for key in original if key not in ("_target_", "trains"))
    for key in ("_target_", "trains"):
        if settings.get(key) != original.get(key):
            raise SettingError(f"{group}.{key} = {settings.get(key)}: must stay as in {file}. Set in {where}.")
    for key in sorted(set(settings) - set(original)):
        raise SettingError(
            f"{group}.{key} = {settings[key]}: unknown setting of {group} {settings['name']}. Allowed: {allowed}. "
            f"Set in {where}; defined in {file}."
        )
    for key in sorted(set(original) - set(settings)):
        raise SettingError(f"{group}.{key} is missing. Set it in {where}, or leave it as in {file}.")


def check_group(group: str, settings: Settings, where: str) -> None:
    """Check one resolved member of a settings group, for one network.

    Raises:
        SettingError: the first thing that is wrong.
    """
    check_keys(group, settings, where)
    _check(group, settings, f"{group}.", f"{where}; defined in config/{group}/{settings['name']}.yaml")


def _check(part: str, value: Any, prefix: str, where: str) -> None:
    from jsonschema.exceptions import best_match

    error = best_match(_validator(part).iter_errors(_finite(value)))
    if error is None:
        return
    path = prefix + ".".join(str(item) for item in error.absolute_path)
    schema = error.schema
    if error.validator == "additionalProperties":
        unknown = sorted(set(error.instance) - set(schema["properties"]))[0]
        name = f"{path}.{unknown}".lstrip(".")
        allowed = ", ".join(schema["properties"])
        raise SettingError(f"{name} = {error.instance[unknown]}: unknown setting. Allowed: {allowed}. Set in {where}.")
    if error.validator == "required":
        missing = next(key for key in schema["required"] if key not in error.instance)
        raise SettingError(f"{f'{path}.{missing}'.lstrip('.')} is missing. Set it in {where}.")
    allowed = schema.get("description") or f"a mapping of {', '.join(schema.get('properties', ()))}"
    raise SettingError(f"{path} = {error.instance!r}: not allowed. It must be {allowed}. Set in {where}.")


def _finite(value: Any) -> Any:
    """`value` with infinities and NaN as text, which no number may be: JSON Schema has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return f"{value}" if isinstance(value, float) and not math.isfinite(value) else value


def file_of(experiment: str) -> str:
    """The file of an experiment, as messages name it."""
    return str((CONFIG / "experiment" / f"{experiment}.yaml").relative_to(CONFIG.parent))
