"""Refresh the data sets in dvc.yaml: python -m tests.dataset_artifacts (make artifacts)."""

import re
from pathlib import Path

import yaml

from gendistill.plan.paths import CONFIG
from gendistill.plan.plan import Plan, Study
from gendistill.plan.runs import add_dataset
from gendistill.plan.settings import load_group

DVC_YAML = Path(__file__).resolve().parents[1] / "dvc.yaml"
PLACE = re.compile(r"(?<=^artifacts:\n).*?(?=^\S|\Z)", re.DOTALL | re.MULTILINE)


def dataset_artifacts() -> str:
    """The data sets of config/dataset/ that are not the user's own files, each where its step leaves it."""
    study = Study(Plan(), "artifacts", {"runtime": {}}, "config/dataset")
    found = {}
    for name in sorted(path.stem for path in (CONFIG / "dataset").glob("*.yaml")):
        settings = load_group("dataset", name)
        if "path" not in settings:
            step = add_dataset(study, settings)
            found[name] = {"path": f"{step.folder}/dataset.safetensors", "type": "dataset"}
    return "".join(f"  {line}\n" for line in yaml.safe_dump(found, sort_keys=False).splitlines())


if __name__ == "__main__":
    DVC_YAML.write_text(PLACE.sub(lambda _: dataset_artifacts(), DVC_YAML.read_text()))
