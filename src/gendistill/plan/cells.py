"""The cells of published tables: which runs and which of their metrics give a printed value."""

from dataclasses import dataclass
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan import evaluations
from gendistill.plan.nested import main_member, members_of
from gendistill.plan.network import Network, check_medium, check_processes, check_recipe
from gendistill.plan.plan import Study
from gendistill.plan.runs import add_dataset, add_scratch
from gendistill.plan.scale import scaled
from gendistill.plan.settings import load_group, resolve_group
from gendistill.plan.step import Step
from gendistill.plan.validate import check_group

Row = dict[str, str]
COLUMNS = ("row", "network", "dataset", "method", "generation", "metric")


@dataclass(frozen=True)
class Metric:
    """Where our value for a published metric comes from.

    Attributes:
        step: `network` (or what evaluates it: an ensemble, a transfer), `statistics`, `agreement` or `class_structure`.
        key: of the metric in the step's receipt.
        form: `as_is`, `accuracy` (100 minus an error), `millions`, `tenth`, `best_accuracy` (the largest of several steps), or
            `gain` (by how much the second step's error is less than the first's).
    """

    step: str
    key: str
    form: str = "as_is"


METRICS = {
    "params_millions": Metric("network", "parameters", "millions"),
    "test_error_pct": Metric("network", "test_error_pct"),
    "test_error_pct_last_epoch": Metric("network", "test_error_pct"),
    "test_error_pct_best_epoch": Metric("network", "best_epoch_test_error_pct"),
    "test_error_pct_mean": Metric("network", "test_error_pct"),
    "test_error_pct_median": Metric("network", "test_error_pct"),
    "top1_error_pct": Metric("network", "test_error_pct"),
    "top5_error_pct": Metric("network", "test_top5_error_pct"),
    "test_accuracy_pct": Metric("network", "test_error_pct", "accuracy"),
    "top1_accuracy_pct": Metric("network", "test_error_pct", "accuracy"),
    "top5_accuracy_pct": Metric("network", "test_top5_error_pct", "accuracy"),
    "top1_accuracy_gain_points": Metric("network", "test_error_pct", "gain"),
    "train_accuracy_pct": Metric("network", "train_error_pct", "accuracy"),
    "best_test_accuracy_pct": Metric("network", "test_error_pct", "best_accuracy"),
    "perplexity_val": Metric("network", "validation_perplexity"),
    "perplexity_test": Metric("network", "test_perplexity"),
    **{f"confidence_top{k}_pct": Metric("statistics", f"confidence_top{k}_pct") for k in range(1, 5)},
    "kd_error_train_pct": Metric("agreement", "kd_error_train_pct"),
    "kd_error_test_pct": Metric("agreement", "kd_error_test_pct"),
    # The printed values can only be the cross-entropy as EKD's loss weighs it, by 0.1.
    "ce_loss_train": Metric("agreement", "ce_loss_train", "tenth"),
    # The printed values are too small to hold the teacher's entropy, as EKD's formula of the loss does.
    "kd_loss_train": Metric("agreement", "kd_divergence_train"),
    "kd_loss_test": Metric("agreement", "kd_divergence_test"),
    **{
        name: Metric("class_structure", name)
        for name in (
            "dist_c_train",
            "dist_s_train",
            "dist_c_test",
            "dist_s_test",
            "second_class_in_superclass_train_pct",
            "second_class_in_superclass_test_pct",
        )
    },
}
# Metrics that were chosen on the test images, an epoch or a generation: they are too good, and marked so.
CHOSEN_ON_TEST = ("test_error_pct_best_epoch", "best_test_accuracy_pct")
# What a cell can be read from besides a network, and the metrics that each of them gives.
IMAGE_METRICS = {"parameters", "test_error_pct", "best_epoch_test_error_pct", "test_top5_error_pct", "train_error_pct"}
GIVES = {
    "network": IMAGE_METRICS,
    "member": {"parameters", "test_error_pct", "test_top5_error_pct"},
    "text": {"parameters", "validation_perplexity", "test_perplexity"},
    "best_of": {"test_error_pct"},
    "ensemble": {"test_error_pct", "test_top5_error_pct"},
    "scratch": {"test_error_pct", "test_top5_error_pct"},
    "transfer": {"test_error_pct", "train_error_pct"},
    "fine_tune": IMAGE_METRICS,
}


