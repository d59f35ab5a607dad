"""Model cards: what they say follows from receipts alone, and each line of them is right."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

import gendistill
from gendistill.errors import UserError
from gendistill.files import read_receipt
from gendistill.results import card
from gendistill.results.card import cards
from gendistill.results.card_text import TERMS
from tests.conftest import ROOT

RESNET = {"name": "resnet8", "_target_": "gendistill.networks.resnet.ResNet", "depth": 8, "width": 16, "reductions": [1, 2, 4]}
LSTM = {"name": "lstm_small", "_target_": "gendistill.networks.lstm.LSTM", "medium": "text", "layers": 1}
RECIPE = {"name": "digits", "epochs": 15, "learning_rate": 0.1, "milestones": [0.3, 0.6], "pad": 4, "flip": True}
LABELS = {"name": "cross_entropy", "_target_": "gendistill.objectives.cross_entropy.loss", "trains": "patriarch", "needs": []}
TEACHER = {"name": "kd", "_target_": "gendistill.objectives.kd.loss", "trains": "student", "temperature": 4, "lambda": 0.6}
ENVIRONMENT = {
    "python": "3.11.7",
    "torch": "2.13.0",
    "platform": "Linux",
    "processor": "EPYC",
    "threads": 2,
    "git_commit": "4547788a",
    "git_changed": False,
}
IMAGES = {"train_images": 50000, "test_images": 10000, "classes": 10, "shape": [3, 32, 32]}
TOKENS = {"train_tokens": 70000, "validation_tokens": 3600, "test_tokens": 4700, "vocabulary": 2000}


def model_card(role, index):
    """The card of the network that a role names."""
    return cards(index)[f"{index[role]}/README.md"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Three seeds of a patriarch and two generations, the second taught online; what is fine-tuned; a text. No large file."""
    monkeypatch.chdir(tmp_path)
    for name in ("LICENSE", "CITATION.cff"):
        Path(name).touch()
    write("dataset/cifar10-aa", {"name": "cifar10", "_target_": "x.y", "image_size": 32}, {}, IMAGES, ["dataset.safetensors"])
    write("dataset/mine-bb", {"name": "mine", "_target_": "x.y"}, {}, IMAGES, ["dataset.safetensors"])
    write("text/pydoc-cc", {"name": "pydoc", "_target_": "x.y", "medium": "text"}, {}, TOKENS, ["dataset.safetensors"])
    index = {"demo-dataset-cifar10": "runs/dataset/cifar10-aa"}
    for seed, errors in ((0, (5.0, 4.0, 3.0)), (1, (6.0, 4.4, 3.5)), (2, (7.6, 4.2, 3.1))):
        patriarch, first, second = f"patriarch/p-seed{seed}", f"generation/g1-seed{seed}", f"generation/g2-seed{seed}"
        labels = f"softlabels/p-seed{seed}"
        network(patriarch, LABELS, {"dataset": "dataset/cifar10-aa"}, seed, errors[0], member=0)
        write(labels, {}, {"dataset": "dataset/cifar10-aa", "teacher": patriarch}, {}, ["softlabels.npy"])
        network(first, TEACHER, {"dataset": "dataset/cifar10-aa", "softlabels": labels}, seed, errors[1], generation=1)
        network(second, TEACHER, {"dataset": "dataset/cifar10-aa", "teacher": first}, seed, errors[2], generation=2)
        for k, name in enumerate((patriarch, first, second)):
            index[f"demo-ban-gen{k}-seed{seed}"] = f"runs/{name}"
        index[f"demo-scratch-net0-seed{seed}"] = f"runs/{patriarch}"
        index[f"demo-ban-softlabels0-seed{seed}"] = f"runs/{labels}"
    for seed, error in ((0, 9.0), (1, 9.5)):
        network(
            f"fine_tune/f-seed{seed}", LABELS, {"dataset": "dataset/mine-bb", "start": f"generation/g1-seed{seed}"}, seed, error
        )
        index[f"demo-ban-gen1-seed{seed}-fine_tune-mine"] = f"runs/fine_tune/f-seed{seed}"
    metrics = {"test_perplexity": 80.5, "best_epoch": 2, "best_epoch_test_perplexity": 79.25}
    network("language_patriarch/l-seed0", LABELS, {"dataset": "text/pydoc-cc"}, 0, None, LSTM, metrics)
    index["words-gen0-seed0"] = "runs/language_patriarch/l-seed0"
    return index


