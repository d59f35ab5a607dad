"""The steps that a result comes from, as their receipts tell."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import read_receipt
from gendistill.plan.step import READS, Step

WORDS = {"language_generation": "generation", "language_patriarch": "patriarch", "language_softlabels": "softlabels"}


@dataclass(frozen=True)
class Origin:
    """One step, as it was when it ran.

    Attributes:
        step: what its receipt says that it is; without settings, code and inputs if there is no receipt.
        receipt: empty if it can't be read here.
        problem: why it can't.
    """

    step: Step
    receipt: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def kind(self) -> str:
        """The kind of the step; for text that of the step which does the same for images."""
        return WORDS.get(self.step.kind, self.step.kind)

    @property
    def modules(self) -> dict[str, str]:
        """The hash of each module that the step ran; empty if the receipt is older than that."""
        return self.receipt.get("modules", {})

    @property
    def read(self) -> dict[str, dict[str, str]]:
        """For each step that was read the SHA-256 of the files that were read of it; empty if the receipt is older than that."""
        recorded = self.receipt.get("inputs", {})
        found: dict[str, dict[str, str]] = {}
        for role, names in self.step.inputs.items():
            for name in [n for n in ([names] if isinstance(names, str) else names) if n in recorded]:
                files = {file: recorded[name][file] for file in READS.get(role, ()) if file in recorded[name]}
                found.setdefault(name, {}).update(files)
        return found


def load_origins(names: list[str]) -> dict[str, Origin]:
    """The steps `names` (as `kind/id`) and all that they come from, each once, after those that it reads."""
    found: dict[str, Origin] = {}

    def visit(name: str) -> None:
        if name not in found:
            origin = _load(name)
            for parent in origin.step.parents:
                visit(parent)
            found[name] = origin

    for name in names:
        visit(name)
    return found


def _load(name: str) -> Origin:
    kind, _, id = name.partition("/")
    try:
        receipt = read_receipt(Path("runs", name))
        spec = receipt["spec"]
        step = Step(kind, id, spec["settings"], spec["code"], spec["inputs"], spec.get("source", {}))
    except UserError as error:
        missing = not Path("runs", name).exists()
        return Origin(Step(kind, id, {}, {}, {}), problem="not in this clone" if missing else str(error))
    except (KeyError, TypeError) as error:
        return Origin(Step(kind, id, {}, {}, {}), problem=f"its receipt has no {error}")
    return Origin(step, receipt)


def generation_of(origin: Origin, origins: dict[str, Origin]) -> int:
    """The generation of a network, or of the latest network that a step reads; -1 for none."""
    settings = origin.step.settings
    if origin.kind == "generation" and "generation" in settings:
        return settings["generation"]
    if origin.kind == "patriarch":
        return 0
    return max((generation_of(origins[parent], origins) for parent in origin.step.parents), default=-1)


def seeds_of(origin: Origin, origins: dict[str, Origin]) -> set[int]:
    """The seed of a network, or the seeds of the networks that a step comes from."""
    if "seed" in origin.step.settings:
        return {origin.step.settings["seed"]}
    return {seed for parent in origin.step.parents for seed in seeds_of(origins[parent], origins)}


def label_of(origin: Origin, origins: dict[str, Origin]) -> str:
    """What a step is, in words: `patriarch`, `generation 3`, `soft labels of generation 2`, `data set mnist5k`."""
    settings = origin.step.settings
    if origin.kind in ("dataset", "text"):
        return f"{'data set' if origin.kind == 'dataset' else 'text'} {settings.get('name', origin.step.id)}"
    if origin.kind == "generation":
        return f"generation {settings.get('generation', '(number unknown)')}"
    if origin.kind == "patriarch":
        return f"patriarch, net {settings['member']}" if settings.get("member") else "patriarch"
    if origin.kind == "softlabels":
        teacher = origin.step.inputs.get("teacher")
        return f"soft labels of {label_of(origins[teacher], origins)}" if teacher else "soft labels"
    if origin.kind == "member":
        return f"{settings['taken']} of {label_of(origins[origin.step.inputs['joint']], origins)}"
    if origin.kind in ("transfer", "fine_tune", "agreement", "class_structure", "statistics"):
        read = [origins[name] for role, name in origin.step.inputs.items() if role in ("network", "start", "student")]
        return " of ".join([origin.kind.replace("_", " "), *(label_of(network, origins) for network in read)])
    return origin.kind.replace("_", " ")
