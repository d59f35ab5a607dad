"""Train one network by hand, with Hydra's own command line.

    python -m gendistill.train experiment=demo objective.temperature=2 run.lineage=ban run.generation=1 run.seed=0

The result goes where Snakemake would put it: the same settings have the same id.
"""

import json
import shlex
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gendistill.errors import SettingError, UserError
from gendistill.execute import execute
from gendistill.plan.build import Plan, add_experiment
from gendistill.plan.canonical import whole_numbers
from gendistill.plan.paths import CONFIG
from gendistill.plan.settings import compose_experiment, lenient
from gendistill.plan.step import HOLD_NETWORK, Step


@hydra.main(config_path=str(CONFIG), config_name="config", version_base="1.3")
def main(config: DictConfig) -> None:
    """Compose, plan, and run the step that `run` names."""
    hydra_config = HydraConfig.get()
    try:
        name = hydra_config.runtime.choices["experiment"] or hydra_config.runtime.choices["paper"]
        if name is None:
            raise SettingError("experiment or paper: one must be given, for example: python -m gendistill.train experiment=demo")
        settings = whole_numbers(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
        plan = Plan()
        add_experiment(plan, name, settings)
        plan.prune()
        step = choose_step(plan, name)
        overrides = [
            o for o in hydra_config.overrides.task if not o.lstrip("+").startswith(("experiment=", "paper=", "run.", "runtime."))
        ]
        check_inputs(plan, step, name, overrides)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    if all(Path(path).exists() for path in step.files):
        print(f"{step.folder} is there already: nothing to be done.")
        return
    runtime = plan.runtime[step.name]
    options = {name: runtime[name] for name in ("device", "checkpoint_every", "processes", "tensorboard", "cuda_graphs")}
    code = execute(json.loads(step.to_json()), threads=runtime["threads"] * runtime["processes"], **options)
    if code:
        sys.exit(code)
    print(f"results: {step.folder}")


def choose_step(plan: Plan, experiment: str) -> Step:
    """The step that the settings `run.lineage`, `run.generation` and `run.seed` name.

    Raises:
        SettingError: there is no such network.
    """
    settings = plan.settings[experiment]
    run = settings["run"]
    prefix = f"{experiment}-{run['lineage'] or next(iter(settings['lineages']), settings['objective']['name'])}"
    seed = settings["seeds"][0] if run["seed"] is None else run["seed"]
    role = f"{prefix}-gen{run['generation']}-seed{seed}"
    if role not in plan.roles:
        networks = [r for r, name in plan.roles.items() if plan.steps[name].kind in HOLD_NETWORK]
        raise SettingError(
            f"run.lineage = {run['lineage']}, run.generation = {run['generation']}, run.seed = {run['seed']}: there is no network "
            f"{role}. Allowed: {', '.join(networks)}."
        )
    return plan.steps[plan.roles[role]]


def check_inputs(plan: Plan, step: Step, experiment: str, overrides: list[str]) -> None:
    """Check that all that `step` reads is there.

    Raises:
        UserError: something is missing; the message has the command that makes it.
    """
    missing = [plan.steps[name].receipt for name in step.parents if not Path(plan.steps[name].receipt).exists()]
    if missing:
        config = shlex.quote(f"experiments=[{experiment}]")
        config += f" {shlex.quote(f'overrides={json.dumps(overrides)}')}" if overrides else ""
        raise UserError(
            f"this step reads what is not there yet. Make it with:\n  snakemake --config {config} -- {' '.join(missing)}"
        )


def check_overrides(arguments: list[str]) -> None:
    """Compose first on our own, for messages that name what is allowed; Hydra's own options are left to Hydra.

    Raises:
        SettingError: as `compose_experiment`.
    """
    experiments = [a.partition("=")[2] for a in arguments if a.startswith(("experiment=", "paper="))]
    if len(experiments) == 1 and not any(a.startswith("-") for a in arguments):
        compose_experiment(experiments[0], tuple(a for a in arguments if not a.startswith(("experiment=", "paper="))))


if __name__ == "__main__":
    try:
        check_overrides(sys.argv[1:])
        sys.argv[1:] = [argument if argument.startswith("-") else lenient(argument) for argument in sys.argv[1:]]
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    main()
