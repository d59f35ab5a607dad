"""The resume checkpoint: all it takes to go on as if nothing had happened."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from gendistill.files import put_aside, write_bytes

FILE = "resume.pt"


def save_resume(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) atomically to a file that is no output of the rule, so Snakemake leaves it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    # torch.load does not notice a flipped bit in a weight.
    write_bytes(folder / FILE, hashlib.sha256(content).digest() + content)


def load_resume(folder: Path, identity: str) -> dict[str, Any] | None:
    """The state of an interrupted training of the same step, or None.

    A damaged file is put aside as `resume.pt.corrupt`, and training starts from the beginning.
    """
    path = folder / FILE
    if not path.exists():
        return None
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        put_aside(path, f"{FILE}.corrupt")
        return None
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state if state["identity"] == identity else None