def slug(text: str) -> str:
    """A printed name as names of lineages are written: `Match-DenseNet-14-0.5-1` is `match_densenet_14_05_1`."""
    return "".join(c for c in text.lower().replace("-", "_").replace(" ", "_") if c.isalnum() or c == "_")


def find_cell(
    study: Study,
    source: dict[str, Any],
    row: Row,
    lineages: dict[str, list[Network]],
    grown: dict[tuple[str, int], list[Step]],
    seed: int,
) -> tuple[list[Step], str]:
    """The steps that a cell is read from, for one seed, and the key of the metric in their receipts; adds those that evaluate.

    Args:
        study: the table's.
        source: what the cell says of where it comes from.
        row: the printed row.
        lineages: the table's, by name.
        grown: their networks, by name and seed.
        seed: the seed.

    Raises:
        SettingError: the lineages don't have it, or it does not have the metric.
    """
    if row["metric"] not in METRICS:
        raise SettingError(f"table.rows: metric = {row['metric']}: must be one of {', '.join(METRICS)}. Set in {study.where}.")
    metric = METRICS[row["metric"]]
    names = {column: slug(row[column]) for column in COLUMNS}
    key, before = (_filled(str(source.get(name, "")), names, study) for name in ("lineage", "over"))
    for name, given in (("lineage", key), ("over", before)):
        if name in source and (given, seed) not in grown:
            raise SettingError(
                f"table.cells: {name} = {given}: there is no such lineage. Allowed: {', '.join(lineages)}. Set in {study.where}."
            )
    networks = grown[key, seed]
    kind = _kind_of(source, row, metric, lineages[key][0], study)
    if kind == "scratch":
        trained = add_scratch(study, f"{key}-scratch", lineages[key][0], seed, source["scratch"])
        label = f"net0to{source['scratch'] - 1}"
        return [evaluations.add_ensemble(study, f"{key}-scratch", label, trained, seed)], metric.key
    if kind in ("ensemble", "best_of"):
        first, last = (_generation(networks, end, key, study) for end in _filled(source[kind], names, study).split(".."))
        if first > last:
            raise SettingError(f"table.cells: {kind} = {source[kind]}: {first} is after {last}. Set in {study.where}.")
        members = networks[first : last + 1]
        if kind == "best_of":
            return members, metric.key
        return [evaluations.add_ensemble(study, key, f"gen{first}to{last}", members, seed)], metric.key
    generation = _generation(networks, source.get("generation", row["generation"] or 0), key, study)
    own, role = lineages[key][generation], f"{key}-gen{generation}-seed{seed}"
    if kind in ("transfer", "fine_tune"):
        return [_transferred(study, source, role, own, networks[generation], seed)], metric.key
    if kind == "member":
        read = _member(study, own, role, source["member"], networks[generation])
    else:
        read = _evaluated(study, metric, role, own, generation, networks)
        if metric.key == "best_epoch_test_error_pct" and not read.settings.get("main", True):
            raise SettingError(
                f"table.cells: {row['metric']}: the best epoch is that of the network that answers in the training, and "
                f"network.takes = {own.network['takes']} is another. Set in {study.where}."
            )
    return [grown[before, seed][0], read] if metric.form == "gain" else [read], metric.key


def _member(study: Study, own: Network, role: str, name: str, main: Step) -> Step:
    """One of the networks that were trained together, one of which, `main`, goes on in the lineage as `role`."""
    names = members_of(own.network)
    if name not in names:
        known = f"Allowed: {', '.join(names)}" if names else f"{own.network['name']} is a single network"
        raise SettingError(f"table.cells: member = {name}: there is no such member of {role}. {known}. Set in {study.where}.")
    if name == main_member(own.network, study.where):
        return main
    start, _, seed = role.rpartition("-")
    return study.plan.steps[study.plan.roles[f"{study.name}-{start}-{name}-{seed}"]]


