"""Where things lie in a checkout."""

from pathlib import Path

from gendistill.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src"
CONFIG = ROOT / "config"
SCHEMA = ROOT / "workflow" / "schemas" / "settings.schema.yaml"
REFACTORINGS = ROOT / "workflow" / "refactorings.yaml"
REPORT_TEMPLATE = SOURCE / "gendistill" / "results" / "report.html.j2"
CACHE = Path(".snakemake") / "gendistill"


def check_directory() -> None:
    """Settings and code are those of the checkout that the package lies in, results those of the current directory.

    Raises:
        UserError: the two are not the same.
    """
    here = Path.cwd().resolve()
    if here != ROOT:
        inside = "" if ROOT in here.parents else f", or use the gendistill of this directory: PYTHONPATH={here}/src"
        raise UserError(f"this gendistill has the settings and the code of {ROOT}. Run it there: cd {ROOT}{inside}")
