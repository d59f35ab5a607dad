"""The figure step: one figure, drawn from receipts and small files of steps."""

import csv
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.files import read_receipt, verified, write_bytes
from gendistill.plan.step import READS
from gendistill.results.figures.style import KINDS, look, rendered

if TYPE_CHECKING:
    from gendistill.runtime import Runtime


def make_figure(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Write `figure.svg`, `figure.pdf` and `figure.png`.

    Args:
        settings: `figure` (the module here that draws it), `title`, `caption`, `alt`, and `cells`: for each step that is drawn
            its labels; what else the module's `draw` takes.
        inputs: the folders of these steps, in one role.
        folder: where the files go.
        runtime: log.

    Returns:
        `cells`, how many were drawn.

    Raises:
        UserError: a step has no receipt, or the file that is read of it is missing or corrupt.
    """
    ((role, folders),) = inputs.items()
    read = {f"{path.parent.name}/{path.name}": read_step(path, READS.get(role, ())) for path in folders}
    cells = [{**cell, **read[cell["step"]]} for cell in settings["cells"]]
    module = importlib.import_module(f"{__package__}.{settings['figure']}")
    with look():
        figure = module.draw(settings, cells)
    for kind in KINDS:
        write_bytes(folder / f"figure.{kind}", rendered(figure, kind, settings["title"]))
    return {"cells": len(cells)}


def read_step(folder: Path, files: tuple[str, ...]) -> dict[str, Any]:
    """The `metrics` of a step's receipt, and the `rows` of the file that is read of it, if there is one, as text by column."""
    found = {"metrics": read_receipt(folder)["metrics"]}
    for name in files:
        with open(verified(folder / name), newline="", encoding="utf-8") as file:
            found["rows"] = list(csv.DictReader(file))
    return found
