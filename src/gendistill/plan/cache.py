"""What is kept for the next start; all of it could be computed anew."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def read_cache(path: Path) -> Any:
    """The value that `write_cache` kept; None if there is none, or it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def write_cache(path: Path, value: Any) -> None:
    """Keep `value` as JSON; where nothing can be written, it is only computed anew."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(value))
        temporary.replace(path)
