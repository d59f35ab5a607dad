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
    try:
        return yaml.load(text, _LOADER)
    except UnicodeEncodeError as error:
        # Of a byte on the command line that is no UTF-8; libyaml has no message for it.
        raise YAMLError(f"it is no UTF-8: {error.object!r}") from error
