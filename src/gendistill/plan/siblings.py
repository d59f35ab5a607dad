"""Siblings: trainings that differ by their seed only, and that one job does at the same time."""

import functools
import json
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import write_bytes
from gendistill.plan.canonical import canonical_json, digest
from gendistill.plan.paths import CACHE
from gendistill.plan.plan import Plan
from gendistill.plan.step import HOLD_NETWORK, NETWORKS, Step

FOLDER = CACHE / "siblings"
# The kinds of step whose seed is that of a network; the seed of a data set says which images are in it.
SEEDED = (*HOLD_NETWORK, "softlabels")


def siblings(plan: Plan, waiting: Collection[str]) -> dict[str, list[Step]]:
    """The trainings of a plan that share a job, as `runtime.side_by_side` says.

    Siblings never wait for each other: what one reads has the seed of that one.

    Args:
        plan: of the chosen experiments.
        waiting: the names of the steps that are still to be made.

    Returns:
        Two or more steps for each name `siblings_HASH`, in the order of their seeds.
    """

    @functools.cache
    def likeness(name: str) -> str:
        """The same for two steps that differ by the seed only, as do the steps that they read."""
        step = plan.steps[name]
        settings = {key: value for key, value in step.settings.items() if key != "seed" or step.kind not in SEEDED}
        inputs: dict[str, Any] = {
            role: likeness(names) if isinstance(names, str) else [likeness(each) for each in names]
            for role, names in step.inputs.items()
        }
        return digest([step.kind, settings, step.code, inputs])

    alike: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for step in plan.steps.values():
        if step.kind in NETWORKS and step.name in waiting and plan.runtime[step.name]["side_by_side"] > 1:
            # One job has one device and one number of threads.
            alike[likeness(step.name), canonical_json(plan.runtime[step.name])].append(step)
    found = {}
    for steps in alike.values():
        at_a_time = plan.runtime[steps[0].name]["side_by_side"]
        ordered = sorted(steps, key=lambda step: step.settings["seed"])
        for first in range(0, len(ordered), at_a_time):
            chosen = ordered[first : first + at_a_time]
            if len(chosen) > 1:
                found[f"siblings_{digest([step.name for step in chosen])}"] = chosen
    return found


def siblings_file(name: str) -> Path:
    """The file that has the specs of siblings."""
    return FOLDER / f"{name}.json"


def write_siblings(found: dict[str, list[Step]]) -> None:
    """Leave the specs of siblings for the jobs that train them."""
    for name, steps in found.items():
        write_bytes(siblings_file(name), f"[{', '.join(step.to_json() for step in steps)}]".encode())


def names_of_siblings(name: str) -> list[str]:
    """The steps, as `kind/id`, that the job of this name does.

    Raises:
        OSError, ValueError, KeyError, TypeError: its file is not there, or damaged.
    """
    return [f"{spec['kind']}/{spec['id']}" for spec in json.loads(siblings_file(name).read_text())]


def read_siblings(plan: Plan, arguments: Sequence[str]) -> dict[str, list[Step]]:
    """The siblings whose names are in the arguments of a command.

    Raises:
        UserError: the plan has other steps by now.
    """
    found = {}
    for name in dict.fromkeys(re.findall(r"\bsiblings_[0-9a-f]{10}\b", " ".join(arguments))):
        try:
            found[name] = [plan.steps[each] for each in names_of_siblings(name)]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{siblings_file(name)} cannot be read: {error}. Run snakemake again, which makes it.") from error
        except KeyError as error:
            raise UserError(f"{name}: settings or code were changed after this job was submitted. Run snakemake again.") from error
    return found
