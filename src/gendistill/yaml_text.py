"""Read YAML."""

from typing import Any

import yaml
from yaml import YAMLError as YAMLError

# libyaml reads ten times as fast as PyYAML's own code, which is there where PyYAML was built without it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str) -> Any:
    """What a YAML text says, as plain values.

    Raises:
        YAMLError: it is no YAML.
    """
    return yaml.load(text, _LOADER)
