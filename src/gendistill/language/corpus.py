"""A text in memory, and the one prepared file that every later step reads."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gendistill.errors import UserError
from gendistill.files import verified, write_bytes

FILE = "dataset.safetensors"
SPLITS = ("train", "validation", "test")
UNKNOWN, END = "<unk>", "<eos>"


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        tokens: for each of the splits `train`, `validation` and `test`: int32, shape (N,), positions in the vocabulary.
        vocabulary: the words, the most frequent in the training text first.
    """

    tokens: dict[str, np.ndarray]
    vocabulary: list[str]


def most_frequent(words: list[str], count: int | None = None) -> list[str]:
    """The `count` most frequent different words (all, if None), the most frequent first; ties in alphabetical order."""
    ordered = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ordered[:count]]


def encode(splits: dict[str, list[str]], vocabulary: list[str]) -> Corpus:
    """A corpus of texts whose words are all in the vocabulary.

    Raises:
        KeyError: a word is not.
    """
    position = {word: i for i, word in enumerate(vocabulary)}
    return Corpus({split: np.array([position[word] for word in words], np.int32) for split, words in splits.items()}, vocabulary)


def check_corpus(corpus: Corpus) -> None:
    """Check that a corpus can be trained on.

    Raises:
        UserError: a split has fewer than two tokens, so there is no next word to predict.
    """
    for split in SPLITS:
        if len(corpus.tokens[split]) < 2:
            raise UserError(
                f"{split}: the text has {len(corpus.tokens[split])} words; it needs two at least, to predict the next one."
            )


def save_corpus(corpus: Corpus, folder: Path) -> None:
    """Write a corpus as one safetensors file, with the vocabulary as metadata."""
    from safetensors.numpy import save

    write_bytes(folder / FILE, save(corpus.tokens, metadata={"vocabulary": json.dumps(corpus.vocabulary)}))


def load_corpus(folder: Path) -> Corpus:
    """Read the corpus that `save_corpus` wrote.

    Raises:
        UserError: the file is missing or corrupt.
    """
    from safetensors import safe_open

    with safe_open(verified(folder / FILE), framework="numpy") as file:
        return Corpus({split: file.get_tensor(split) for split in SPLITS}, json.loads(file.metadata()["vocabulary"]))
