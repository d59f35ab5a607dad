"""Run every kind of step but what the report shows, on a few images in the current folder; print a hash of each result as YAML."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np

from gendistill.execute import execute
from gendistill.files import RECEIPT, sha256
from gendistill.plan import build_plan
from gendistill.plan.canonical import digest
from gendistill.plan.step import SHOWN

LINEAGES = {
    "born_again": {"objective": "ban"},
    "tolerant": {"objective": "tolerant", "patriarch": {"objective": {"name": "tsd", "top_k": 3}}},
    "labels": {"objective": "ban_label", "patriarch": {"objective": "label_smoothing"}, "soft_labels": "online"},
    "penalty": {"objective": "ban", "patriarch": {"objective": "confidence_penalty"}},
}
OVERRIDES = (
    "dataset=npz",
    "dataset.path=probe.npz",
    "network.width=4",
    "recipe.epochs=1",
    "recipe.batch_size=8",
    "recipe.pad=1",
    "recipe.precision=float32",
    "seeds=[0]",
    "generations=1",
    "scratch=2",
    "transfer=[]",
    "~lineages.ban",
    "~lineages.tolerant",
)


def write_images(path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2, 24, 8, 8), dtype=np.uint8)
    labels = np.tile(np.arange(4), 6)
    np.savez(path, train_images=images[0], train_labels=labels, test_images=images[1], test_labels=labels)


def main() -> None:
    write_images(Path("probe.npz"))
    added = [f"+lineages.{name}={json.dumps(change).replace(chr(34), '')}" for name, change in LINEAGES.items()]
    plan = build_plan(["demo"], (*OVERRIDES, *added))
    found = {}
    for role, name in plan.roles.items():
        step = plan.steps[name]
        if step.kind in SHOWN:
            continue
        with contextlib.redirect_stderr(io.StringIO()) as log:
            code = execute(json.loads(step.to_json()))
        assert code == 0, log.getvalue()
        folder = Path(step.folder)
        metrics = json.loads((folder / RECEIPT).read_text())["metrics"]
        metrics.pop("images_per_second", None)
        files = [sha256(p) for p in sorted(folder.iterdir()) if p.suffix in (".safetensors", ".npy")]
        found[role] = digest([metrics, files])
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
