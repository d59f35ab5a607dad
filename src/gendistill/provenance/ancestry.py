"""`python -m gendistill provenance NAME`: the whole ancestry of a run, or of a cell of a table."""

from gendistill.provenance.blocks import Ancestry, block_of, title_of
from gendistill.provenance.cells import find_row
from gendistill.provenance.environments import common_environment, environment_lines
from gendistill.provenance.names import find_run, roles_by_run
from gendistill.provenance.origins import load_origins
from gendistill.provenance.values import field
from gendistill.provenance.verdict import verdict


def provenance(name: str) -> str:
    """All that a run, or a cell of a table, comes from: steps, seeds, hashes, environment, and what today's code would make.

    Args:
        name: a role of the results, a path, an id, or TABLE:ROW.

    Raises:
        UserError: it names no run here, or several.
    """
    row = find_row(name) if ":" in name else None
    targets = list(row.runs) if row else [find_run(name)]
    origins = load_origins(targets)
    numbers = {step: n for n, step in enumerate(origins, start=1)}
    common = common_environment([origin.receipt for origin in origins.values()])
    ancestry = Ancestry(origins, numbers, roles_by_run(), common)
    if row:
        head = [f"{name.partition(':')[0]}: {row.name}", *(f"  {line}" for line in row.lines)]
        head += [f"  from {title_of(run, ancestry)}{f': {said}' if said else ''}" for run, said in row.runs.items()]
    else:
        head = [title_of(targets[0], ancestry).partition(" ")[2], f"runs/{targets[0]}"]
    head += ["", f"{len(origins)} steps, each after those that it reads. Where nothing else is said, they ran with"]
    head += [field(key, text, indent=2) for key, text in environment_lines(common).items()]
    blocks = [line for step in origins for line in block_of(step, ancestry)]
    return "\n".join([*head, *blocks, "", "Today", *verdict(targets, ancestry)])
