"""Where things lie in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src"
CONFIG = ROOT / "config"
SCHEMA = ROOT / "workflow" / "schemas" / "settings.schema.yaml"
REFACTORINGS = ROOT / "workflow" / "refactorings.yaml"
REPORT_TEMPLATE = SOURCE / "gendistill" / "results" / "report.html.j2"
CACHE = Path(".snakemake") / "gendistill"
