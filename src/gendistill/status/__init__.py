"""How far the steps of a plan are, as the files, the locks, the logs and Slurm's queue tell; nothing is written."""

from gendistill.status.text import status

__all__ = ["status"]
