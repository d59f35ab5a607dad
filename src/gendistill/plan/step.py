"""A step: one run of one rule, under an id that says everything that its result depends on."""

from dataclasses import dataclass, field, fields
from typing import Any

from gendistill.plan.canonical import canonical_json, digest
from gendistill.softlabels.exact import OFF

NETWORK_FILES = ("model.safetensors", "logits.safetensors", "history.csv")
LANGUAGE_FILES = ("model.safetensors", "history.csv")
# What each step leaves in its folder, besides the receipt.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "dataset": ("dataset.safetensors",),
    "patriarch": NETWORK_FILES,
    "generation": NETWORK_FILES,
    "softlabels": ("softlabels.npy",),
    "text": ("dataset.safetensors",),
    "language_patriarch": LANGUAGE_FILES,
    "language_generation": LANGUAGE_FILES,
    "language_softlabels": ("softlabels.npy",),
    "ensemble": (),
    "transfer": (),
    "fine_tune": NETWORK_FILES,
    "member": NETWORK_FILES,
    "statistics": ("calibration.csv",),
    "agreement": (),
    "class_structure": ("second_classes.csv",),
    "early_exit": ("early_exit.csv",),
    "paper_table": ("table.json",),
    "claims": ("claims.json",),
    "tables": ("tables.json",),
    "figure": ("figure.svg", "figure.pdf", "figure.png"),
}
# What lies in DVC, not in git, once it is shared.
LARGE = ("model.safetensors", "logits.safetensors", "dataset.safetensors", "softlabels.npy")
# The files that a step reads of another, by the role in which it names it; of the steps of other roles, the receipts only.
READS: dict[str, tuple[str, ...]] = {
    "dataset": ("dataset.safetensors",),
    "teacher": ("model.safetensors",),
    "start": ("model.safetensors",),
    "joint": ("model.safetensors", "history.csv"),
    "student": ("model.safetensors",),
    "network": ("model.safetensors",),
    "members": ("logits.safetensors",),
    "exits": ("model.safetensors", "logits.safetensors"),
    "softlabels": ("softlabels.npy",),
    "histories": ("history.csv",),
    "calibrations": ("calibration.csv",),
    "second_classes": ("second_classes.csv",),
}
# The kinds that train a network.
NETWORKS = ("patriarch", "generation", "fine_tune", "language_patriarch", "language_generation")
# The kinds that leave a network: those, and what takes one out of several that were trained together.
HOLD_NETWORK = (*NETWORKS, "member")
# Those of them that several processes can do together.
SHARED_OUT = ("patriarch", "generation", "fine_tune")
# What the report shows; all other steps are there for these.
SHOWN = ("tables", "paper_table", "claims", "figure")
# What an interrupted training leaves beside them, and a finished one does not.
RESUME = "resume.pt"
# The function that does a step's work; its module and what that imports are the step's own code.
FUNCTIONS: dict[str, str] = {
    "dataset": "gendistill.data.prepare:prepare_dataset",
    "patriarch": "gendistill.training.run:train_network",
    "generation": "gendistill.training.run:train_network",
    "softlabels": "gendistill.softlabels.dump:dump_soft_labels",
    "text": "gendistill.language.prepare:prepare_text",
    "language_patriarch": "gendistill.language.run:train_language_model",
    "language_generation": "gendistill.language.run:train_language_model",
    "language_softlabels": "gendistill.language.dump:dump_language_soft_labels",
    "ensemble": "gendistill.evaluation.ensemble:evaluate_ensemble",
    "transfer": "gendistill.evaluation.transfer:evaluate_transfer",
    "fine_tune": "gendistill.training.run:train_network",
    "member": "gendistill.training.member:take_member",
    "agreement": "gendistill.evaluation.agreement:evaluate_agreement",
    "class_structure": "gendistill.evaluation.class_structure:evaluate_class_structure",
    "early_exit": "gendistill.evaluation.early_exit:evaluate_early_exit",
    "paper_table": "gendistill.results.paper_table:make_paper_table",
    "statistics": "gendistill.evaluation.statistics:confidence_statistics",
    "claims": "gendistill.results.claims:evaluate_claims",
    "tables": "gendistill.results.tables:make_tables",
    "figure": "gendistill.results.figures.make:make_figure",
}
# Settings that came later, with the value that means what was done before: left out of the hash, so old ids stay.
NEUTRAL: dict[str, dict[str, Any]] = {
    "dataset": {"test_per_class": None, "store": None},
    "patriarch": {"member": 0},
    "language_patriarch": {"member": 0},
}
# The same of the settings within a group.
NEUTRAL_IN_GROUP: dict[str, dict[str, Any]] = {"recipe": {"micro_batch": None, **OFF}}


