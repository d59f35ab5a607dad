"""Code hashes: they see what may change a result, in all modules that are imported, and no more."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import gendistill
from gendistill.plan import code


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of the package's source that `code_hash` reads; no old code is said to be the same."""
    code.forget()
    folder = tmp_path / "src"
    shutil.copytree(Path(gendistill.__file__).parent, folder / "gendistill", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "SOURCE", folder)
    monkeypatch.setattr(code, "REFACTORINGS", tmp_path / "refactorings.yaml")
    yield folder / "gendistill"
    code.forget()


def hash_of(module):
    code.forget()
    return code.code_hash(f"gendistill.{module}")


SAMPLE = '''"""A module."""

from typing import TYPE_CHECKING

from gendistill.errors import UserError

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

LIMIT = 3


def double(x: int, *, times: int = 2) -> int:
    """Twice x."""
    if x > LIMIT:
        raise UserError(f"{x} is too large")
    return times * x


class Thing:
    """A thing."""

    size = 1


if __name__ == "__main__":
    print(double(2))
'''


@pytest.fixture
def sample(source):
    (source / "sample.py").write_text(SAMPLE)
    return source / "sample.py"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another text."""'),
        ('"""A module."""\n', ""),
        ('    """Twice x."""\n', ""),
        ('"""A thing."""', "'''Some\n    thing.'''"),
        ("LIMIT = 3", "# no more than\nLIMIT = 3  # this"),
        ("LIMIT = 3", "\n\n\nLIMIT   =   (3)"),
        ("return times * x", "return (\n        times\n        * x\n    )"),
        ("print(double(2))", "print(double(3), 'changed')"),
        ("    from gendistill.runtime import Runtime", "    from gendistill.runtime import Runtime as R"),
        ('if __name__ == "__main__":', "if __name__ == '__main__':"),
        ('f"{x} is too large"', "f'{x} is too large'"),
    ],
)
def test_code_hash_does_not_see_what_changes_no_result(sample, old, new):
    before = hash_of("sample")
    assert old in SAMPLE
    sample.write_text(SAMPLE.replace(old, new))
    assert hash_of("sample") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", 'LIMIT = "3"'),
        ("x > LIMIT", "x >= LIMIT"),
        ("times * x", "x * times"),
        ("times: int = 2", "times: int = 3"),
        ("times: int = 2", "times: int"),
        ("size = 1", "size = None"),
        ("too large", "too big"),
        ("    return times * x", '    "not a docstring"\n    return times * x'),
        ("from gendistill.errors import UserError", "from gendistill.errors import SettingError as UserError"),
    ],
)
def test_code_hash_sees_what_may_change_a_result(sample, old, new):
    before = hash_of("sample")
    assert old in SAMPLE
    sample.write_text(SAMPLE.replace(old, new))
    assert hash_of("sample") != before


def add_constant(path):
    path.write_text(path.read_text() + "\nADDED = 1\n")


@pytest.mark.parametrize(
    ("root", "edited", "seen"),
    [
        ("training.run", "training/run.py", True),
        ("training.run", "training/schedule.py", True),
        ("training.run", "data/views.py", True),
        ("training.run", "files.py", True),
        ("training.run", "training/__init__.py", True),
        ("training.run", "__init__.py", True),
        ("training.run", "runtime.py", False),
        ("training.run", "objectives/ban.py", False),
        ("training.run", "networks/resnet.py", False),
        ("training.run", "evaluation/ensemble.py", False),
        ("training.run", "plan/build.py", False),
        ("objectives.ban", "objectives/__init__.py", True),
        ("objectives.ban", "objectives/tolerant.py", False),
        ("objectives.top_score_difference", "errors.py", True),
        ("evaluation.ensemble", "files.py", True),
        ("evaluation.ensemble", "training/run.py", False),
    ],
)
def test_code_hash_covers_what_is_imported_and_no_more(source, root, edited, seen):
    before = hash_of(root)
    add_constant(source / edited)
    assert (hash_of(root) != before) == seen


@pytest.mark.parametrize(
    "line",
    [
        "import gendistill.extra",
        "import gendistill.extra as e",
        "from gendistill import extra",
        "from gendistill.extra import X",
        "from . import extra",
        "from .extra import X",
        "def f():\n    from gendistill.extra import X",
        "import middle_is_not_ours\nfrom gendistill.middle import Y",
    ],
)
def test_code_hash_follows_every_way_to_import(source, line):
    (source / "middle.py").write_text("from gendistill.extra import X as Y\n")
    (source / "extra.py").write_text("X = 1\n")
    (source / "sample.py").write_text(f"{line}\n")
    before = hash_of("sample")
    (source / "extra.py").write_text("X = 2\n")
    assert hash_of("sample") != before


def test_code_hash_follows_relative_imports_from_a_folder(source):
    (source / "objectives" / "sample.py").write_text("from ..extra import X\nfrom .ban import loss\n")
    (source / "extra.py").write_text("X = 1\n")
    hashes = [hash_of("objectives.sample")]
    for edited in ("extra.py", "objectives/ban.py"):
        add_constant(source / edited)
        hashes.append(hash_of("objectives.sample"))
    assert len(set(hashes)) == 3


def test_code_hash_covers_the_packages_that_an_imported_module_lies_in(source):
    (source / "sample.py").write_text("import gendistill.objectives.ban\n")
    hashes = [hash_of("sample")]
    for edited in ("__init__.py", "objectives/__init__.py"):
        add_constant(source / edited)
        hashes.append(hash_of("sample"))
    assert len(set(hashes)) == 3


def test_modules_that_import_each_other_have_a_hash(source):
    (source / "one.py").write_text("import gendistill.two\n")
    (source / "two.py").write_text("import gendistill.one\n")
    before = hash_of("one")
    add_constant(source / "two.py")
    assert hash_of("one") != before


def test_a_refactoring_keeps_the_old_hash(sample, tmp_path):
    old = hash_of("sample")
    sample.write_text(SAMPLE.replace("times * x", "x * times"))
    new = hash_of("sample")
    sample.write_text(SAMPLE.replace("times * x", "+x * times"))
    newest = hash_of("sample")
    assert len({old, new, newest}) == 3
    known = {"gendistill.sample": {new: {"same_as": old}, newest: {"same_as": new}}}
    (tmp_path / "refactorings.yaml").write_text(yaml.safe_dump(known))
    assert hash_of("sample") == old
    add_constant(sample)
    assert hash_of("sample") not in (old, new, newest)


def test_a_refactoring_of_one_module_says_nothing_of_another(sample, source, tmp_path):
    (source / "twin.py").write_text("import gendistill.sample\n")
    old = hash_of("twin")
    (tmp_path / "refactorings.yaml").write_text(yaml.safe_dump({"gendistill.sample": {old: {"same_as": "0000000000"}}}))
    assert hash_of("twin") == old


@pytest.fixture
def kept(source, tmp_path, monkeypatch):
    """Where a fresh process, which has read no code yet, keeps what it finds."""
    monkeypatch.chdir(tmp_path)

    def start_anew():
        code.forget()
        code._modules_known.cache_clear()

    start_anew()
    yield start_anew
    start_anew()


def test_a_later_process_parses_no_module_again(kept, monkeypatch):
    first = hash_of("training.loop")
    monkeypatch.setattr(code, "_parse", lambda content, package: pytest.fail(f"parsed {package} again"))
    kept()
    assert hash_of("training.loop") == first


def test_a_later_process_sees_what_was_edited_meanwhile(kept, source):
    first = hash_of("training.loop")
    kept()
    add_constant(source / "training/schedule.py")
    assert hash_of("training.loop") != first


def test_a_name_that_becomes_a_module_counts(kept, source):
    sample = source / "sample.py"
    sample.write_text("from gendistill.errors import extra\n")
    first = hash_of("sample")
    kept()
    (source / "errors.py").rename(source / "kept.py")
    (source / "errors").mkdir()
    (source / "kept.py").rename(source / "errors/__init__.py")
    assert hash_of("sample") == first
    (source / "errors/extra.py").write_text("A = 1\n")
    assert hash_of("sample") != first


@pytest.mark.parametrize("damaged", ["", '{"a', "[]", "[1]", '"x"', "KEYS: null", "KEYS: [1]"])
def test_a_damaged_file_of_what_was_found_changes_no_hash(kept, tmp_path, damaged):
    first = hash_of("training.loop")
    (file,) = (tmp_path / ".snakemake/gendistill").glob("code-*.json")
    # Each module under the key it has, and of it something else than a hash and names.
    keys = json.dumps(dict.fromkeys(json.loads(file.read_text()), json.loads(damaged[6:]))) if "KEYS" in damaged else damaged
    file.write_text(keys)
    kept()
    assert hash_of("training.loop") == first
