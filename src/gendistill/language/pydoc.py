"""The English text that CPython ships: the topics of its reference that `help()` shows."""

import re

from gendistill.errors import UserError
from gendistill.language.corpus import END, UNKNOWN, Corpus, encode, most_frequent

# Of 20 paragraphs in a row one is for validation and one for testing: 90, 5 and 5 %.
SPLIT_OF = {9: "validation", 19: "test"}
PARAGRAPH = re.compile(r"\n\s*\n")
RULED_LINE = re.compile(r"^[^a-z]*$", re.MULTILINE)
WORD = re.compile(r"[a-z_][a-z_0-9]*|\d+|([^\w\s])\1*")


def load_pydoc(vocabulary: int) -> Corpus:
    """Read `pydoc_data.topics`: about 70,000 words, other ones in each Python version.

    In lower case, numbers as N as in the Penn Treebank, repeated signs as one, and <eos> after each paragraph. The topics repeat
    each other; each paragraph counts once, so that no validation or test paragraph is in the training text.

    Args:
        vocabulary: how many words to keep: the most frequent in the training text, with <unk> for all others.

    Raises:
        UserError: this Python has no such text, or too few different words.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UserError(
            f"dataset pydoc: this Python comes without pydoc_data.topics ({error}). Install Python's whole standard library, "
            "or choose another data set."
        ) from error
    splits = split_paragraphs("\n\n".join(topics[name] for name in sorted(topics)))
    kept = [*most_frequent(splits["train"], vocabulary - 1), UNKNOWN]
    if len(kept) < vocabulary:
        raise UserError(f"dataset.vocabulary = {vocabulary}: the training text has only {len(kept)} words. Set it to that at most.")
    known = set(kept)
    return encode({split: [w if w in known else UNKNOWN for w in words] for split, words in splits.items()}, kept)


def split_paragraphs(text: str) -> dict[str, list[str]]:
    """The words of each split, one paragraph after the other, repeated paragraphs left out."""
    paragraphs = dict.fromkeys(tuple(words) for part in PARAGRAPH.split(text.lower()) if (words := split_words(part)))
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for i, words in enumerate(paragraphs):
        splits[SPLIT_OF.get(i % 20, "train")] += [*words, END]
    return splits


def split_words(text: str) -> list[str]:
    """The words and signs of a text in lower case; lines without letters (rules of tables and headings) are left out."""
    found = (match[0] for match in WORD.finditer(RULED_LINE.sub("", text)))
    return ["N" if word.isdigit() else word if word[0].isalnum() or word[0] == "_" else word[0] for word in found]
