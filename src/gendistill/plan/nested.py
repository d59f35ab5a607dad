"""Members of a settings group that name others: joint networks their networks, objectives the objectives that they are made of."""

import math
from collections.abc import Iterator
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.scale import scaled
from gendistill.plan.settings import Settings, load_group
from gendistill.plan.validate import check_group

# The member of a joint network that is several of its networks.
ENSEMBLE = "ensemble"
# What the training loop knows of any network and its teacher; the rest a joint network has to give.
KNOWN_NEEDS = (
    *("images", "epoch", "key", "parts", "input"),
    *("maps", "features", "weights"),
    *("teacher_maps", "teacher_features", "teacher_weights", "teacher_input_gradient"),
)


def resolve_nested(group: str, settings: Settings, scale: Settings, where: str) -> Settings:
    """`settings` with whole settings in place of the names of other members of the group.

    Raises:
        SettingError: there is no such member, or its settings are not allowed.
    """
    if group == "network" and "networks" in settings:
        return {**settings, "networks": [_member(group, each, scale, where) for each in settings["networks"]]}
    if group == "objective" and "alone" in settings:
        alone = _member(group, settings["alone"], scale, where)
        if alone.get("needs") or "terms" in alone or alone.get("distil_until", 1) < 1:
            raise SettingError(
                f"objective.alone = {alone['name']}: must be an objective of logits and labels only, to the last epoch, such as "
                f"cross_entropy or kd. Set in {where}."
            )
        return {**settings, "alone": alone}
    if group == "objective" and "terms" in settings:
        return _sum(settings, scale, where)
    return settings


