"""`gendistill.load`: a trained network by its name, in a checkout, fed with pixels or words as they are."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import gendistill
from gendistill.errors import UserError
from gendistill.language.trained import Description, save_language_model
from gendistill.loading import LanguageModel
from gendistill.networks.trained import logits_of
from gendistill.plan import code
from gendistill.receipt import write_receipt
from tests import tiny

DATASET, NETWORK, TEXT = "dataset/tiny-0a", "patriarch/tiny-resnet8-seed0-1b", "language_patriarch/text-lstm-seed0-2c"
ROLE = "demo-ban-gen0-seed0"
LSTM = {
    "name": "lstm",
    "_target_": "gendistill.networks.lstm.LSTM",
    "width": 5,
    "layers": 2,
    "dropout": 0.5,
    "tied": True,
    "init_range": 0.5,
}
WORDS = ["the", "<eos>", "cat", "<unk>"]


def finish(root, name, outputs, **spec):
    kind, _, id = name.partition("/")
    write_receipt(root / "runs" / name, {"kind": kind, "id": id, "inputs": {}, **spec}, outputs, {}, {})


def make_checkout(root):
    """A data set, a network and a language model, finished, with their index."""
    tiny.save_images(tiny.tiny_images(), root / "runs" / DATASET)
    finish(root, DATASET, ("dataset.safetensors",))
    with tiny.one_thread():
        tiny.train(root / "runs" / NETWORK, root / "runs" / DATASET)
    finish(root, NETWORK, ("model.safetensors", "logits.safetensors"), inputs={"dataset": DATASET})
    torch.manual_seed(0)
    description = Description(LSTM, WORDS, "float32")
    save_language_model(description.build(), description, root / "runs" / TEXT)
    finish(root, TEXT, ("model.safetensors",))
    (root / "results").mkdir()
    index = {ROLE: f"runs/{NETWORK}", "demo-dataset-tiny": f"runs/{DATASET}", "demo-text-gen0-seed0": f"runs/{TEXT}"}
    (root / "results/index.json").write_text(json.dumps(index))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("made") / "checkout")


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of the small checkout, as the current directory."""
    shutil.copytree(made, tmp_path / "checkout")
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


def pixels():
    return torch.from_numpy(tiny.tiny_images().images["test"])


@pytest.mark.parametrize("name", [ROLE, NETWORK, f"runs/{NETWORK}", f"./runs/{NETWORK}/", NETWORK.partition("/")[2]])
def test_a_network_has_many_names_and_gives_the_logits_that_its_run_stored(here, name):
    stored = load_file(here / "runs" / NETWORK / "logits.safetensors")["logits"]
    logits = gendistill.load(name)(pixels())
    assert (logits.dtype, logits.shape) == (torch.float32, (12, 3))
    np.testing.assert_allclose(logits.numpy(), stored, rtol=1e-5, atol=1e-5)


def test_a_folder_that_lies_anywhere_is_enough(here, tmp_path, monkeypatch):
    expected = gendistill.load(ROLE)(pixels())
    (tmp_path / "elsewhere").mkdir()
    shutil.move(here / "runs" / NETWORK, tmp_path / "elsewhere" / "taken")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("taken", Path("taken"), tmp_path / "elsewhere" / "taken"):
        model = gendistill.load(name)
        assert torch.equal(model(pixels()), expected)
        # The data set that knows the names is not here.
        assert model.classes == ["0", "1", "2"]


def test_pixels_are_normalised_as_in_training_whatever_their_type(here):
    model = gendistill.load(ROLE)
    train = tiny.tiny_images().images["train"].astype(np.float64)
    normal = (pixels().double().numpy() - train.mean()) / train.std()
    expected = model.network(torch.from_numpy(normal).float())
    for given in (pixels(), pixels().float(), pixels().double(), pixels().long()):
        np.testing.assert_allclose(model(given).numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_logits_are_those_that_the_steps_compute_bit_for_bit(here, precision):
    model = gendistill.load(ROLE)
    model.description = replace(model.description, precision=precision)
    assert torch.equal(model(pixels()), logits_of(model.network, model.description, pixels()))


def test_it_is_ready_to_use_and_says_what_it_is(here):
    model = gendistill.load(ROLE)
    modules = [model, *model.modules()]
    assert isinstance(model, torch.nn.Module) and not any(module.training for module in modules)
    parameters = list(model.parameters())
    assert parameters and not any(p.requires_grad or p.device.type != "cpu" for p in parameters)
    assert model.classes == ["a", "b", "c"]
    assert model.description.shape == [1, 8, 8]
    assert f"{model.receipt['spec']['kind']}/{model.receipt['spec']['id']}" == NETWORK


def test_gradients_reach_the_pixels(here):
    given = pixels().float().requires_grad_()
    gendistill.load(ROLE)(given).sum().backward()
    assert given.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 8), (8, 8)])
def test_images_of_another_kind_are_refused(here, shape):
    with pytest.raises(UserError, match=r"\(number of images, 1, height, width\).*1 channel\(s\) of 8x8"):
        gendistill.load(ROLE)(torch.zeros(shape, dtype=torch.uint8))


