"""Texts, read word by word, and the settings of language models."""

import hashlib
import json
from collections import Counter
from pydoc_data.topics import topics

import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator

from gendistill.errors import UserError
from gendistill.language import pydoc
from gendistill.language.corpus import load_corpus
from gendistill.language.prepare import prepare_text
from gendistill.language.ptb import load_ptb
from gendistill.language.pydoc import load_pydoc
from gendistill.runtime import Runtime
from tests.conftest import ROOT

TEXT = {
    "ptb.train.txt": " the cat <unk> N \n the dog saw the cat \n",
    "ptb.valid.txt": " dog saw N \n",
    "ptb.test.txt": " <unk> the \n dog \n",
}
WORDS = ["the", "<eos>", "cat", "<unk>", "N", "dog", "saw"]
PTB = {"name": "ptb", "_target_": "gendistill.language.ptb.load_ptb", "medium": "text", "vocabulary": 7, "content": "0123"}


@pytest.fixture
def folder(tmp_path):
    for name, text in TEXT.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_ptb_is_read_word_by_word_with_an_end_at_each_line(folder):
    corpus = load_ptb(str(folder), vocabulary=7)
    # By frequency (the 3, <eos> 2, cat 2), then by alphabet.
    assert corpus.vocabulary == ["the", "<eos>", "cat", "<unk>", "N", "dog", "saw"]
    words = {split: [corpus.vocabulary[i] for i in tokens] for split, tokens in corpus.tokens.items()}
    assert words["train"] == ["the", "cat", "<unk>", "N", "<eos>", "the", "dog", "saw", "the", "cat", "<eos>"]
    assert words["validation"] == ["dog", "saw", "N", "<eos>"]
    assert words["test"] == ["<unk>", "the", "<eos>", "dog", "<eos>"]
    assert {tokens.dtype for tokens in corpus.tokens.values()} == {np.dtype(np.int32)}


def test_the_text_step_writes_what_it_read_and_counts_it(folder):
    metrics = prepare_text(PTB, {}, folder / "step", Runtime("cpu", source={"path": str(folder)}))
    assert metrics == {
        "train_tokens": 11,
        "validation_tokens": 4,
        "test_tokens": 5,
        "train_unknown_pct": pytest.approx(100 / 11),
        "validation_unknown_pct": 0,
        "test_unknown_pct": 20,
        "vocabulary": 7,
        "vocabulary_sha256": hashlib.sha256(b"the\n<eos>\ncat\n<unk>\nN\ndog\nsaw").hexdigest()[:16],
    }
    content = (folder / "step/dataset.safetensors").read_bytes()
    (folder / "step/receipt.json").write_text(
        json.dumps({"outputs": {"dataset.safetensors": {"sha256": hashlib.sha256(content).hexdigest()}}})
    )
    corpus = load_corpus(folder / "step")
    assert corpus.vocabulary == WORDS
    assert corpus.tokens["test"].tolist() == [3, 0, 1, 5, 1]
    prepare_text(PTB, {}, folder / "again", Runtime("cpu", source={"path": str(folder)}))
    assert (folder / "again/dataset.safetensors").read_bytes() == content
    (folder / "step/dataset.safetensors").write_bytes(content[:-1] + b"\1")
    with pytest.raises(UserError, match="corrupt"):
        load_corpus(folder / "step")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ptb.valid.txt", None, r"ptb\.valid\.txt cannot be read: No such file"),
        ("ptb.test.txt", b"\xff\xfe the", "no UTF-8 text"),
        ("ptb.train.txt", b"the cat <unk> N dog\n", r"has 6 different words, with <unk>.* must have dataset\.vocabulary = 7"),
        ("ptb.train.txt", b"the cat rare N dog saw\n", r"has 7 different words, without <unk>"),
        ("ptb.test.txt", b"the bird saw the zebra\n", r"ptb\.test\.txt: 2 words are not in the training text, such as bird, zebra"),
    ],
)
def test_wrong_ptb_files_are_refused_with_what_to_put_where(folder, name, text, message):
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_bytes(text)
    with pytest.raises(UserError, match=message) as raised:
        load_ptb(str(folder), vocabulary=7)
    assert f"into the folder dataset.path = {folder}: ptb.train.txt, ptb.valid.txt, ptb.test.txt" in str(raised.value)


