"""Find the run that a user means."""

import difflib
import json
from pathlib import Path

from gendistill.errors import UserError
from gendistill.files import RECEIPT

INDEX = Path("results", "index.json")
FORMS = (
    "Allowed: a role of results/index.json, such as demo-ban-gen3-seed0; runs/STEP/ID, or a file in it; STEP/ID; ID, or how it "
    "begins, if there is one such run only; for provenance also a cell TABLE:ROW, such as demo_error:ban/3, of results/tables."
)


def read_index() -> dict[str, str]:
    """The run, as `kind/id`, of each role of the results.

    Raises:
        UserError: the file is damaged.
    """
    try:
        index = json.loads(INDEX.read_text())
        return {role: "/".join(Path(folder).parts[-2:]) for role, folder in index.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{INDEX} is damaged ({error}). Make it anew: snakemake --config experiments=[NAME]") from error


def roles_by_run() -> dict[str, list[str]]:
    """The roles of each run in the results."""
    roles: dict[str, list[str]] = {}
    for role, run in read_index().items():
        roles.setdefault(run, []).append(role)
    return roles


def find_run(name: str) -> str:
    """The run, as `kind/id`, that `name` means.

    Raises:
        UserError: there is no such run, or there are several.
    """
    index = read_index()
    here = sorted("/".join(path.parent.parts[-2:]) for path in Path("runs").glob(f"*/*/{RECEIPT}"))
    if name in index:
        if index[name] not in here:
            raise UserError(
                f"{name} is runs/{index[name]}, which has no {RECEIPT} here. Receipts come with git: git pull; or make it: "
                f"snakemake runs/{index[name]}/{RECEIPT} --config experiments=[NAME]"
            )
        return index[name]
    parts = Path(name).parts
    if "runs" in parts:
        parts = parts[len(parts) - parts[::-1].index("runs") :]
    wanted = "/".join(parts[:2])
    if wanted in here:
        return wanted
    found = [run for run in here if wanted and (run if "/" in wanted else run.partition("/")[2]).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{name}: {len(found)} runs begin so: {_some(found)}. {FORMS}")
    if not here:
        raise UserError(f"{name}: there are no finished runs here, in the folder runs. Go to the folder of the project. {FORMS}")
    raise UserError(f"{name}: there is no such run here. {_near(name, [*index, *here])}{FORMS}")


def _near(name: str, known: list[str]) -> str:
    near = [other for other in known if name in other] or difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    return f"Near it are: {_some(near)}. " if near else ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