def test_pixels_from_0_to_1_are_warned_of(here, recwarn):
    model = gendistill.load(ROLE)
    model(pixels())
    model(pixels().float())
    model(torch.zeros(1, 1, 8, 8))
    assert not recwarn.list
    with pytest.warns(UserWarning, match="255"):
        model(pixels().float() / 255)


def test_a_language_model_reads_words_and_goes_on_where_it_was(here):
    model = gendistill.load("demo-text-gen0-seed0")
    tokens = model.encode(["the", "cat", "<eos>", "dog", "the"])
    assert tokens.tolist() == [[0], [2], [1], [3], [0]]
    assert model.vocabulary == WORDS and not model.training
    logits, _ = model(tokens)
    assert (logits.dtype, logits.shape) == (torch.float32, (5, 1, 4))
    first, state = model(tokens[:2])
    second, _ = model(tokens[2:], state)
    np.testing.assert_allclose(torch.cat([first, second]).numpy(), logits.numpy(), rtol=1e-5, atol=1e-6)
    # Zeros at the start, and the weights that were drawn and stored.
    torch.manual_seed(0)
    network = Description(LSTM, WORDS, "float32").build().eval()
    zeros = torch.zeros(2, 1, 5)
    np.testing.assert_allclose(logits.numpy(), network(tokens, (zeros, zeros))[0].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_word_that_no_number_stands_for_is_refused():
    description = Description(LSTM, ["the", "cat"], "float32")
    model = LanguageModel(description.build(), description, {})
    with pytest.raises(UserError, match=r"no <unk>: dog"):
        model.encode(["the", "dog"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("demo-ban-gen0-seed1", ROLE),
        ("patriarch/tiny-resnet8-seed0-1c", NETWORK),
        ("runs/patriarch/tiny-resnet8-seed0-1c", NETWORK),
        ("tiny-resnet8-seed0-1", NETWORK.partition("/")[2]),
    ],
)
def test_a_name_that_is_nearly_right_is_told_the_right_one(here, name, meant):
    with pytest.raises(
        UserError, match=f"Did you mean .*{meant}.*readable name of results/index.json, KIND/ID, an id, or a folder"
    ):
        gendistill.load(name)


def test_an_unknown_name_is_told_what_there_is(here):
    with pytest.raises(UserError, match=f"2 networks, such as {ROLE}"):
        gendistill.load("something-else")
    shutil.rmtree("results")
    with pytest.raises(UserError, match=r"There is no results/index.json.*repo="):
        gendistill.load(ROLE)


def test_a_step_without_a_network_is_refused(here):
    for name in ("demo-dataset-tiny", DATASET, DATASET.partition("/")[2]):
        with pytest.raises(UserError, match="holds no network: it is the result of the step dataset"):
            gendistill.load(name)


def test_a_revision_needs_a_repository(here):
    with pytest.raises(UserError, match=r"rev = v1.*repo"):
        gendistill.load(ROLE, rev="v1")


def test_weights_that_are_shared_and_not_here_are_restored(here, monkeypatch):
    model = Path("runs", NETWORK, "model.safetensors")
    asked, content = [], model.read_bytes()

    def restore(path):
        asked.append(path)
        path.write_bytes(content)

    monkeypatch.setitem(sys.modules, "gendistill.sharing.restore", SimpleNamespace(restore=restore))
    model.unlink()
    with pytest.raises(UserError, match="is missing"):
        gendistill.load(ROLE)
    Path(f"{model}.dvc").touch()
    gendistill.load(ROLE)
    gendistill.load(ROLE)
    assert asked == [model]


def test_damaged_weights_are_never_loaded(here):
    model = Path("runs", NETWORK, "model.safetensors")
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(UserError, match="is corrupt") as error:
        gendistill.load(ROLE)
    assert "commit" not in str(error.value)


def test_weights_of_other_code_name_the_commit_that_made_them(here):
    receipt = json.loads(Path("runs", NETWORK, "receipt.json").read_text())
    receipt["outputs"]["model.safetensors"] = json.loads(Path("runs", TEXT, "receipt.json").read_text())["outputs"][
        "model.safetensors"
    ]
    receipt["environment"]["git_commit"] = "abc123"
    Path("runs", NETWORK, "receipt.json").write_text(json.dumps(receipt))
    shutil.copy(f"runs/{TEXT}/model.safetensors", f"runs/{NETWORK}/model.safetensors")
    with pytest.raises(UserError, match=r"no network of this version of gendistill.*made at git commit abc123"):
        gendistill.load(ROLE)


def test_importing_the_package_imports_no_torch():
    program = "import sys, gendistill; assert callable(gendistill.load); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "gendistill.loading"} & set(done.stdout.split())


def test_loading_is_part_of_no_code_hash(tmp_path, monkeypatch):
    source = tmp_path / "src"
    shutil.copytree(Path(gendistill.__file__).parent, source / "gendistill", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "SOURCE", source)
    modules = ("gendistill.training.run", "gendistill.networks.resnet", "gendistill.errors", "gendistill.loading")
    before, after = [], []
    for hashes in (before, after):
        code.forget()
        hashes += [code.code_hash(module) for module in modules]
        with open(source / "gendistill/loading.py", "a") as file:
            file.write("\nEDITED = True\n")
    code.forget()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, True, False]
