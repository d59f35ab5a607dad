"""gendistill: train neural networks in generations by knowledge distillation."""

import importlib
from typing import Any


def load(name: str, repo: str | None = None, rev: str | None = None) -> Any:
    """The trained network of that name: a `torch.nn.Module` in eval mode on the CPU, whose weights want no gradients.

    Args:
        name: a readable name of `results/index.json`, such as `demo-ban-gen3-seed0`; `KIND/ID`, `runs/KIND/ID` or an id; or a
            folder that holds `receipt.json` and `model.safetensors`.
        repo: path or git URL of the repository that has it; if None, the checkout in the current directory.
        rev: a git revision of `repo`: branch, tag or commit.

    Returns:
        `loading.ImageModel` (pixels -> logits) or `loading.LanguageModel` (words -> logits).

    Raises:
        UserError: there is no such network, or its weights cannot be had or are damaged.
    """
    # Not an import statement: the code hash of each module would cover what it names.
    return importlib.import_module("gendistill.loading").load(name, repo, rev)
