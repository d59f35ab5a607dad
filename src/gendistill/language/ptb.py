"""Penn Treebank as Mikolov prepared it (Mikolov et al., Recurrent Neural Network Based Language Model, 2010)."""

from pathlib import Path

from gendistill.errors import UserError
from gendistill.language.corpus import END, UNKNOWN, Corpus, encode, most_frequent

FILES = {"train": "ptb.train.txt", "validation": "ptb.valid.txt", "test": "ptb.test.txt"}


def load_ptb(path: str, vocabulary: int) -> Corpus:
    """Read the three files; words are separated by spaces, and each line end becomes the word <eos>.

    Args:
        path: the folder of the three files.
        vocabulary: how many different words the training text must have, <unk> and <eos> among them.

    Raises:
        UserError: a file is missing or no text, the vocabulary has another size, or a word is not in the training text.
    """
    splits = {split: _read(Path(path), name) for split, name in FILES.items()}
    words = most_frequent(splits["train"])
    if len(words) != vocabulary or UNKNOWN not in words:
        unknown = "with" if UNKNOWN in words else "without"
        raise UserError(
            f"{path}/{FILES['train']}: has {len(words):,} different words, {unknown} {UNKNOWN}, <eos> counted; it must have "
            f"dataset.vocabulary = {vocabulary:,}, with {UNKNOWN}. {_what_to_put(path)}"
        )
    known = set(words)
    for split in ("validation", "test"):
        strange = sorted(set(splits[split]) - known)
        if strange:
            raise UserError(
                f"{path}/{FILES[split]}: {len(strange)} words are not in the training text, such as {', '.join(strange[:5])}. "
                f"{_what_to_put(path)}"
            )
    return encode(splits, words)


def _read(folder: Path, name: str) -> list[str]:
    try:
        text = (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"{folder / name} cannot be read: {reason}. {_what_to_put(str(folder))}") from error
    return [word for line in text.splitlines() for word in (*line.split(), END)]


def _what_to_put(path: str) -> str:
    return (
        f"Put the Penn Treebank in Mikolov's preparation into the folder dataset.path = {path}: {', '.join(FILES.values())}, "
        "with 10,000 words, rare ones replaced by <unk>. It is licensed (LDC99T42), so it is not downloaded."
    )
