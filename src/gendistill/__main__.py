"""The command line: `python -m gendistill STEP --spec JSON` is what each rule runs; the rest is for people."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.plan.build import read_choice
from gendistill.plan.paths import check_directory
from gendistill.plan.step import FUNCTIONS
from gendistill.runtime import limit_threads
from gendistill.yaml_text import YAMLError, read_yaml


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="gendistill", description="Train neural networks in generations by knowledge distillation."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for kind in FUNCTIONS:
        step = commands.add_parser(kind, help=f"run the step {kind} (what rule {kind} does)")
        step.add_argument("--spec", type=_read_spec, required=True, help="the step as JSON, from the plan, or @ and a file with it")
        _add_runtime(step)
        step.add_argument("--processes", type=int, default=1, help="that train one network together, each on a GPU of its own")
        step.add_argument("--predicted", type=_read_amounts, metavar="NAME=VALUE,...", help="for the receipt")
    together = commands.add_parser("siblings", help="train networks that differ by their seed only, at the same time")
    together.add_argument("specs", type=Path, help="a file with the steps as a JSON list, from the plan")
    _add_runtime(together)
    view = commands.add_parser("report", help="write results/")
    _add_choice(view)
    view.add_argument("--view", help="identity of the results, from the plan")
    _add_choice(commands.add_parser("status", help="what is done, running, queued, stopped and failed"))
    _add_choice(commands.add_parser("share", help="put all finished large files under DVC"))
    fetch = commands.add_parser("restore", help="fetch shared files that are not here")
    fetch.add_argument("files", type=Path, nargs="+", help="runs/<step>/<id>/<file>")
    unused = commands.add_parser("unused", help="list runs that no experiment names any more")
    _add_choice(unused)
    unused.add_argument("--remove", action="store_true", help="remove them")
    origin = commands.add_parser("provenance", help="where a run, or a cell of a table, comes from")
    origin.add_argument("name", help="such as demo-ban-gen3-seed0, runs/<step>/<id>, or demo_error:ban/3")
    diff = commands.add_parser("diff", help="what differs between two runs")
    diff.add_argument("names", nargs=2, metavar="NAME", help="such as demo-ban-gen3-seed0 or runs/<step>/<id>")
    compare = commands.add_parser("compare", help="the tables of two experiments, or of two git revisions, as differences")
    compare.add_argument("names", nargs=2, metavar="NAME", help="an experiment, a published table, a revision, or NAME@REVISION")
    compare.add_argument("--csv", type=Path, metavar="FILE", help="write the differences as CSV too")
    compare.add_argument("--metric", help="the only metric to compare, such as test_error_pct")
    cost = commands.add_parser("cost", help="what experiments and published tables will cost, and what of it is done")
    _add_choice(cost)
    cost.add_argument("--gpus", type=int, default=1, help="that work at a time")
    cost.add_argument("--device", help="the calibration to use: a name in config/device/")
    speed = commands.add_parser("calibrate", help="measure this device for predictions, about a minute")
    speed.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    speed.add_argument("--threads", type=int, default=1, help="CPU threads")
    check = commands.add_parser("check-labels", help="compute a sample of stored soft labels anew and compare")
    check.add_argument("folder", type=Path, help="runs/softlabels/<id>")
    check.add_argument("--samples", type=int, default=1000)
    papers = commands.add_parser("papers", help="list the published tables with what they cost at full scale")
    papers.add_argument("--smoke", type=Path, metavar="RESULTS", help="the folder results of a run at scale smoke")
    commands.add_parser("code-hashes", help="print the code hash of each module that a spec can name")
    given = parser.parse_args(arguments)
    if given.command in FUNCTIONS:
        from gendistill.execute import execute

        options = {
            name: getattr(given, name)
            for name in ("device", "threads", "checkpoint_every", "processes", "tensorboard", "cuda_graphs")
        }
        return execute(given.spec, **options, predicted=given.predicted)
    commands_of_people = {
        "report": _report,
        "siblings": _siblings,
        "status": _status,
        "share": _share,
        "restore": _restore,
        "unused": _unused,
        "provenance": _provenance,
        "diff": _diff,
        "compare": _compare,
        "check-labels": _check_labels,
        "cost": _cost,
        "calibrate": _calibrate,
        "papers": _papers,
        "code-hashes": _code_hashes,
    }
    try:
        if given.command in ("report", "status", "cost", "share", "unused", "restore", "provenance", "diff", "compare"):
            check_directory()
        return commands_of_people[given.command](given)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever reads has seen enough, as with `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    """The options of a step that change its result by rounding only, or not at all."""
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of all processes")
    parser.add_argument("--checkpoint-every", type=int, default=1, metavar="EPOCHS")
    parser.add_argument("--tensorboard", action="store_true", help="write event files to logs/tensorboard/ during a training")
    parser.add_argument("--cuda-graphs", action="store_true", help="record the steps of a training on a GPU, and replay them")


def _read_amounts(text: str) -> dict[str, str | float]:
    pairs = (pair.partition("=") for pair in text.split(","))
    return {key: value if key == "device" else json.loads(value) for key, _, value in pairs}


def _read_spec(text: str) -> dict[str, Any]:
    return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    """The option by which a command is told which experiments are meant, as `snakemake` is."""
    parser.add_argument(
        "--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for snakemake: experiments, paper, seeds, scale, overrides"
    )


def _choice(given: argparse.Namespace) -> tuple[list[str], tuple[str, ...]]:
    pairs = [text.partition("=") for text in given.config]
    for key, equals, _ in pairs:
        if not equals:
            raise UserError(f"--config {key}: must be KEY=VALUE, such as experiments=[demo].")
    try:
        return read_choice({key: read_yaml(value) for key, _, value in pairs})
    except YAMLError as error:
        raise UserError(f"--config {' '.join(given.config)}: a value is no YAML ({' '.join(str(error).split())}).") from error


def _report(given: argparse.Namespace) -> int:
    from gendistill.results.view import write_view

    write_view(*_choice(given), given.view)
    return 0


def _status(given: argparse.Namespace) -> int:
    from gendistill.plan import build_plan
    from gendistill.status import status

    print(status(build_plan(*_choice(given))))
    return 0


def _siblings(given: argparse.Namespace) -> int:
    from gendistill.side_by_side import run_side_by_side

    options = ["--device", given.device, "--threads", str(given.threads), "--checkpoint-every", str(given.checkpoint_every)]
    options += ["--tensorboard"] if given.tensorboard else []
    options += ["--cuda-graphs"] if given.cuda_graphs else []
    return run_side_by_side(given.specs.stem, json.loads(given.specs.read_text()), options)


def _share(given: argparse.Namespace) -> int:
    from gendistill.sharing.share import share, shown_choice

    print(share(*(_choice(given) if given.config else shown_choice())))
    return 0


def _restore(given: argparse.Namespace) -> int:
    from gendistill.sharing.restore import restore

    for path in given.files:
        restore(path)
    return 0


def _unused(given: argparse.Namespace) -> int:
    from gendistill.sharing.unused import list_unused, remove_unused, unused_runs

    folders = unused_runs(*_choice(given))
    print(remove_unused(folders) if given.remove else list_unused(folders))
    return 0


def _provenance(given: argparse.Namespace) -> int:
    from gendistill.provenance.ancestry import provenance

    print(provenance(given.name))
    return 0


def _diff(given: argparse.Namespace) -> int:
    from gendistill.provenance.differences import difference

    print(difference(*given.names))
    return 0


def _compare(given: argparse.Namespace) -> int:
    from gendistill.compare.command import compare

    print(compare(*given.names, given.metric, given.csv))
    return 0


def _cost(given: argparse.Namespace) -> int:
    from gendistill.cost.report import cost_table
    from gendistill.plan import build_plan

    print(cost_table(build_plan(*_choice(given), without_data=True), given.gpus, given.device))
    return 0


def _calibrate(given: argparse.Namespace) -> int:
    if given.threads < 1:
        raise UserError(f"--threads {given.threads}: must be at least 1.")
    # As in a step, and before torch is imported.
    limit_threads(given.threads)
    from gendistill.cost.measure import calibrate

    print(calibrate(given.device, given.threads))
    return 0


def _check_labels(given: argparse.Namespace) -> int:
    from gendistill.files import read_receipt
    from gendistill.softlabels.dump import check_soft_labels

    spec = read_receipt(given.folder).get("spec", {})
    if spec.get("kind") != "softlabels":
        raise UserError(f"{given.folder} holds no soft labels: give a folder runs/softlabels/<id>.")
    inputs = {role: Path("runs", name) for role, name in spec["inputs"].items()}
    found = check_soft_labels(spec["settings"], inputs, given.folder, samples=given.samples)
    print(json.dumps(found, indent=1))
    # Kernels sum in another order for another batch: neighbouring float16 numbers are equal to float16.
    return 0 if found["share_equal"] > 0.5 and found["largest_difference_in_float16_spacings"] < 1000 else 1


def _papers(given: argparse.Namespace) -> int:
    from gendistill.plan.settings import paper_names
    from gendistill.results.paper_costs import table_of_papers

    print(table_of_papers(paper_names(), given.smoke))
    return 0


def _code_hashes(given: argparse.Namespace) -> int:
    from gendistill.plan.code import code_hash
    from gendistill.plan.nested import targets_in
    from gendistill.plan.paths import CONFIG
    from gendistill.plan.runs import ON_DISK
    from gendistill.plan.settings import load_group

    modules = {function.partition(":")[0] for function in FUNCTIONS.values()} | {ON_DISK}
    for group in ("dataset", "network", "objective"):
        members = (path.stem for path in (CONFIG / group).glob("*.yaml"))
        modules |= {target.rpartition(".")[0] for name in members for target in targets_in(load_group(group, name))}
    for module in sorted(modules):
        print(f"{module}: {code_hash(module)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
