"""Check settings: unknown keys, types and ranges, with messages that say what to change and where."""

import functools
import math
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.paths import SCHEMA
from gendistill.plan.settings import GROUPS, Settings, group_of, member
from gendistill.softlabels.exact import OFF
from gendistill.yaml_text import read_yaml

# What a member of a group is: no setting.
FIXED = ("_target_", "trains", "needs", "reductions", "gives", "members", "medium", "on_disk")
NUMBER = {"type": "number", "description": "a number"}
TYPES = {
    bool: {"type": "boolean", "description": "true or false"},
    int: NUMBER,
    float: NUMBER,
    str: {"type": "string", "description": "a text"},
    list: {"type": "array", "description": "a list"},
    dict: {"type": "object", "description": "a mapping"},
}
# Experiments and resolved members that were checked before: most are alike in most.
_ALLOWED: set[tuple[str, str, str]] = set()


@functools.cache
def _definitions() -> dict[str, Any]:
    return read_yaml(SCHEMA.read_text())["$defs"]


@functools.cache
def _targets() -> dict[str, Any]:
    """What each setting of a data set, network or objective may be, by `_target_`."""
    files = [SCHEMA.with_name(f"{name}.yaml") for name in ("dataset", "network", "objective", "language")]
    return {target: settings for file in files for target, settings in read_yaml(file.read_text()).items()}


@functools.cache
def _validator(part: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator({"$ref": f"#/$defs/{part}", "$defs": _definitions()})


@functools.cache
def _group_validator(group: str, target: str) -> Any:
    from jsonschema import Draft202012Validator

    if group == "recipe":
        return _validator(f"recipe_for_{target}")
    return Draft202012Validator({"properties": _targets().get(target, {}), "$defs": _definitions()})


def _like_default(settings: Settings) -> Any:
    """What the settings of a target may be that no schema speaks of: of the type of their default."""
    from jsonschema import Draft202012Validator

    properties = {key: TYPES[type(value)] for key, value in settings.items() if key not in FIXED and type(value) in TYPES}
    return Draft202012Validator({"properties": properties})


def check_experiment(settings: Settings, where: str) -> None:
    """Check the shape of a composed experiment; the values in its groups are checked as each network resolves them.

    Raises:
        SettingError: the first thing that is wrong.
    """
    # Of the groups only the name counts here: experiments that differ in nothing else are alike.
    named = {group: "name" in settings[group] for group in GROUPS if isinstance(settings.get(group), dict)}
    own = ("experiment", "", repr({**settings, **named}))
    if own not in _ALLOWED:
        _check(_validator("experiment"), settings, "", where)
        _ALLOWED.add(own)
    for group in GROUPS:
        check_keys(group, settings[group], where)
    runtime = settings["runtime"]
    if runtime["processes"] > 1 and runtime["side_by_side"] > 1:
        raise SettingError(
            f"runtime.side_by_side = {runtime['side_by_side']}: must be 1 where runtime.processes = {runtime['processes']}: either "
            f"several networks share a GPU, or several GPUs a network. Set in {where}."
        )


def check_claim(name: str, claim: Any, where: str) -> None:
    """Check the shape of a claim.

    Raises:
        SettingError: the first thing that is wrong.
    """
    _check(_validator("claim"), claim, f"{name}.", where)


def check_keys(group: str, settings: Settings, where: str) -> None:
    """Check that the settings of a group are those that its member has, no more and no fewer; of a recipe for images also those
    against overfitting, which files leave out where they are off.

    Raises:
        SettingError: the first that is unknown, missing, or must not be changed.
    """
    original = member(group, settings["name"], where)
    file = f"config/{group}/{settings['name']}.yaml"
    optional = OFF if group == "recipe" and original.get("medium", "images") == "images" else {}
    allowed = ", ".join(key for key in {**original, **optional} if key not in FIXED)
    for key in FIXED:
        if settings.get(key) != original.get(key):
            raise SettingError(f"{group}.{key} = {settings.get(key)}: must stay as in {file}. Set in {where}.")
    for key in sorted(set(settings) - set(original) - set(optional)):
        what = "for images only, not a setting of" if group == "recipe" and key in OFF else "unknown setting of"
        raise SettingError(
            f"{group}.{key} = {settings[key]}: {what} {group} {settings['name']}. Allowed: {allowed}. "
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
    target = settings.get("_target_", settings.get("medium", "images"))
    own = (group, target, repr(settings))
    if own in _ALLOWED:
        return
    known = group == "recipe" or target in _targets()
    validator = _group_validator(group, target) if known else _like_default(member(group, settings["name"], where))
    _check(validator, settings, f"{group}.", f"{where}; defined in config/{group}/{settings['name']}.yaml")
    _ALLOWED.add(own)


def _check(validator: Any, value: Any, prefix: str, where: str) -> None:
    from jsonschema.exceptions import best_match

    error = best_match(validator.iter_errors(_finite(value)))
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
    return f"config/{group_of(experiment)}/{experiment}.yaml"
