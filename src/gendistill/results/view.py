"""The readable view: what `results/` shows, whether it still shows what is asked for, and writing it anew."""

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from gendistill.errors import UserError
from gendistill.files import remove, write_bytes, write_json
from gendistill.plan.build import build_plan
from gendistill.plan.canonical import digest
from gendistill.plan.code import code_hash
from gendistill.plan.paths import REPORT_TEMPLATE
from gendistill.plan.plan import Plan
from gendistill.plan.step import HOLD_NETWORK

RESULTS = Path("results")
# Says which results the folder shows, how they were asked for, and the SHA-256 of each file of the view.
VIEW = RESULTS / "view.json"
DATA = ("dataset", "text")


def view_id(plan: Plan) -> str:
    """The identity of what `results/` is to show: all roles, and the code and the templates of its files."""
    templates = [path.read_text() for path in sorted(REPORT_TEMPLATE.parent.iterdir()) if path.suffix in (".j2", ".css", ".js")]
    return digest([plan.index, code_hash(__name__), templates])


def view_is_current(plan: Plan) -> bool:
    """Whether `results/` shows the plan, whole and unedited, whoever wrote it and however it was merged."""
    view = read_view()
    return view.get("id") == view_id(plan) and all(_sha256(Path(path)) == known for path, known in view["files"].items())


def read_view() -> dict[str, Any]:
    """The content of `results/view.json`: `id`, `experiments`, `overrides`, `files`; empty if there is none to be read."""
    try:
        view = json.loads(VIEW.read_text())
        return view if isinstance(view["files"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_view(experiments: list[str], overrides: tuple[str, ...], expected: str | None = None) -> None:
    """Write all files of the view, and remove those that the former view had and this one has not.

    Args:
        experiments: names of experiments and published tables.
        overrides: on each, in Hydra's syntax.
        expected: the identity that the view had when it was asked for.

    Raises:
        UserError: settings or code were changed since, a step has no receipt, or the folder can't be written.
    """
    from gendistill.results.card import cards
    from gendistill.results.report import report_files

    plan = build_plan(experiments, overrides)
    if expected not in (None, view_id(plan)):
        raise UserError("settings or code were changed while the steps ran. Run snakemake again: it makes what the change needs.")
    command = ["snakemake", "--config", f"experiments=[{','.join(experiments)}]"]
    # What changes no result is no part of the view's identity.
    shown = tuple(override for override in overrides if not override.lstrip("+").startswith("runtime."))
    command += [f"overrides={json.dumps(list(shown))}"] if shown else []
    contents = report_files(plan, shlex.join(command), shown)
    contents["params.yaml"] = _yaml(_params(plan))
    artifacts = _yaml({"artifacts": _artifacts(plan)})
    contents["dvc.yaml"] = f"# Written with the report. No stages: Snakemake runs the steps.\n{artifacts}"
    files = {str(RESULTS / name): content for name, content in contents.items()} | cards(plan.index)
    encoded = {path: content.encode() if isinstance(content, str) else content for path, content in files.items()}
    for path, content in encoded.items():
        write_bytes(Path(path), content)
    for path in read_view().get("files", {}).keys() - encoded.keys():
        # Model cards stay with their networks. The list came with the repository: it must not reach beyond the folder.
        if path.startswith("results/") and ".." not in Path(path).parts:
            remove(Path(path))
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in sorted(encoded.items())}
    write_json(VIEW, {"id": view_id(plan), "experiments": experiments, "overrides": list(overrides), "files": hashes})


def _params(plan: Plan) -> dict[str, Any]:
    """The composed settings of each experiment, without those that change no result, for `dvc params`."""
    return {
        name: {key: value for key, value in settings.items() if key not in ("run", "runtime")}
        for name, settings in plan.settings.items()
    }


def _artifacts(plan: Plan) -> dict[str, dict[str, str]]:
    """Each network and each data set by its readable name, for `dvc artifacts`."""
    artifacts = {}
    for role, folder in plan.index.items():
        kind = Path(folder).parent.name
        if kind in HOLD_NETWORK or kind in DATA:
            file, meaning = ("dataset.safetensors", "dataset") if kind in DATA else ("model.safetensors", "model")
            # DVC allows no other characters in the name of an artifact.
            artifacts[re.sub(r"[^a-zA-Z0-9/_-]", "-", role)] = {"path": f"../{folder}/{file}", "type": meaning}
    return artifacts


def _yaml(content: Any) -> str:
    return yaml.dump(content, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, allow_unicode=True)


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
