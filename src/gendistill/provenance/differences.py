"""`python -m gendistill diff NAME NAME`: what differs between two runs and between what they come from."""

import re
from typing import Any

from gendistill.provenance.compare import ABSENT, OWN, differing, differing_settings
from gendistill.provenance.environments import environment_of
from gendistill.provenance.names import find_run, roles_by_run
from gendistill.provenance.origins import Origin, label_of, load_origins
from gendistill.provenance.pairs import DATA, Pair, pair_up
from gendistill.provenance.values import brief, field, number

TOPICS = ("kind", "seed", "settings", "code", "data", "inputs", "ancestors", "environment", "metrics")
# What is worth saying that it is equal.
EQUAL = ("seed", "settings", "code", "data", "environment", "metrics")
DIGITS = 12


def difference(first: str, second: str) -> str:
    """What differs between two runs: settings, seeds, code, data, ancestors, environment and metrics; and what is equal.

    Args:
        first: a role of the results, a path, or an id.
        second: the same of the other run.

    Raises:
        UserError: one names no run here, or several.
    """
    one, other = find_run(first), find_run(second)
    roles = {run: f"  ({', '.join(named)})" for run, named in roles_by_run().items()}
    if one == other:
        return f"{first} and {second} are the same run: runs/{one}{roles.get(one, '')}"
    a, b = load_origins([one]), load_origins([other])
    pairs = pair_up(one, other, a, b)
    found = _found(one, other, a, b, pairs)
    lines = [field("first", f"runs/{one}{roles.get(one, '')}", 0), field("second", f"runs/{other}{roles.get(other, '')}", 0)]
    for topic, texts in found.items():
        told = [f"{text}  ({_joined(who)})" if who else text for text, who in texts.items()]
        lines += ["", *(field(topic if n == 0 else "", text, 0, hang=2) for n, text in enumerate(told))] if told else []
    # Of what was not compared nothing is said.
    equal = [topic for topic in EQUAL if not found[topic]] if (one, other) in pairs else []
    same = [label_of(a[left], a) for left, right in pairs if left == right]
    equal += [f"the very steps that both come from ({_joined(same)})"] if same else []
    return "\n".join([*lines, "", field("equal", ", ".join(equal) or "nothing", 0, hang=2)])


def _found(one: str, other: str, a: dict[str, Origin], b: dict[str, Origin], pairs: list[Pair]) -> dict[str, dict[str, list[str]]]:
    """What differs, by topic, and the steps that it concerns."""
    found: dict[str, dict[str, list[str]]] = {topic: {} for topic in TOPICS}
    for left, right in pairs:
        if left and right:
            differences = _differences(a[left], b[right]) if left != right else []
        else:
            differences = [("ancestors", f"only the {'first' if left else 'second'} comes from")]
        label = " | ".join(dict.fromkeys(label_of(o[name], o) for o, name in ((a, left), (b, right)) if name))
        for topic, text in differences:
            found[topic].setdefault(text, []).append(label)
    if a[one].kind != b[other].kind:
        found["kind"] = {f"{_kind(a[one])} | {_kind(b[other])}": []}
    for which, run, ancestors in (("first", other, a), ("second", one, b)):
        if run in ancestors:
            found["ancestors"][f"the {which} comes from the other"] = []
    found["metrics"] = {text: [] for text in _metrics(a[one], b[other])}
    return found


def _differences(a: Origin, b: Origin) -> list[tuple[str, str]]:
    """What differs between two steps, as topics and texts."""
    if not (a.receipt and b.receipt):
        which = "first's" if not a.receipt else "second's"
        return [("ancestors", f"the {which} receipt can't be read here: {a.problem or b.problem}")]
    found, is_data = [], a.kind in DATA
    for name, own, others in differing_settings(a.step, b.step):
        # Which generation it is is told by what it is, where only one has a number.
        if name not in OWN or ABSENT not in (own, others):
            topic = "seed" if name == "seed" else "data" if is_data else "settings"
            found.append((topic, f"{own} | {others}" if topic == "seed" else f"{name}: {own} | {others}"))
    found += [("code", text) for text in _code(a, b)]
    found += [("inputs", f"{role}: {own or 'not read'} | {others or 'not read'}") for role, own, others in _read(a, b)]
    for parent in (name for name in a.read if name in b.read):
        for file, own, others in differing(a.read[parent], b.read[parent]):
            found.append(("inputs", f"copies of runs/{parent}: {file} {_short(own)} | {_short(others)}"))
    if is_data:
        hashes = [{file: output["sha256"] for file, output in o.receipt.get("outputs", {}).items()} for o in (a, b)]
        files = [f"{file} {_short(own)} | {_short(others)}" for file, own, others in differing(*hashes)]
        found += [("data", text) for text in files or ["made otherwise, but the same to the byte"]]
    for name, own, others in differing(environment_of(a.receipt), environment_of(b.receipt)):
        found.append(("environment", f"{name} {own or 'unknown'} | {others or 'unknown'}".replace("code git", "git")))
    return found


def _code(a: Origin, b: Origin) -> list[str]:
    """The modules that differ; of older receipts only those that the steps name."""
    if a.step.code == b.step.code:
        return []
    known = all(root in origin.modules for origin in (a, b) for root in origin.step.code)
    modules = differing(a.modules, b.modules) if known else []
    return [
        f"{name} {own or 'not run'} | {others or 'not run'}" for name, own, others in modules or differing(a.step.code, b.step.code)
    ]


def _read(a: Origin, b: Origin) -> list[tuple[str, Any, Any]]:
    """The roles in which the two read another number of steps."""
    return differing(*({role: 1 if isinstance(r, str) else len(r) for role, r in o.step.inputs.items()} for o in (a, b)))


def _metrics(a: Origin, b: Origin) -> list[str]:
    texts, metrics = [], [origin.receipt.get("metrics", {}) for origin in (a, b)]
    for name, own, others in differing(*metrics):
        if not all(name in known for known in metrics):
            continue
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (own, others))
        if numbers:
            texts.append(f"{name} {number(own)} | {number(others)}  ({others - own:+.4g})")
        else:
            texts.append(f"{name} {brief(own)} | {brief(others)}")
    for which, own, others in (("first", *metrics), ("second", *metrics[::-1])):
        if only := [name for name in own if name not in others]:
            texts.append(f"only the {which} has {', '.join(only)}")
    return texts


def _joined(labels: list[str]) -> str:
    """Labels of steps, with generations in a row as `generation 1 to 3`."""
    rows: list[list[str]] = []
    for label in dict.fromkeys(labels):
        head, last = re.fullmatch(r"(.*?)(\d*)", label).groups()
        before = next((row for row in rows if row[0] == head and last and row[2] and int(row[2]) + 1 == int(last)), None)
        if before:
            before[2] = last
        else:
            rows.append([head, last, last])
    return ", ".join(head + (start if start == end else f"{start} to {end}") for head, start, end in rows)


def _kind(origin: Origin) -> str:
    return origin.step.kind.replace("_", " ")


def _short(sha256: str | None) -> str:
    return sha256[:DIGITS] if sha256 else "none"
