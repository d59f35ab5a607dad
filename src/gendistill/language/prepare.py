"""The text step: read a text once, check it, and write it as one array file."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.language.corpus import UNKNOWN, check_corpus, save_corpus
from gendistill.targets import instantiate

if TYPE_CHECKING:
    from gendistill.runtime import Runtime

# The content identifies a user's files; the medium tells texts from images.
GENERIC = ("content", "medium")


def prepare_text(settings: dict[str, Any], inputs: dict[str, Any], folder: Path, runtime: "Runtime") -> dict[str, Any]:
    """Load the text that `settings` name and write `dataset.safetensors`.

    Returns:
        The number of tokens and the share of unknown ones of each split, the size of the vocabulary, and the start of the SHA-256
        of its words.

    Raises:
        UserError: the text cannot be had, or cannot be trained on.
    """
    own = {key: value for key, value in settings.items() if key not in GENERIC}
    corpus = instantiate({**own, **runtime.source})()
    check_corpus(corpus)
    save_corpus(corpus, folder)
    metrics: dict[str, Any] = {f"{split}_tokens": len(tokens) for split, tokens in corpus.tokens.items()}
    if UNKNOWN in corpus.vocabulary:
        unknown = corpus.vocabulary.index(UNKNOWN)
        metrics |= {f"{split}_unknown_pct": 100 * float((t == unknown).mean()) for split, t in corpus.tokens.items()}
    words = "\n".join(corpus.vocabulary)
    metrics |= {"vocabulary": len(corpus.vocabulary), "vocabulary_sha256": hashlib.sha256(words.encode()).hexdigest()[:16]}
    runtime.log(f"{settings['name']}: {metrics}")
    return metrics
