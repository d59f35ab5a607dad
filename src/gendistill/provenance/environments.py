"""When, where and with what steps ran."""

from collections import Counter
from typing import Any

from gendistill.provenance.values import brief

MACHINE = ("platform", "processor", "threads", "gpu", "cuda")


def environment_of(receipt: dict[str, Any]) -> dict[str, str]:
    """Versions, machine and state of the code, as text by name."""
    recorded = receipt.get("environment", {})
    found = {key: brief(value) for key, value in recorded.items() if not key.startswith("git_")}
    if "git_commit" in recorded:
        commit = recorded["git_commit"]
        state = "with changes that were not committed" if recorded.get("git_changed") else "unchanged"
        found["code"] = f"git commit {commit[:10]}, {state}" if commit else "no git"
    return found


def common_environment(receipts: list[dict[str, Any]]) -> dict[str, str]:
    """For each name the value that most steps have."""
    environments = [environment_of(receipt) for receipt in receipts]
    names = dict.fromkeys(name for environment in environments for name in environment)
    return {name: Counter(e[name] for e in environments if name in e).most_common(1)[0][0] for name in names}


def environment_lines(environment: dict[str, str]) -> dict[str, str]:
    """An environment in three lines."""
    machine = [
        f"{environment[key]} thread(s)" if key == "threads" else f"{key} {environment[key]}" if key == "cuda" else environment[key]
        for key in MACHINE
        if key in environment
    ]
    packages = [f"{key} {value}" for key, value in environment.items() if key not in (*MACHINE, "code")]
    lines = {"machine": ", ".join(machine), "packages": ", ".join(packages), "code": environment.get("code", "")}
    return {name: text for name, text in lines.items() if text}