def _sum(settings: Settings, scale: Settings, where: str) -> Settings:
    """A weighted sum of objectives, with all that any of them needs."""
    if not settings["terms"]:
        raise SettingError(
            "objective.terms = {}: must name at least one objective with its weight, such as {kd: {weight: 1.0}}. "
            f"Set in {where}."
        )
    until = settings["distil_until"]
    if isinstance(until, bool) or not isinstance(until, (int, float)) or not 0 <= until <= 1:
        raise SettingError(
            f"objective.distil_until = {until}: must be a share of the epochs, between 0 and 1 (to the end). Set in {where}."
        )
    terms = {}
    for key, change in settings["terms"].items():
        if not isinstance(key, str):
            raise SettingError(f"objective.terms: {key}: must be a name, such as kd. Set in {where}.")
        if change is not None and not isinstance(change, dict):
            raise SettingError(
                f"objective.terms.{key} = {change}: must be a mapping of its weight and the settings that differ, such as "
                f"{{weight: {change}}}. Set in {where}."
            )
        change = dict(change or {})
        weight = change.pop("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise SettingError(f"objective.terms.{key}.weight = {weight}: must be a number of at least 0. Set in {where}.")
        own = _member("objective", {"name": key, **change}, scale, where)
        if "terms" in own or own.get("distil_until", 1) < 1:
            raise SettingError(
                f"objective.terms.{key} = {own['name']}: a term is no sum itself, and counts to the last epoch; distil_until is a "
                f"setting of the sum. Set in {where}."
            )
        terms[key] = {**own, "weight": weight}
    if not any(term["weight"] for term in terms.values()):
        raise SettingError(f"objective.terms: all weights are 0, so nothing would be learnt. Set one above 0 in {where}.")
    stages = {key: term["first_stage"] for key, term in terms.items() if term.get("first_stage")}
    if len(set(stages.values())) > 1:
        told = ", ".join(f"{key}.first_stage = {share}" for key, share in stages.items())
        raise SettingError(f"objective.terms: {told}: first stages of one sum are one, so they must be equal. Set in {where}.")
    needs = list(dict.fromkeys(need for term in terms.values() for need in term.get("needs", [])))
    return {**settings, "terms": terms, "needs": needs}


def _member(group: str, chosen: Any, scale: Settings, where: str) -> Settings:
    """A member of a group by its name, or by a mapping of its name and what differs."""
    change = {"name": chosen} if isinstance(chosen, str) else chosen
    if not isinstance(change, dict) or "name" not in change:
        raise SettingError(f"{group} = {chosen}: must be a name, or a mapping that has one. Set in {where}.")
    own = {**load_group(group, change["name"], where), **change}
    if group == "network" and "networks" in own:
        raise SettingError(f"network = {own['name']}: a joint network is not made of joint networks. Set in {where}.")
    if group == "network" and own.get("shares"):
        raise SettingError(
            f"network.networks: {own['name']} has shares = {own['shares']}: a network in a joint one shares no layers with a "
            f"teacher. Set shares to [] there, in {where}."
        )
    check_group(group, own, where)
    own = scaled(group, own, scale)
    return resolve_nested(group, own, scale, where) if group == "objective" else own


def members_of(network: Settings) -> list[str]:
    """The networks that can be taken out of a joint network, the main one first; none of a single network."""
    members = network.get("members", [])
    if members == "networks":
        return [f"peer{number}" for number in range(1, len(network["networks"]) + 1)]
    if members == "groups":
        exits = [f"exit{number}" for number in range(1, len(network["networks"][0].get("reductions", [0])) + 1)]
        return [exits[-1], *exits[:-1], ENSEMBLE]
    return members


def main_member(network: Settings, where: str) -> str:
    """The member that goes on in the lineage.

    Raises:
        SettingError: there is no such member.
    """
    members, taken = members_of(network), network.get("takes")
    if taken is not None and taken not in members:
        raise SettingError(f"network.takes = {taken}: must be one of {', '.join(members)}, or null. Set in {where}.")
    return taken or members[0]


def trains(objective: Settings) -> str:
    """Whether an objective trains a `patriarch` or a `student`; one that is made of others, as these do."""
    inner = [objective["alone"]] if "alone" in objective else list(objective.get("terms", {}).values())
    if objective["trains"] != "any":
        return objective["trains"]
    return "student" if any(trains(each) == "student" for each in inner) else "patriarch"


def targets_in(settings: Any) -> Iterator[str]:
    """Every `_target_` in some settings."""
    if isinstance(settings, dict):
        if "_target_" in settings:
            yield settings["_target_"]
        settings = list(settings.values())
    if isinstance(settings, list):
        for each in settings:
            yield from targets_in(each)


def shortened(settings: Settings) -> Settings:
    """Settings to be read: of the members that they are made of the names, and in a sum the weights."""
    found = dict(settings)
    if "networks" in found:
        found["networks"] = [network["name"] for network in found["networks"]]
    if "alone" in found:
        found["alone"] = found["alone"]["name"]
    if "terms" in found:
        found["terms"] = {key: term["weight"] for key, term in found["terms"].items()}
    return found


def check_needs(network: Settings, objective: Settings, where: str) -> None:
    """Check that a network gives what its objective needs.

    Raises:
        SettingError: it does not.
    """
    given = [*KNOWN_NEEDS, *network.get("gives", [])]
    missing = [need for need in objective.get("needs", []) if need not in given]
    if missing:
        raise SettingError(
            f"objective = {objective['name']}: it needs {missing[0]}, which the network {network['name']} does not give. Set "
            f"network to a joint network that does (`gives` in config/network/), or another objective, in {where}."
        )
    if "networks" in network and not set(objective.get("needs", [])) & set(network["gives"]):
        raise SettingError(
            f"objective = {objective['name']}: it trains one network, but {network['name']} is several, of which the others would "
            f"learn nothing. Set objective to one that needs {' or '.join(network['gives'])}, or network (for generation 0 in "
            f"patriarch), in {where}."
        )
    if "networks" in network:
        _check_joint_objective(network, objective, where)
    layers = [need for need in objective.get("needs", []) if need in ("maps", "features", "weights")]
    if layers and "networks" in network:
        raise SettingError(
            f"objective = {objective['name']}: it needs {layers[0]} of one network, but {network['name']} is several. Set another "
            f"network or objective in {where}."
        )


def _check_joint_objective(network: Settings, objective: Settings, where: str) -> None:
    """Check that an objective trains all members of a joint network, to the last epoch."""
    if objective.get("distil_until", 1) < 1:
        raise SettingError(
            f"objective.distil_until = {objective['distil_until']}: then the labels alone would train one network of "
            f"{network['name']}, and the others would stop. It must be 1: set it in {where}."
        )
    terms = objective.get("terms", {}).values()
    if terms and not any(term["weight"] for term in terms if set(term.get("needs", [])) & set(network["gives"])):
        raise SettingError(
            f"objective.terms: those that train all networks of {network['name']} have weight 0. Set one above 0 in {where}."
        )
