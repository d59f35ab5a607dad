"""Each file of config/objective, its function and its schema say the same."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from gendistill.plan.nested import KNOWN_NEEDS

ROOT = Path(__file__).parent.parent
# A sum has no function of its own.
FILES = sorted(file for file in (ROOT / "config/objective").glob("*.yaml") if file.stem != "sum")
SCHEMAS = yaml.safe_load((ROOT / "workflow/schemas/objective.yaml").read_text())
DEFS = yaml.safe_load((ROOT / "workflow/schemas/settings.schema.yaml").read_text())["$defs"]
NOT_SETTINGS = ("name", "_target_", "trains", "needs")
GIVEN = [yaml.safe_load(file.read_text()).get("gives", []) for file in (ROOT / "config/network").glob("*.yaml")]
PASSED = {*KNOWN_NEEDS, *(name for names in GIVEN for name in names)}
# By the loop, and what every function is given.
READ_BY_LOOP = {"distil_until", "taps", "first_stage"}
ALWAYS = {"logits", "labels", "teacher_logits", "shapes", "teacher_shapes"}


def read(file):
    """The whole file, and its settings alone."""
    whole = yaml.safe_load(file.read_text())
    return whole, {key: value for key, value in whole.items() if key not in NOT_SETTINGS}


def check(target, settings):
    Draft202012Validator({"properties": SCHEMAS.get(target, {}), "$defs": DEFS}).validate(settings)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_settings_are_those_of_the_function_and_of_the_schema(file):
    whole, settings = read(file)
    assert file.read_text().startswith("# ")
    assert whole["name"] == file.stem
    assert whole["trains"] in (("any",) if "alone" in whole else ("patriarch", "student"))
    assert set(whole["needs"]) <= PASSED
    assert set(settings) == set(SCHEMAS.get(whole["_target_"], settings))
    module = importlib.import_module(whole["_target_"].rpartition(".")[0])
    functions = [getattr(module, name) for name in ("loss", "first_loss", "parts") if hasattr(module, name)]
    named = {name.rstrip("_") for function in functions for name in inspect.signature(function).parameters}
    assert named - ALWAYS == (set(settings) | set(whole["needs"])) - READ_BY_LOOP
    of_loss = inspect.signature(module.loss).parameters
    assert set(whole["needs"]) <= set(of_loss) | ({"parts"} if hasattr(module, "parts") else set())
    assert ("first_stage" in settings) == hasattr(module, "first_loss")
    assert ("parts" in whole["needs"]) == hasattr(module, "parts")
    assert ("distil_until" in settings) == (file.stem in ("kd", "attention_transfer", "kd_attention"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_defaults_are_allowed(file):
    whole, settings = read(file)
    check(whole["_target_"], settings)


def test_every_schema_belongs_to_a_file_and_describes_each_setting():
    assert set(SCHEMAS) <= {read(file)[0]["_target_"] for file in FILES}
    for settings in SCHEMAS.values():
        for schema in settings.values():
            resolved = DEFS[schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema
            assert resolved["description"]


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("kd", "alpha", 1.1),
        ("kd", "alpha_weighs", "both"),
        ("kd", "temperature", 0),
        ("kd", "temperature_squared", 1),
        ("kd", "distil_until", -0.1),
        ("kd_attention", "distil_until", 1.5),
        ("kd_attention", "beta", -1),
        ("attention_transfer", "beta", "1000"),
        ("attention_transfer", "distil_until", 2),
        ("dkpp", "permutation", "batch"),
        ("l2_logits", "lambda", -0.5),
        ("ban_label_sum", "temperature", -1),
        ("ban", "temperature_squared", "yes"),
        ("tolerant", "lambda_weighs", "student"),
        ("label_smoothing", "smoothing", 1),
        ("tsd", "u", 0),
        ("tsd", "top_k", 1),
        ("confidence_penalty", "beta", -0.1),
    ],
)
def test_impossible_values_are_refused(name, setting, value):
    whole, settings = read(ROOT / f"config/objective/{name}.yaml")
    with pytest.raises(ValidationError) as error:
        check(whole["_target_"], {**settings, setting: value})
    assert list(error.value.absolute_path) == [setting]


def test_objectives_import_no_training():
    names = [f"gendistill.objectives.{file.stem}" for file in (ROOT / "src/gendistill/objectives").glob("[a-z]*.py")]
    code = (
        f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
        "print([m for m in sys.modules if m.startswith('gendistill.') and not m.startswith('gendistill.objectives')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "['gendistill.errors']"