@dataclass(frozen=True)
class Step:
    """One step of the plan.

    Attributes:
        kind: the name of the rule.
        id: a readable slug and a short hash of the spec.
        settings: the step's own resolved settings.
        code: code hash of each module that the settings or the step name.
        inputs: for each role, the step (as `kind/id`), or the list of steps, that is read.
        source: what the result does not depend on but the step needs to know, such as where the user's files lie.
    """

    kind: str
    id: str
    settings: dict[str, Any]
    code: dict[str, str]
    inputs: dict[str, str | list[str]]
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`kind/id`: how other steps name this one."""
        return f"{self.kind}/{self.id}"

    @property
    def folder(self) -> str:
        """The folder of the step's results."""
        return f"runs/{self.name}"

    @property
    def receipt(self) -> str:
        """The path of the step's receipt."""
        return f"{self.folder}/receipt.json"

    @property
    def files(self) -> list[str]:
        """The paths of all that the step leaves, the receipt last."""
        return [f"{self.folder}/{name}" for name in (*OUTPUTS[self.kind], "receipt.json")]

    @property
    def parents(self) -> list[str]:
        """The steps that this one reads, as `kind/id`, each once."""
        lists = [[value] if isinstance(value, str) else value for value in self.inputs.values()]
        return list(dict.fromkeys(name for names in lists for name in names))

    @property
    def reads(self) -> list[str]:
        """The paths of all files that the step reads, each once: receipts, and what `READS` says."""
        pairs = [(role, name) for role, names in self.inputs.items() for name in ([names] if isinstance(names, str) else names)]
        paths = [f"runs/{name}/{file}" for role, name in pairs for file in (*READS.get(role, ()), "receipt.json")]
        return list(dict.fromkeys(paths))

    def to_json(self) -> str:
        """The spec and the id as canonical JSON: all that the command of the step needs."""
        return canonical_json({each.name: getattr(self, each.name) for each in fields(self)})


def study_of(step: Step) -> str:
    """The experiment or published table that a step which the report shows belongs to."""
    return next(step.settings[key] for key in ("study", "experiment", "table") if key in step.settings)


def make_step(
    kind: str,
    slug: str,
    settings: dict[str, Any],
    code: dict[str, str],
    inputs: dict[str, Any],
    source: dict[str, Any] | None = None,
) -> Step:
    """A step with the id that its spec gives it. Values of `inputs` are steps or lists of steps."""
    neutral = NEUTRAL.get(kind, {})
    hashed = {key: value for key, value in settings.items() if key not in neutral or value != neutral[key]}
    names = {role: s.name if isinstance(s, Step) else [member.name for member in s] for role, s in inputs.items()}
    spec = {"kind": kind, "settings": without_names(hashed), "code": code, "inputs": names}
    return Step(kind, f"{slug}-{digest(spec)}", settings, code, names, source or {})


def without_names(settings: dict[str, Any]) -> dict[str, Any]:
    """`settings` without what changes nothing: the `name` of a data set, a network, an objective or a recipe, and what came later
    to one of these and has its neutral value.
    """
    groups = {key: settings[key] for key in ("network", "objective", "recipe") if key in settings}
    unnamed = {key: _unnamed(group, NEUTRAL_IN_GROUP.get(key, {})) for key, group in groups.items()}
    return {key: value for key, value in (settings | unnamed).items() if key != "name"}


def _unnamed(value: Any, neutral: dict[str, Any]) -> Any:
    """A member of a group without its name and what is neutral; the same of the members in it."""
    if isinstance(value, list):
        return [_unnamed(item, neutral) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = {"name": value.get("name"), **neutral}
    return {k: _unnamed(v, neutral) for k, v in value.items() if k not in left_out or v != left_out[k]}
