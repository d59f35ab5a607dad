"""The resume checkpoint: all it takes to go on as if nothing had happened."""

import io
from pathlib import Path
from typing import Any

import torch

from gendistill.files import write_bytes

FILE = "resume.pt"


def save_resume(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) atomically to a file that is no output of the rule, so Snakemake leaves it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / FILE, buffer.getvalue())


def load_resume(folder: Path, identity: str) -> dict[str, Any] | None:
    """The state of an interrupted training of the same step, or None.

    A file that cannot be read is put aside as `resume.pt.corrupt`, and training starts from the beginning.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["identity"] == identity:
            return state
    except Exception:  # whatever torch.load meets in a damaged file
        path.replace(path.with_suffix(".pt.corrupt"))
    return None
