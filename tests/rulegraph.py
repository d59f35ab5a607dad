"""Refresh the picture of the rules in README.md: python -m tests.rulegraph (make rulegraph)."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
PLACE = re.compile(r"(?<=<!-- rulegraph -->\n)```mermaid\n.*?```\n", re.DOTALL)


def draw(folder: Path, env: dict[str, str] | None = None) -> str:
    """The rules of the demo as a Mermaid diagram; `folder` is a checkout in which nothing has run."""
    command = [sys.executable, "-m", "snakemake", "--forceall", "--rulegraph", "mermaid-js", "all"]
    text = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout
    # Colours are drawn anew for each set of rules; without them the picture follows the reader's theme.
    lines = [line for line in text.splitlines() if line.startswith(("flowchart", "\tid", " "))]
    return "```mermaid\n" + "\n".join(line for line in lines if not line.strip().startswith("style")) + "\n```\n"


if __name__ == "__main__":
    README.write_text(PLACE.sub(lambda _: draw(README.parent), README.read_text()))