def test_a_text_without_a_next_word_is_refused(folder):
    (folder / "ptb.valid.txt").write_text("\n")
    with pytest.raises(UserError, match="validation: the text has 1 words"):
        prepare_text(PTB, {}, folder / "step", Runtime("cpu", source={"path": str(folder)}))


def test_words_signs_and_numbers_of_pydoc():
    text = "heading\n*******\n\nuse x_1, 3.14 **kw... in\n|----+----|\n|  a | b |\n"
    words = ["heading", "use", "x_1", ",", "N", ".", "N", "*", "kw", ".", "in", "|", "a", "|", "b", "|"]
    assert pydoc.split_words(text) == words


def test_paragraphs_of_pydoc_are_split_and_counted_once():
    paragraphs = [f"Paragraph {'abcdefghijklmnopqrstuvwxyz'[i // 5]} {'vwxyz'[i % 5]}" for i in range(40)]
    splits = pydoc.split_paragraphs("\n\n".join([*paragraphs[:25], "-----", *paragraphs[20:]]))
    read = {split: " ".join(words).split(" <eos>") for split, words in splits.items()}
    found = {split: [part.strip() for part in parts if part] for split, parts in read.items()}
    lower = [paragraph.lower() for paragraph in paragraphs]
    assert found["validation"] == [lower[9], lower[29]]
    assert found["test"] == [lower[19], lower[39]]
    assert found["train"] == [*lower[:9], *lower[10:19], *lower[20:29], *lower[30:39]]


def test_pydoc_is_english_of_some_size_and_no_test_paragraph_is_trained_on():
    corpus = load_pydoc(vocabulary=2000)
    total = sum(map(len, corpus.tokens.values()))
    assert total > 40_000
    assert 0.8 < len(corpus.tokens["train"]) / total < 0.95
    assert len(corpus.vocabulary) == len(set(corpus.vocabulary)) == 2000
    counts = Counter(corpus.tokens["train"].tolist())
    frequencies = [counts[i] for i in range(1999)]
    assert frequencies == sorted(frequencies, reverse=True)
    assert frequencies[-1] > 0
    assert corpus.vocabulary[1999] == "<unk>"
    assert (corpus.tokens["test"] == 1999).mean() < 0.1
    splits = pydoc.split_paragraphs("\n\n".join(topics[name] for name in sorted(topics)))
    paragraphs = {split: set(" ".join(words).split(" <eos> ")) for split, words in splits.items()}
    assert not paragraphs["train"] & (paragraphs["validation"] | paragraphs["test"])
    assert {"the", "statement", "class"} <= set(corpus.vocabulary)


def test_a_vocabulary_larger_than_the_text_is_refused():
    with pytest.raises(UserError, match=r"dataset\.vocabulary = 90000: the training text has only \d+ words"):
        load_pydoc(vocabulary=90_000)


def read(group, name):
    return yaml.safe_load((ROOT / "config" / group / f"{name}.yaml").read_text())


def schema_of(target):
    """What the settings of a data set or a network (by `_target_`), or of the recipes for text, may be."""
    files = [yaml.safe_load(path.read_text()) for path in (ROOT / "workflow/schemas").glob("*.yaml")]
    definitions = next(content["$defs"] for content in files if "$defs" in content)
    schema = definitions["recipe_for_text"]
    if target:
        schema = {"properties": next(content[target] for content in files if target in content)}
    closed = {"required": list(schema["properties"]), "additionalProperties": False}
    return Draft202012Validator({**schema, **closed, "$defs": definitions})


MEMBERS = [
    *(("dataset", name) for name in ("ptb", "pydoc")),
    *(("network", name) for name in ("lstm_1500", "lstm_1500_one_layer", "lstm_small", "cnn_lstm")),
    *(("recipe", name) for name in ("ptb_lstm", "ptb_cnn_lstm", "pydoc_lstm")),
]


@pytest.mark.parametrize(("group", "name"), MEMBERS)
def test_the_schema_knows_each_setting_and_refuses_nonsense(group, name):
    settings = read(group, name)
    assert settings.pop("name") == name
    assert settings.pop("medium") == "text"
    validator = schema_of(settings.pop("_target_", None))
    assert not list(validator.iter_errors(settings))
    for setting in settings:
        for wrong in (-1, []):
            (error,) = validator.iter_errors({**settings, setting: wrong})
            assert error.schema["description"]
