"""Find the function or class that a `_target_` of the settings names."""

import importlib
import keyword
from functools import partial
from types import ModuleType
from typing import Any

from gendistill.errors import SettingError

ALLOWED = ("gendistill.data.", "gendistill.language.", "gendistill.networks.", "gendistill.objectives.")
# What the plan and the loop read; the rest is for the target.
NOT_ARGUMENTS = (
    "_target_",
    "name",
    "trains",
    "needs",
    "taps",
    "first_stage",
    "distil_until",
    "weight",
    "reductions",
    "shares",
    "gives",
    "members",
    "takes",
    "taken",
    "medium",
    "on_disk",
    "superclasses",
)


def instantiate(settings: dict[str, Any]) -> partial[Any]:
    """The callable that `settings["_target_"]` names, with the other settings bound as keyword arguments.

    A setting whose name is a Python keyword (`lambda`) is passed with a trailing underscore. Settings that name targets of their
    own, such as the networks of a joint network, are passed as the callables that these name.

    Raises:
        SettingError: the target lies outside this package's data sets, networks and objectives, or does not exist.
    """
    target = settings["_target_"]
    if not target.startswith(ALLOWED):
        raise SettingError(f"_target_ = {target}: not allowed, it must start with one of: {', '.join(ALLOWED)}")
    module, _, name = target.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"_target_ = {target}: {error}") from error
    if getattr(function, "__module__", None) != module or not callable(function):
        raise SettingError(f"_target_ = {target}: not allowed, {module} does not define it as a function or class")
    return partial(function, **arguments_of(settings))


def arguments_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are for the target itself, under the names of its arguments."""
    own = {key: _instantiated(value) for key, value in settings.items() if key not in NOT_ARGUMENTS}
    return {f"{key}_" if keyword.iskeyword(key) else key: value for key, value in own.items()}


def _instantiated(value: Any) -> Any:
    if isinstance(value, list):
        return [_instantiated(item) for item in value]
    return instantiate(value) if isinstance(value, dict) and "_target_" in value else value


def module_of(settings: dict[str, Any]) -> ModuleType:
    """The module of the target: for what stands beside it there, such as the weights of an objective's own."""
    return importlib.import_module(instantiate(settings).func.__module__)
