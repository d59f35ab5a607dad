"""What the steps of a plan have cost, and on what they ran, as their receipts tell it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gendistill.files import duration, read_receipt
from gendistill.plan.plan import Plan
from gendistill.plan.step import NETWORKS
from gendistill.results.graph import in_words

# What of a receipt's environment is no version.
NO_VERSIONS = ("platform", "processor", "threads", "gpu", "git_commit", "git_changed")
# What a receipt's `resources.energy` may have, and how the report calls it.
ENERGY = {"processor_joules": "energy of processors", "gpu_joules": "energy of GPUs"}
JOULES_PER_KWH = 3.6e6


def receipts_of(plan: Plan) -> list[dict[str, Any]]:
    """The receipts of all steps, in order.

    Raises:
        UserError: a step has none.
    """
    return [read_receipt(Path(step.folder)) for step in plan.steps.values()]


def cost(receipts: list[dict[str, Any]]) -> dict[str, Any]:
    """Computing time and energy of all steps, and by kind of step.

    Returns:
        `kinds`: for each kind its number of `steps`, their wall time summed, as `seconds` and as `time`, and their `energy` in
        joules by device, of the steps whose receipt tells it; `total`: the same of all; `devices`: by which some receipt tells its
        energy, and how the report calls it; `networks`: how many were trained, and `network_time`; `first` and `last`: when the
        first and the last step was started.
    """
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for receipt in receipts:
        by_kind.setdefault(receipt["spec"]["kind"], []).append(receipt)
    trained = [receipt for kind in NETWORKS for receipt in by_kind.get(kind, [])]
    started = sorted(receipt["times"]["started"] for receipt in receipts if "started" in receipt["times"])
    total = _sums(receipts)
    return {
        "kinds": [{"kind": in_words(kind), **_sums(own)} for kind, own in by_kind.items()],
        "total": total,
        "devices": {device: name for device, name in ENERGY.items() if device in total["energy"]},
        "networks": len(trained),
        "network_time": duration(_sums(trained)["seconds"]),
        "first": _minute(started[:1]),
        "last": _minute(started[-1:]),
    }


def _sums(receipts: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = sum(receipt["times"]["seconds"] for receipt in receipts)
    told = [receipt.get("resources", {}).get("energy") or {} for receipt in receipts]
    joules = {device: [own[device] for own in told if own.get(device) is not None] for device in ENERGY}
    return {
        "steps": len(receipts),
        "seconds": round(seconds, 2),
        "time": duration(seconds),
        "energy": {
            device: {"joules": sum(own), "text": energy(sum(own)), "measured": len(own)} for device, own in joules.items() if own
        },
    }


def energy(joules: float) -> str:
    """An energy, to be read: in watt-hours, or kilowatt-hours."""
    kwh = joules / JOULES_PER_KWH
    return f"{kwh:,.2f} kWh" if kwh >= 1 else f"{1000 * kwh:.2f} Wh"


def _minute(times: list[str]) -> str:
    """The first of some times in ISO 8601, which are in UTC, to the minute; empty if there is none."""
    return f"{times[0][:16].replace('T', ' ')} UTC" if times else ""


def environments(receipts: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Machines that trained networks, versions, and commits: each as text, with the number of steps that have it."""
    trained = [receipt for receipt in receipts if receipt["spec"]["kind"] in NETWORKS]
    versions = (
        f"{package.replace('python', 'Python')} {version}"
        for receipt in receipts
        for package, version in receipt["environment"].items()
        if package not in NO_VERSIONS and version is not None
    )
    return {
        "machines": _counted(_machine(receipt) for receipt in trained),
        "platforms": _counted(receipt["environment"]["platform"] for receipt in receipts if "platform" in receipt["environment"]),
        "versions": _counted(versions),
        "commits": _counted(_commit(receipt["environment"]) for receipt in receipts),
    }


def _counted(texts: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(texts).items()))


def _machine(receipt: dict[str, Any]) -> str:
    environment = receipt["environment"]
    parts = [
        environment.get("gpu") or environment.get("processor", "unknown processor"),
        f"{environment.get('threads', 1)} thread(s)",
        receipt["metrics"].get("number_format", ""),
    ]
    return ", ".join(part for part in parts if part)


def _commit(environment: dict[str, Any]) -> str:
    commit = environment.get("git_commit")
    return f"{commit}{', with changes that were not committed' if environment.get('git_changed') else ''}" if commit else "no git"
