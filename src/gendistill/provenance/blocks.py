"""One step of an ancestry as lines of text; what it has in common with an earlier one is told by that one's number."""

from dataclasses import dataclass

from gendistill.files import in_units
from gendistill.plan.step import READS
from gendistill.provenance.compare import GROUPS, OWN, differing_settings
from gendistill.provenance.environments import environment_lines, environment_of
from gendistill.provenance.origins import Origin, label_of, seeds_of
from gendistill.provenance.values import brief, field, number, numbers_as_ranges, pairs

DIGITS = 12
# More differences than this from an earlier step, and all settings are told.
FEW = 3
SHOWN_ROLES = 3
UNSHOWN_METRICS = ("loss", "top5", "best_epoch", "per_second")


@dataclass(frozen=True)
class Ancestry:
    """All that the text of one step is made from.

    Attributes:
        origins: all steps, by `kind/id`, in order.
        numbers: of each step, from 1.
        roles: of each step in the results.
        common: the environment of most steps.
    """

    origins: dict[str, Origin]
    numbers: dict[str, int]
    roles: dict[str, list[str]]
    common: dict[str, str]


def title_of(name: str, ancestry: Ancestry) -> str:
    """A step's number, what it is, its seed and its roles."""
    origin, roles = ancestry.origins[name], ancestry.roles.get(name, [])
    seeds = seeds_of(origin, ancestry.origins)
    seed = f", seed {seeds.pop()}" if len(seeds) == 1 else ""
    shown = ", ".join(roles[:SHOWN_ROLES]) + (f" and {len(roles) - SHOWN_ROLES} more" if len(roles) > SHOWN_ROLES else "")
    return f"[{ancestry.numbers[name]}] {label_of(origin, ancestry.origins)}{seed}{f'  ({shown})' if roles else ''}"


def block_of(name: str, ancestry: Ancestry) -> list[str]:
    """The lines that tell of one step."""
    origin = ancestry.origins[name]
    lines = ["", title_of(name, ancestry), f"     runs/{name}"]
    if not origin.receipt:
        return [*lines, field("unknown", f"its receipt can't be read here: {origin.problem}")]
    lines += _settings(name, ancestry)
    code = ", ".join(f"{module} {own}" for module, own in origin.step.code.items())
    same = [n for other, n in _earlier(name, ancestry) if ancestry.origins[other].step.code == origin.step.code]
    lines.append(field("code", f"as [{same[0]}]" if same else code))
    lines += _inputs(origin, ancestry)
    lines += [field("note", note) for note in other_copies(name, ancestry)]
    outputs = origin.receipt.get("outputs", {})
    if outputs:
        told = (f"{file} {output['sha256'][:DIGITS]} ({in_units(output['bytes'])})" for file, output in outputs.items())
        lines.append(field("outputs", ", ".join(told)))
    times = origin.receipt.get("times", {})
    if times:
        lines.append(field("ran", f"{times['started'].replace('T', ' ').replace('+00:00', ' UTC')}, {times['seconds']} s"))
    own = {key: value for key, value in environment_of(origin.receipt).items() if ancestry.common[key] != value}
    lines += [field("" if times else "ran", f"with {name} {text}") for name, text in environment_lines(own).items()]
    metrics = _metrics(origin)
    return [*lines, field("metrics", metrics)] if metrics else lines


def other_copies(name: str, ancestry: Ancestry) -> list[str]:
    """What a step read that is not what the receipts of the steps it names say: these were made again, elsewhere."""
    notes = []
    for parent, files in ancestry.origins[name].read.items():
        other = ancestry.origins[parent]
        if not other.receipt:
            continue
        today = {file: output["sha256"] for file, output in other.receipt.get("outputs", {}).items()}
        differing = [file for file, own in files.items() if today.get(file) != own]
        if differing:
            said = (
                f"{file} {files[file][:DIGITS]}, {today.get(file, 'nothing')[:DIGITS]} in its receipt today" for file in differing
            )
            notes.append(f"made from another copy of {title_of(parent, ancestry).partition('  (')[0]}: {'; '.join(said)}")
    return notes


def _earlier(name: str, ancestry: Ancestry) -> list[tuple[str, int]]:
    return [(other, n) for other, n in ancestry.numbers.items() if n < ancestry.numbers[name]]


def _settings(name: str, ancestry: Ancestry) -> list[str]:
    """The settings, or what differs from those of the earlier step that is most like this one."""
    step = ancestry.origins[name].step
    alike = []
    for other, n in _earlier(name, ancestry):
        origin = ancestry.origins[other]
        if origin.receipt and (origin.step.kind == step.kind or "network" in origin.step.settings.keys() & step.settings.keys()):
            differences = [d for d in differing_settings(origin.step, step) if d[0] not in OWN]
            # Another group as a whole is told with all its settings.
            cost = sum(2 if key in GROUPS else 1 for key, *_ in differences)
            alike.append((cost, n, differences))
    if alike and min(alike)[0] <= FEW and step.settings.keys() - set(OWN):
        _, n, differences = min(alike)
        told = (f"{key} {own}" if key in GROUPS else f"{key} {own} (there {there})" for key, there, own in differences)
        return [field("settings", f"as [{n}]" + (f" but {', '.join(told)}" if differences else ""))]
    lines = [
        field(key, f"{step.settings[key]['name']}: {pairs(step.settings[key])}".rstrip(": "))
        for key in GROUPS
        if key in step.settings
    ]
    rest = {key: value for key, value in step.settings.items() if key not in (*GROUPS, *OWN)}
    lines += [field("settings", pairs(rest))] if pairs(rest) else []
    return lines + ([field("from", step.source["path"])] if "path" in step.source else [])


def _inputs(origin: Origin, ancestry: Ancestry) -> list[str]:
    """What was read, by the numbers of the steps, with the hashes of the files."""
    told = []
    for role, read in origin.step.inputs.items():
        names = [read] if isinstance(read, str) else read
        hashes = {
            name: [f"{file} {own[:DIGITS]}" for file, own in origin.read.get(name, {}).items() if file in READS.get(role, ())]
            for name in names
        }
        if any(hashes.values()):
            told.append(f"{role} " + ", ".join(" ".join([f"[{ancestry.numbers[n]}]", ", ".join(h)]) for n, h in hashes.items()))
        else:
            told.append(f"{role} {numbers_as_ranges([ancestry.numbers[name] for name in names])}")
    return [field("inputs", "; ".join(told))] if told else []


def _metrics(origin: Origin) -> str:
    metrics = {k: v for k, v in origin.receipt.get("metrics", {}).items() if not any(part in k for part in UNSHOWN_METRICS)}
    return ", ".join(f"{key} {number(value) if isinstance(value, float) else brief(value)}" for key, value in metrics.items())
