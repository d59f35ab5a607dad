"""Find the function or class that a `_target_` of the settings names."""

import importlib
import keyword
from collections.abc import Callable
from functools import partial
from typing import Any

from gendistill.errors import SettingError

ALLOWED = ("gendistill.data.", "gendistill.language.", "gendistill.networks.", "gendistill.objectives.")
# What the plan and the loop read; the rest is for the target.
NOT_ARGUMENTS = ("_target_", "name", "trains", "needs", "distil_until", "reductions", "shares", "medium", "on_disk", "superclasses")


def instantiate(settings: dict[str, Any]) -> Callable[..., Any]:
    """The callable that `settings["_target_"]` names, with the other settings bound as keyword arguments.

    A setting whose name is a Python keyword (`lambda`) is passed with a trailing underscore.

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
    arguments = {key: value for key, value in settings.items() if key not in NOT_ARGUMENTS}
    return partial(function, **{f"{k}_" if keyword.iskeyword(k) else k: v for k, v in arguments.items()})
