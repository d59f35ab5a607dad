"""What is compared: names of experiments and published tables, and git revisions; and their files in `results/`."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.plan.tables import TABLES
from gendistill.yaml_text import YAMLError, read_yaml

FOLDER = Path("results", "tables")
PARAMS = Path("results", "params.yaml")
ENDING = "_runs.csv"
FORMS = "a name, a git revision (branch, tag, hash, HEAD~1), or NAME@REVISION"
DIGITS = 12
# The published table, which has no name, and those of an experiment.
ORDER = ("", *TABLES)


@dataclass(frozen=True)
class Snapshot:
    """The tables of `results/` as they are here, or as they were committed.

    Attributes:
        where: `here`, or the revision, to be read.
        tables: for each experiment the text of its tables' files by run, by the table's name; of a published table it is the
            one that has no name.
        settings: the composed settings of each, as far as they are told.
    """

    where: str
    tables: dict[str, dict[str, str]]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of the two that are compared; without a `name`, all that the snapshot has."""

    snapshot: Snapshot
    name: str | None

    @property
    def label(self) -> str:
        """What it is, to be read."""
        return f"{self.name}, {self.snapshot.where}" if self.name else self.snapshot.where


def find_sides(first: str, second: str) -> tuple[Side, Side]:
    """What two names mean. A revision beside a name is that name at the revision.

    Raises:
        UserError: one is no name and no revision, or has no results.
    """
    here = _snapshot(None, "")
    (name, one), (other_name, other) = _meaning(first, here), _meaning(second, here)
    return _side(first, name or other_name, one), _side(second, other_name or name, other)


def file_of(name: str, table: str) -> str:
    """The path of a table's file by run."""
    return str(FOLDER / f"{name}{'_' if table else ''}{table}{ENDING}")


def _meaning(given: str, here: Snapshot) -> tuple[str | None, Snapshot]:
    """The name, if one is given, and where its results are."""
    if given in here.tables:
        return given, here
    if commit := _commit(given):
        return None, _snapshot(commit, given)
    name, _, revision = given.partition("@")
    if revision and (commit := _commit(revision)):
        return name, _snapshot(commit, revision)
    known = ", ".join(here.tables) or f"none ({FOLDER} has no *{ENDING}: snakemake makes them)"
    raise UserError(f"{given}: there are no results of this name, and no such revision. Allowed: {FORMS}. Names here: {known}.")


def _side(given: str, name: str | None, snapshot: Snapshot) -> Side:
    if not snapshot.tables:
        raise UserError(f"{given}: {snapshot.where} has no results. They are compared as committed: git add results, git commit.")
    if name and name not in snapshot.tables:
        raise UserError(f"{given}: there are no results of {name}, {snapshot.where}. Names there: {', '.join(snapshot.tables)}.")
    return Side(snapshot, name)


def _snapshot(commit: str | None, given: str) -> Snapshot:
    """`results/` of a commit, or as it is here."""
    where = f"at {given} ({commit[:DIGITS]})" if commit else "here"
    if commit:
        names = _git("ls-tree", "-z", "--name-only", commit, f"{FOLDER}/").split("\0")
        has_settings = bool(_git("ls-tree", "--name-only", commit, str(PARAMS)))
    else:
        names = [str(path) for path in FOLDER.glob(f"*{ENDING}")]
        has_settings = PARAMS.exists()
    tables: dict[str, dict[str, str]] = {}
    for path in sorted(name for name in names if name.endswith(ENDING)):
        text = _text(path, commit)
        name, table = _split(Path(path).name.removesuffix(ENDING), text)
        # One that this version has not is left out.
        if table in ORDER:
            tables.setdefault(name, {})[table] = text
    tables = {name: {table: own[table] for table in ORDER if table in own} for name, own in tables.items()}
    return Snapshot(where, tables, _settings(_text(str(PARAMS), commit), where) if has_settings else {})


def _split(stem: str, text: str) -> tuple[str, str]:
    """The experiment and the table that a file is of; a published table says in each row which metric it is."""
    if {"metric", "value"} <= set(text.partition("\n")[0].split(",")):
        return stem, ""
    name, _, table = stem.rpartition("_")
    return name, table


def _text(path: str, commit: str | None) -> str:
    return _git("show", f"{commit}:./{path}") if commit else Path(path).read_text(encoding="utf-8")


def _settings(text: str, where: str) -> dict[str, Any]:
    try:
        found = read_yaml(text)
    except YAMLError as error:
        raise UserError(f"{PARAMS}, {where}, is damaged ({' '.join(str(error).split())}). It is written by: snakemake") from error
    return found if isinstance(found, dict) else {}


def _commit(revision: str) -> str | None:
    """The hash of a revision; None if there is none, or no repository."""
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except UserError:
        return None


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8", check=False)
    except OSError as error:
        raise UserError(f"git could not be run: {error.strerror}.") from error
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
