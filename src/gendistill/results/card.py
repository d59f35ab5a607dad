"""Model cards: what a network is, what made it and how good it is, as one Markdown page beside its weights."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gendistill.files import read_receipt
from gendistill.plan.nested import targets_in
from gendistill.plan.step import HOLD_NETWORK
from gendistill.results.card_text import best_epoch_note, joined, metrics_table, settings_table, table, terms, value
from gendistill.softlabels.extent import view_count

FILE = "README.md"
# The receipt of a folder `runs/<kind>/<id>`.
Read = Callable[[str], dict[str, Any]]


def cards(index: dict[str, str]) -> dict[str, str]:
    """The model card of each network of an index, by its path `runs/<kind>/<id>/README.md`.

    Args:
        index: the folder `runs/<kind>/<id>` of each role.

    Raises:
        UserError: a network, or a step that it comes from, has no receipt.
    """
    read = functools.cache(lambda folder: read_receipt(Path(folder)))
    return {f"{folder}/{FILE}": _card(folder, *names, read) for folder, names in _named(index).items()}


def _named(index: dict[str, str]) -> dict[str, tuple[list[str], list[str]]]:
    """For the folder of each network its roles, sorted, and the folders, itself among them, whose roles differ by the seed only."""
    roles: dict[str, list[str]] = {}
    groups: dict[str, list[str]] = {}
    for role, folder in sorted(index.items()):
        if Path(folder).parent.name in HOLD_NETWORK:
            roles.setdefault(folder, []).append(role)
            groups.setdefault(_group(role), []).append(folder)
    return {
        folder: (own, sorted({other for role in own for other in groups[_group(role)]})) for folder, own in sorted(roles.items())
    }


def _group(role: str) -> str:
    return re.sub(r"-seed\d+(?=-|$)", "", role)


def _card(folder: str, roles: list[str], alike: list[str], read: Read) -> str:
    receipt, lineage = read(folder), _lineage(folder, read)
    settings, data = receipt["spec"]["settings"], read(_dataset(receipt))
    image = "shape" in data["metrics"]
    sections = [
        _front_matter(settings, lineage, image, read),
        f"# {roles[0]}",
        _summary(receipt, [read(ancestor) for ancestor in lineage[:-1]], data, image),
        f"Other names of the same network: {joined(roles[1:])}." if roles[1:] else "",
        "## Use",
        _use(roles[0], folder, data, image),
        "## Network",
        f"`{settings['network']['name']}` ({_class_of(settings)}), {receipt['metrics']['parameters']:,} parameters.",
        settings_table(settings["network"]),
        "## Data",
        _data(receipt, data, image),
        "## Recipe",
        f"`{settings['recipe']['name']}`; seed {settings['seed']}.",
        settings_table(settings["recipe"]),
        "## Objective",
        f"`{settings['objective']['name']}` ({joined(sorted(set(targets_in(settings['objective']))))}).",
        settings_table(settings["objective"]),
        "## Metrics",
        _metrics(receipt, sorted((read(other) for other in alike), key=lambda other: other["spec"]["settings"]["seed"]), data),
        "## Ancestry",
        "Oldest first; each network comes from the one before it." if len(lineage) > 1 else "",
        _ancestry(lineage, read),
        "## Made with",
        _made_with(receipt),
        "## Limits",
        "Trained to compare ways of training on these data, not for use: how it does on other data, and what it has learnt that it "
        "should not, has not been looked at. Compare it with networks of the same data and recipe only. Where a processor has no "
        "bfloat16, or adds in another order, logits differ by rounding.",
        "## Licence",
        "The weights are under the licence of this project, MIT (see [LICENSE](../../../LICENSE)). The data have their own terms:",
        "\n".join(f"- `{name}`: {terms(name)}" for name in _datasets(lineage, read)),
        "## Citation",
        "See [CITATION.cff](../../../CITATION.cff), and cite the paper of the method and of the data.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(settings: dict[str, Any], lineage: list[str], image: bool, read: Read) -> str:
    """What model hubs read, as YAML."""
    tags = ["knowledge-distillation", settings["network"]["name"], settings["objective"]["name"]]
    lines = {
        "library_name": "gendistill",
        "license": "mit",
        "pipeline_tag": "image-classification" if image else "text-generation",
        "tags": tags,
        "datasets": _datasets(lineage, read),
        "metrics": ["accuracy" if image else "perplexity"],
    }
    text = "\n".join(f"{key}: {value(entry)}" for key, entry in lines.items())
    return f"---\n{text}\n---"


def _summary(receipt: dict[str, Any], ancestors: list[dict[str, Any]], data: dict[str, Any], image: bool) -> str:
    settings, metrics, name = receipt["spec"]["settings"], data["metrics"], data["spec"]["settings"]["name"]
    if image:
        channels, height, width = metrics["shape"]
        does = f"sorts images of `{name}` ({height}x{width}, {channels} channel(s)) into {metrics['classes']} classes"
        result = f"Test error {receipt['metrics']['test_error_pct']:.2f} %"
    else:
        does = f"predicts the next word of `{name}` (vocabulary of {metrics['vocabulary']:,} words)"
        result = f"Test perplexity {receipt['metrics']['test_perplexity']:.2f}"
    learnt = "trained on labels only"
    if ancestors:
        how = "trained on from the weights of" if "start" in receipt["spec"]["inputs"] else "taught by"
        parent = _place(ancestors[-1])
        learnt = f"{how} {parent}" if parent.startswith("generation") else f"{how} the {parent}"
    return (
        f"`{settings['network']['name']}` {does}: {_place(receipt)}, {learnt}, objective `{settings['objective']['name']}`, seed "
        f"{settings['seed']}. {result}."
    )


def _use(role: str, folder: str, data: dict[str, Any], image: bool) -> str:
    metrics = data["metrics"]
    if image:
        channels, height, width = metrics["shape"]
        use = (
            f"`model(images)` takes pixels as they are, from 0 to 255 (uint8 or float), shape (B, {channels}, {height}, {width}), "
            f"normalises them, and gives logits, float32, shape (B, {metrics['classes']}); `model.classes` names the classes."
        )
    else:
        use = (
            "`logits, state = model(tokens)` takes words as numbers, int64, shape (T, B), and gives the logits of each next word, "
            f"float32, shape (T, B, {metrics['vocabulary']}); `model.encode(words)` gives the numbers."
        )
    name = folder.removeprefix("runs/")
    return (
        f'```python\nimport gendistill\nmodel = gendistill.load("{role}")\n```\n\nin a checkout of this repository; elsewhere\n\n'
        f'```python\nmodel = gendistill.load("{role}", repo="PATH OR GIT URL OF THIS REPOSITORY")\n```\n\n{use} '
        f"`{name}` is a name that stays, whatever `results/` shows."
    )


def _data(receipt: dict[str, Any], data: dict[str, Any], image: bool) -> str:
    settings, metrics = data["spec"]["settings"], data["metrics"]
    unit = "images" if image else "tokens"
    counts = {split: metrics[f"{split}_{unit}"] for split in ("train", "validation", "test") if metrics.get(f"{split}_{unit}")}
    rows = [["name", f"[{settings['name']}](../../{data['spec']['kind']}/{data['spec']['id']}/)"]]
    rows += [[f"{split} {unit}", f"{count:,}"] for split, count in counts.items()]
    if image:
        rows += [["classes", str(metrics["classes"])], ["image", "channels {}, height {}, width {}".format(*metrics["shape"])]]
        rows += [["augmentation", _augmentation(receipt["spec"]["settings"]["recipe"], settings)]]
    else:
        rows += [["vocabulary", f"{metrics['vocabulary']:,} words"]]
    rows += [["SHA-256", f"`{output['sha256']}` ({name})"] for name, output in data["outputs"].items()]
    shown = {key: entry for key, entry in settings.items() if key not in ("classes", "content", "superclasses", "vocabulary")}
    return f"{table(['data set', ''], rows)}\n\n{settings_table(shown)}".rstrip()


def _augmentation(recipe: dict[str, Any], dataset: dict[str, Any]) -> str:
    if dataset.get("on_disk"):
        return "random resized crops, mirrored or not"
    pad, mirrored = recipe["pad"], ", mirrored or not" if recipe["flip"] else ""
    views = view_count(pad, recipe["flip"])
    return f"crops of the image padded by {pad} black pixel(s){mirrored}: {views} views of each" if views > 1 else "none"


def _metrics(receipt: dict[str, Any], alike: list[dict[str, Any]], data: dict[str, Any]) -> str:
    seeds = joined([str(other["spec"]["settings"]["seed"]) for other in alike], code=False)
    n = len(alike)
    spread = f"Mean ± standard deviation over n = {n} runs that differ by the seed only (seeds {seeds})."
    about = spread if n > 1 else "n = 1: one run, no spread."
    tested = data["metrics"].get("test_images")
    where = f" Tested on {tested:,} images, after the last epoch." if tested else " After the last epoch."
    note = best_epoch_note(receipt["metrics"], [other["metrics"] for other in alike])
    return "\n\n".join(
        filter(None, [about + where, metrics_table(receipt["metrics"], [other["metrics"] for other in alike]), note])
    )


def _lineage(folder: str, read: Read) -> list[str]:
    """The folders of a network and of its ancestors, the oldest first."""
    chain = [folder]
    while parent := _parent(read(chain[0]), read):
        chain.insert(0, parent)
    return chain


def _parent(receipt: dict[str, Any], read: Read) -> str | None:
    inputs = receipt["spec"]["inputs"]
    for role in ("start", "teacher"):
        if role in inputs:
            return f"runs/{inputs[role]}"
    return f"runs/{read('runs/' + inputs['softlabels'])['spec']['inputs']['teacher']}" if "softlabels" in inputs else None


def _ancestry(lineage: list[str], read: Read) -> str:
    rows, known = [], set()
    for folder in lineage:
        receipt = read(folder)
        spec, dataset = receipt["spec"], _dataset(receipt)
        if dataset not in known:
            known.add(dataset)
            rows.append(["data set", _link(dataset), "", "", "", ""])
        error = receipt["metrics"].get("test_error_pct", receipt["metrics"].get("test_perplexity"))
        labels = f"[soft labels](../../{spec['inputs']['softlabels']}/)" if "softlabels" in spec["inputs"] else ""
        others = {"teacher": "teacher, online", "start": "labels, starting from the weights above"}
        source = labels or next((text for role, text in others.items() if role in spec["inputs"]), "labels")
        settings = spec["settings"]
        place = f"**{_place(receipt)}: this run**" if folder == lineage[-1] else _place(receipt)
        rows.append([place, _link(folder), f"`{settings['objective']['name']}`", source, str(settings["seed"]), f"{error:.2f}"])
    last = "test error %" if "test_error_pct" in receipt["metrics"] else "test perplexity"
    return table(["", "id", "objective", "learnt from", "seed", last], rows)


def _made_with(receipt: dict[str, Any]) -> str:
    made, times = receipt["environment"], receipt["times"]
    versions = [f"{name} {made[name]}" for name in ("python", "torch", "torchvision", "numpy", "safetensors") if name in made]
    changed = ", with uncommitted changes" if made.get("git_changed") else ""
    rows = [
        ["versions", ", ".join(versions)],
        ["machine", f"{made.get('gpu') or made['processor']}, {made.get('threads', 1)} thread(s), {made['platform']}"],
        ["numbers", receipt["metrics"]["number_format"]],
        ["git commit", f"`{made['git_commit']}`{changed}" if made.get("git_commit") else "unknown"],
        ["date", f"{times['started']}, {times['seconds']} s"],
    ]
    return table(["", ""], rows)


def _place(receipt: dict[str, Any]) -> str:
    """Where a network stands in its lineage."""
    settings = receipt["spec"]["settings"]
    if "start" in receipt["spec"]["inputs"]:
        return "fine-tuned network"
    member = settings.get("member", 0)
    if "taken" in settings:
        joint = _place({"spec": {"inputs": {}, "settings": {k: v for k, v in settings.items() if k != "taken"}}})
        return f"`{settings['taken']}` of several networks trained together, {joint}"
    if generation := settings.get("generation", 0):
        return f"generation {generation}"
    return f"network {member} of those from scratch" if member else "patriarch"


def _class_of(settings: dict[str, Any]) -> str:
    return settings["network"]["_target_"].rpartition(".")[2]


def _dataset(receipt: dict[str, Any]) -> str:
    return f"runs/{receipt['spec']['inputs']['dataset']}"


def _datasets(lineage: list[str], read: Read) -> list[str]:
    """The names of all data sets that a network or its ancestors were trained on."""
    return list(dict.fromkeys(read(_dataset(read(folder)))["spec"]["settings"]["name"] for folder in lineage))


def _link(folder: str) -> str:
    kind, name = folder.split("/")[-2:]
    return f"[{name}](../../{kind}/{name}/)"