def write(name, settings, inputs, metrics, outputs):
    kind, _, id = name.partition("/")
    spec = {"kind": kind, "id": id, "settings": settings, "inputs": inputs, "code": {}}
    receipt = {
        "spec": spec,
        "metrics": metrics,
        "outputs": {file: {"sha256": "ab" * 32, "bytes": 1} for file in outputs},
        "times": {"started": "2026-11-21T07:11:45+00:00", "seconds": 6.9},
        "environment": ENVIRONMENT,
    }
    path = Path("runs", name, "receipt.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(receipt))


def network(name, objective, inputs, seed, error, built=RESNET, metrics=None, **place):
    settings = {"network": built, "objective": objective, "recipe": RECIPE, "seed": seed, **place}
    found = metrics or {"test_error_pct": error, "test_loss": error / 25, "train_error_pct": 1.0}
    if "test_error_pct" in found:
        found = {"best_epoch": 15, "best_epoch_test_error_pct": found["test_error_pct"], "best_epoch_chosen_on": "test", **found}
    write(name, settings, inputs, {**found, "parameters": 75002, "number_format": "bfloat16"}, ["model.safetensors"])


def change(name, **metrics):
    path = Path("runs", name, "receipt.json")
    receipt = json.loads(path.read_text())
    receipt["metrics"] |= metrics
    path.write_text(json.dumps(receipt))


def rows(text, heading):
    """The rows of the tables below a heading, each as its cells."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def section(text, heading):
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_each_network_of_the_index_has_a_card_and_nothing_else_has(project):
    networks = {folder for folder in project.values() if not folder.startswith(("runs/dataset", "runs/softlabels"))}
    assert cards(project).keys() == {f"{folder}/README.md" for folder in networks}
    assert len(networks) == 12


def test_the_first_name_is_the_title_and_the_others_are_named(project):
    texts = cards(project)
    assert texts["runs/patriarch/p-seed0/README.md"] == model_card("demo-scratch-net0-seed0", project)
    text = model_card("demo-ban-gen0-seed0", project)
    assert re.findall("^# (.*)$", text, re.MULTILINE) == ["demo-ban-gen0-seed0"]
    assert "Other names of the same network: `demo-scratch-net0-seed0`." in text
    assert "Other names" not in model_card("demo-ban-gen1-seed0", project)


def test_metrics_are_those_of_the_run_and_of_all_seeds(project):
    # By hand: 4.0, 4.4, 4.2 have mean 4.2 and deviations -0.2, 0.2, 0: sqrt(0.08 / 2) = 0.2.
    text = model_card("demo-ban-gen1-seed1", project)
    found = rows(text, "Metrics")
    assert found[0] == ["", "this run", "mean ± sd", "n"]
    assert found[1] == ["test error, %", "4.40", "4.20 ± 0.20", "3"]
    assert found[2] == ["test loss, nats", "0.1760", "0.1680 ± 0.0080", "3"]
    assert "n = 3 runs that differ by the seed only (seeds 0, 1, 2)" in text
    assert "10,000 images, after the last epoch" in text
    # 9.0 and 9.5 have mean 9.25 and deviations of 0.25: sqrt(0.125 / 1) = 0.35.
    text = model_card("demo-ban-gen1-seed0-fine_tune-mine", project)
    assert rows(text, "Metrics")[1] == ["test error, %", "9.00", "9.25 ± 0.35", "2"]


def test_one_run_has_no_spread(project):
    text = model_card("words-gen0-seed0", project)
    assert "one run, no spread" in text and "±" not in text
    assert rows(text, "Metrics")[1] == ["test perplexity", "80.50"]
    alone = {"demo-ban-gen1-seed1": project["demo-ban-gen1-seed1"]}
    assert "one run, no spread" in model_card("demo-ban-gen1-seed1", alone)


def test_best_epoch_numbers_are_shown_where_they_say_more_and_marked_by_what_they_were_chosen_on(project):
    def note():
        text = section(model_card("demo-ban-gen1-seed1", project), "Metrics")
        return text[text.index("† Of") :] if "†" in text else ""

    assert note() == ""
    change("generation/g1-seed1", best_epoch=7, best_epoch_test_error_pct=4.1)
    assert "here 7" in note() and "on the test images, so it is biased downwards" in note()
    assert ["best-epoch test error, % †", "4.10", "4.10 ± 0.10", "3"] in rows(model_card("demo-ban-gen1-seed1", project), "Metrics")
    change("generation/g1-seed1", best_epoch_chosen_on="validation")
    assert "on the validation images." in note() and "biased" not in note()
    text = model_card("words-gen0-seed0", project)
    assert "| best-epoch test perplexity † | 79.25 |" in text and "here 2), chosen afterwards on the validation text." in text


def test_ancestry_goes_from_the_data_to_the_run(project):
    found = rows(model_card("demo-ban-gen2-seed1", project), "Ancestry")[1:]
    places = [row[0] for row in found]
    assert places == ["data set", "patriarch", "generation 1", "**generation 2: this run**"]
    names = [re.match(r"\[(.*?)\]", row[1])[1] for row in found]
    assert names == ["cifar10-aa", "p-seed1", "g1-seed1", "g2-seed1"]
    assert [row[2:] for row in found[1:]] == [
        ["`cross_entropy`", "labels", "1", "6.00"],
        ["`kd`", "[soft labels](../../softlabels/p-seed1/)", "1", "4.40"],
        ["`kd`", "teacher, online", "1", "3.50"],
    ]


def test_ancestry_of_a_fine_tuned_network_names_both_data_sets(project):
    text = model_card("demo-ban-gen1-seed0-fine_tune-mine", project)
    found = rows(text, "Ancestry")[1:]
    assert [row[0] for row in found] == [
        "data set",
        "patriarch",
        "generation 1",
        "data set",
        "**fine-tuned network: this run**",
    ]
    assert "[mine-bb]" in found[3][1] and "starting from the weights above" in found[4][3]
    assert "trained on from the weights of generation 1" in text
    assert f"- `cifar10`: {TERMS['cifar10']}\n- `mine`: see its source." in text
    assert yaml.safe_load(text.split("---\n")[1])["datasets"] == ["cifar10", "mine"]


def test_all_links_lead_somewhere(project):
    # In git there are receipts; the licence is at the root.
    for path, text in cards(project).items():
        links = re.findall(r"\]\((\.\.[^)]*)\)", text)
        assert len(links) >= 4
        for link in links:
            assert Path(path).parent.joinpath(link).exists(), (path, link)


def test_all_settings_are_shown(project):
    text = model_card("demo-ban-gen1-seed0", project)
    assert rows(text, "Network")[1:] == [["depth", "8"], ["width", "16"]]
    assert "`resnet8` (ResNet), 75,002 parameters" in section(text, "Network")
    assert rows(text, "Objective")[1:] == [["temperature", "4"], ["lambda", "0.6"]]
    assert rows(text, "Recipe")[1:] == [[k, json.dumps(v)] for k, v in RECIPE.items() if k != "name"]
    assert not rows(model_card("demo-ban-gen0-seed0", project), "Objective")


def test_data_are_described(project):
    found = rows(model_card("demo-ban-gen0-seed0", project), "Data")
    for row in (
        ["train images", "50,000"],
        ["test images", "10,000"],
        ["classes", "10"],
        ["image", "channels 3, height 32, width 32"],
        # 9 x 9 places of the crop, mirrored or not.
        ["augmentation", "crops of the image padded by 4 black pixel(s), mirrored or not: 162 views of each"],
        ["SHA-256", f"`{'ab' * 32}` (dataset.safetensors)"],
        ["image_size", "32"],
    ):
        assert row in found
    text = rows(model_card("words-gen0-seed0", project), "Data")
    assert ["test tokens", "4,700"] in text and ["vocabulary", "2,000 words"] in text


@pytest.mark.parametrize(
    ("recipe", "dataset", "expected"),
    [
        ({"pad": 0, "flip": False}, {}, "none"),
        ({"pad": 0, "flip": True}, {"on_disk": True}, "random resized crops, mirrored or not"),
        ({"pad": 2, "flip": False}, {}, "crops of the image padded by 2 black pixel(s): 25 views of each"),
    ],
)
def test_augmentation_in_words(recipe, dataset, expected):
    assert card._augmentation(recipe, dataset) == expected


def test_the_example_loads_this_network(project, monkeypatch):
    asked = []
    monkeypatch.setattr(gendistill, "load", lambda *names, **options: asked.append((*names, *options)))
    text = model_card("demo-ban-gen1-seed0", project)
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples[0].splitlines()) == 2
    exec("\n".join(examples))
    assert asked == [("demo-ban-gen1-seed0",), ("demo-ban-gen1-seed0", "repo")]
    assert "shape (B, 3, 32, 32)" in text and "shape (B, 10)" in text and "from 0 to 255" in text
    assert "shape (T, B, 2000)" in model_card("words-gen0-seed0", project)


def test_what_hubs_read_is_yaml(project):
    found = yaml.safe_load(model_card("demo-ban-gen1-seed0", project).split("---\n")[1])
    assert found["library_name"] == "gendistill" and found["license"] == "mit" and found["datasets"] == ["cifar10"]
    assert found["tags"] == ["knowledge-distillation", "resnet8", "kd"]
    assert found["pipeline_tag"] == "image-classification"


def test_who_made_it_when_and_with_what(project):
    text = section(model_card("demo-ban-gen1-seed0", project), "Made with")
    for words in ("python 3.11.7, torch 2.13.0", "EPYC, 2 thread(s)", "bfloat16", "| `4547788a` |", "2026-11-21T07:11:45+00:00"):
        assert words in text


def test_it_is_the_same_each_time_and_each_receipt_is_read_once(project, monkeypatch):
    reads = Counter()

    def counting(folder):
        reads[str(folder)] += 1
        return read_receipt(folder)

    first = cards(project)
    monkeypatch.setattr(card, "read_receipt", counting)
    assert cards(dict(reversed(project.items()))) == first
    assert set(reads.values()) == {1} and len(reads) == 18


def test_a_missing_receipt_is_named(project):
    Path("runs/softlabels/p-seed0/receipt.json").unlink()
    with pytest.raises(UserError, match=r"runs/softlabels/p-seed0/receipt.json is missing"):
        cards(project)


def test_cards_need_no_torch(project):
    program = """
import json, sys
from gendistill.results.card import cards
print(len(cards(json.loads(sys.argv[1]))), 'torch' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program, json.dumps(project)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["12", "False"]


def test_terms_are_those_of_data_sets_that_there_are():
    assert {path.stem for path in (ROOT / "config/dataset").glob("*.yaml")} >= TERMS.keys()
