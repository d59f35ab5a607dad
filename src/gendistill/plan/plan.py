"""The plan: all steps of some experiments, with their ids."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.settings import Settings
from gendistill.plan.step import SHOWN, Step, study_of


@dataclass
class Plan:
    """All steps of some experiments.

    Attributes:
        steps: each step by its name `kind/id`.
        roles: for each readable name, such as `demo-ban-gen3-seed0`, the name of its step.
        settings: the composed settings of each experiment.
        datasets: the steps of data sets by their settings, so that no folder of images is looked through twice.
        changed: the settings whose overrides make a study another one than its file says.
        claims: all that `config/claims/` states, once a study names some, so that it is read once.
        contradictions: all that is known of published tables, once a study has one.
        runtime: the settings `runtime` of each step that computes with networks; they change no id, and results by rounding only.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Settings] = field(default_factory=dict)
    datasets: dict[str, Step] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    claims: dict[str, Settings] = field(default_factory=dict)
    contradictions: list[dict[str, Any]] = field(default_factory=list)
    runtime: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, role: str, step: Step, runtime: dict[str, Any] | None = None) -> Step:
        """Put `step` into the plan, if it is not there yet, and give it a readable name that no other step has."""
        if self.roles.setdefault(role, step.name) != step.name:
            raise ValueError(f"the role {role} is that of {self.roles[role]}, it cannot be that of {step.name} too")
        if runtime:
            self.runtime.setdefault(step.name, runtime)
        return self.steps.setdefault(step.name, step)

    def find(self, kind: str, id: str) -> Step:
        """The step `kind/id`.

        Raises:
            SettingError: the chosen experiments have no such step.
        """
        try:
            return self.steps[f"{kind}/{id}"]
        except KeyError:
            raise SettingError(
                f"runs/{kind}/{id} belongs to no step of the experiments {', '.join(self.settings)} as they are set now. "
                "Its settings or code were changed since, or it belongs to another experiment: --config experiments=[NAME]"
            ) from None

    def of_kind(self, kind: str) -> list[Step]:
        """All steps of one kind, in order."""
        return [step for step in self.steps.values() if step.kind == kind]

    def shown(self, study: str | None = None) -> list[Step]:
        """The steps that the report shows, of one study or of all."""
        return [step for step in self.steps.values() if step.kind in SHOWN and study in (None, study_of(step))]

    def behind(self, steps: Iterable[str]) -> set[str]:
        """Some steps, by name, and all that they are made from."""
        found: set[str] = set()
        waiting = list(steps)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self.steps[name].parents)
        return found

    def prune(self) -> None:
        """Forget steps that nothing which the report shows is made from."""
        needed = self.behind(step.name for step in self.shown())
        self.steps = {name: step for name, step in self.steps.items() if name in needed}
        self.roles = {role: name for role, name in self.roles.items() if name in needed}
        self.runtime = {name: runtime for name, runtime in self.runtime.items() if name in needed}

    @property
    def index(self) -> dict[str, str]:
        """The folder of each role."""
        return {role: self.steps[name].folder for role, name in sorted(self.roles.items())}


@dataclass(frozen=True)
class Study:
    """One experiment, or one published table, that is being put into a plan.

    Attributes:
        plan: where its steps go.
        name: of the file in `config/experiment/` or `config/paper/`.
        settings: composed.
        where: where they can be changed, for messages.
        without_data: whether the user's own data may be missing, because the plan is only counted.
    """

    plan: Plan
    name: str
    settings: Settings
    where: str
    without_data: bool = False

    def add(self, role: str, step: Step, other_role: str = "") -> Step:
        """Put a step into the plan, under a readable name that starts with the study's; `other_role` if that one is taken."""
        taken = self.plan.roles.get(f"{self.name}-{role}", step.name) != step.name
        return self.plan.add(f"{self.name}-{other_role if taken else role}", step, self.settings["runtime"])
