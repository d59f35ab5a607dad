"""One text for one meaning: canonical JSON, and its hash."""

import hashlib
import json
from typing import Any


def whole_numbers(value: Any) -> Any:
    """`value` with 1.0 as 1, at any depth."""
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole_numbers(item) for item in value]
    return _whole_number(value)


# What is there most often, and stays as it is.
_PLAIN = frozenset((str, int, bool, type(None)))
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _whole_number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def canonical(value: Any) -> Any:
    """`value` with texts as keys, tuples as lists, and 1.0 as 1."""
    if isinstance(value, dict):
        return {str(key): item if type(item) in _PLAIN else canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _PLAIN else canonical(item) for item in value]
    return _whole_number(value)


def canonical_json(value: Any) -> str:
    """`value` as JSON: the same text for any order of keys and for 1 and 1.0."""
    return _ENCODER.encode(canonical(value))


def digest(value: Any, length: int = 10) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]