def _transferred(study: Study, source: dict[str, Any], role: str, own: Network, network: Step, seed: int) -> Step:
    """The network on another data set: its features for a linear SVM, or itself trained on."""
    name = source.get("transfer") or source["fine_tune"]
    dataset = load_group("dataset", name, study.where)
    check_medium("network", own.network, dataset, study.where)
    target = add_dataset(study, scaled("dataset", dataset, study.settings["scale"], "transfer"))
    if "transfer" in source:
        return evaluations.add_transfer(study, role, network, target)
    name = source["recipe"] if isinstance(source["recipe"], str) else source["recipe"]["name"]
    recipe = resolve_group("recipe", load_group("recipe", name, study.where), source["recipe"], study.where)
    check_group("recipe", recipe, study.where)
    recipe = scaled("recipe", recipe, study.settings["scale"])
    check_recipe(recipe, target.settings, study.where)
    check_processes(recipe, study.settings["runtime"]["processes"], study.where)
    return evaluations.add_fine_tune(study, role, network, target, recipe, seed)


def _evaluated(study: Study, metric: Metric, role: str, own: Network, generation: int, networks: list[Step]) -> Step:
    """The network itself, or the step that measures it."""
    network = networks[generation]
    if metric.step == "statistics":
        # The students': a patriarch may have learnt from other data of the same classes.
        data = study.plan.steps[networks[-1].inputs["dataset"]]
        return evaluations.add_statistics(study, role, data, network)
    data = study.plan.steps[network.inputs["dataset"]]
    if metric.step == "class_structure":
        return evaluations.add_class_structure(study, role, own.dataset, data, network)
    if metric.step == "agreement":
        if generation == 0:
            raise SettingError(f"table.cells: {metric.key} of generation 0 ({role}), which has no teacher. Set in {study.where}.")
        temperature = own.objective.get("temperature", 1)
        return evaluations.add_agreement(study, role, data, network, networks[own.teacher], temperature)
    return network


def _kind_of(source: dict[str, Any], row: Row, metric: Metric, patriarch: Network, study: Study) -> str:
    """What a cell is read from: `network`, or the one key of `source` that names another; checked to have the metric."""
    named = [kind for kind in ("ensemble", "best_of", "scratch", "transfer", "fine_tune", "member") if kind in source]
    kind = named[0] if named else "network"
    if len(named) > 1 or ("generation" in source and kind in ("ensemble", "best_of", "scratch")):
        raise SettingError(f"table.cells: {source}: a cell is one thing, not several. Set in {study.where}.")
    dataset, text = patriarch.dataset, patriarch.dataset.get("medium") == "text"
    if metric.step != "network":
        possible = kind == "network" and not text and (metric.step == "agreement" or not dataset.get("on_disk"))
        if metric.step == "class_structure" and not dataset.get("superclasses") and "path" not in dataset:
            raise SettingError(
                f"table.cells: {row['metric']} compares classes within superclasses, and dataset {dataset['name']} has none. Set "
                f"dataset.superclasses to a file, such as config/superclasses/cifar100.yaml, in {study.where}."
            )
    else:
        given = GIVES["text"] if text and kind == "network" else set() if text else GIVES[kind]
        possible = metric.key in given and (metric.form == "best_accuracy") == (kind == "best_of")
        possible &= (metric.form == "gain") == ("over" in source) and (metric.form != "gain" or kind in ("network", "member"))
    if not possible:
        what = "text" if text else "images on disk" if dataset.get("on_disk") else "images"
        raise SettingError(f"table.cells: {row['metric']} cannot be had from {source} of {what}. Set in {study.where}.")
    return kind


def _filled(text: str, names: dict[str, str], study: Study) -> str:
    try:
        return text.format(**names)
    except (KeyError, IndexError, ValueError) as error:
        raise SettingError(
            f"table.cells: {text}: only {', '.join(f'{{{name}}}' for name in names)} may stand in braces. Set in {study.where}."
        ) from error


def _generation(networks: list[Step], number: Any, key: str, study: Study) -> int:
    """The number of a generation that the lineage has."""
    if not str(number).isdecimal() or int(number) >= len(networks):
        raise SettingError(
            f"table.cells: generation = {number}: lineage {key} has generations 0 to {len(networks) - 1}. Set in {study.where}."
        )
    return int(number)
