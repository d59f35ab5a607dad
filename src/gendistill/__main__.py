"""The command line: `python -m gendistill STEP --spec JSON` is what each rule runs; the rest is for people."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from gendistill.errors import UserError
from gendistill.plan.step import FUNCTIONS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="gendistill", description="Train neural networks in generations by knowledge distillation."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for kind in FUNCTIONS:
        step = commands.add_parser(kind, help=f"run the step {kind} (what rule {kind} does)")
        step.add_argument("--spec", type=json.loads, required=True, help="the step as JSON, from the plan")
        step.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        step.add_argument("--threads", type=int, default=1)
        step.add_argument("--checkpoint-every", type=int, default=1, metavar="EPOCHS")
    view = commands.add_parser("report", help="write results/")
    view.add_argument("--experiments", type=json.loads, required=True, help="a JSON list of names")
    view.add_argument("--overrides", type=json.loads, default=[], help="a JSON list of overrides in Hydra's syntax")
    view.add_argument("--view", required=True, help="identity of the results, from the plan")
    check = commands.add_parser("check-labels", help="compute a sample of stored soft labels anew and compare")
    check.add_argument("folder", type=Path, help="runs/softlabels/<id>")
    check.add_argument("--samples", type=int, default=1000)
    papers = commands.add_parser("papers", help="list the published tables with what they cost at full scale")
    papers.add_argument("--smoke", type=Path, metavar="RESULTS", help="the folder results of a run at scale smoke")
    commands.add_parser("code-hashes", help="print the code hash of each module that a spec can name")
    given = parser.parse_args(arguments)
    if given.command in FUNCTIONS:
        from gendistill.execute import execute

        return execute(given.spec, given.device, given.threads, given.checkpoint_every)
    try:
        return {"report": _report, "check-labels": _check_labels, "code-hashes": _code_hashes, "papers": _papers}[given.command](
            given
        )
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2


def _report(given: argparse.Namespace) -> int:
    from gendistill.files import remove
    from gendistill.plan import build_plan
    from gendistill.results.report import write_report

    plan = build_plan(given.experiments, tuple(given.overrides))
    if plan.view_id != given.view:
        raise UserError("settings or code were changed while the steps ran. Run snakemake again: it makes what the change needs.")
    tables = {step.settings["experiment"]: step.folder for step in plan.of_kind("tables")}
    papers = {step.settings["table"]: step.folder for step in plan.of_kind("paper_table")}
    command = ["snakemake", "--config", f"experiments=[{','.join(given.experiments)}]"]
    command += [f"overrides={json.dumps(given.overrides)}"] if given.overrides else []
    for marker in Path("results", ".view").glob("*"):
        remove(marker)
    write_report(plan.index, tables, papers, shlex.join(command))
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
    from gendistill.plan.paths import CONFIG
    from gendistill.plan.runs import ON_DISK
    from gendistill.plan.settings import load_group

    modules = {function.partition(":")[0] for function in FUNCTIONS.values()} | {ON_DISK}
    for group in ("dataset", "network", "objective"):
        members = (path.stem for path in (CONFIG / group).glob("*.yaml"))
        modules |= {load_group(group, name)["_target_"].rpartition(".")[0] for name in members}
    for module in sorted(modules):
        print(f"{module}: {code_hash(module)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
