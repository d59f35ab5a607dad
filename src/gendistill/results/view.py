"""Which results `results/` shows: a marker named by the identity of the view, so that Snakemake sees when it is another."""

from pathlib import Path

from gendistill.files import write_bytes

MARKERS = Path("results") / ".view"
REPORT = Path("results") / "report.html"


def start_view(view: str) -> None:
    """Mark that `results/` is to show `view`, and remove what shows another one."""
    REPORT.unlink(missing_ok=True)
    for marker in MARKERS.glob("*"):
        marker.unlink()
    write_bytes(MARKERS / view, b"")
