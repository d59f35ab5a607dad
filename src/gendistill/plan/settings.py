"""Read the settings: composed by Hydra once per state of `config/`, then from a small cache."""

import copy
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.cache import read_cache, write_cache
from gendistill.plan.canonical import whole_numbers
from gendistill.plan.paths import CACHE, CONFIG
from gendistill.yaml_text import YAMLError, read_yaml

GROUPS = ("dataset", "network", "objective", "recipe")
Settings = dict[str, Any]
# What can name a file; the others count as named.
WORD = re.compile(r"[\w+-]+")


def experiment_names() -> list[str]:
    """The experiments that `config/experiment/` defines."""
    return sorted(path.stem for path in (CONFIG / "experiment").glob("*.yaml"))


def paper_names() -> list[str]:
    """The published tables that `config/paper/` defines, table 10 after table 9."""
    names = [path.stem for path in (CONFIG / "paper").glob("*.yaml")]
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def group_of(name: str) -> str:
    """The folder of `config/` that defines an experiment or a published table."""
    return "paper" if (CONFIG / "paper" / f"{name}.yaml").is_file() else "experiment"


def load_group(group: str, name: Any, where: str = "") -> Settings:
    """The settings of `config/<group>/<name>.yaml`, which the caller may change.

    Raises:
        SettingError: there is no such file.
    """
    return copy.deepcopy(member(group, name, where))


def member(group: str, name: Any, where: str = "") -> Settings:
    """The settings of `config/<group>/<name>.yaml`, to look at: all callers get the same.

    Raises:
        SettingError: there is no such file.
    """
    # Asked for thousands of times: a text, since making a Path takes longer than looking at the file.
    path = f"{CONFIG}/{group}/{name}.yaml"
    try:
        changed = os.stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        allowed = ", ".join(sorted(p.stem for p in (CONFIG / group).glob("*.yaml")))
        raise SettingError(
            f"{group} = {name}: there is no such {group}. Allowed: {allowed}. Set in {where or 'the settings'}; "
            f"a new one is a file config/{group}/{name}.yaml."
        ) from None
    return _parsed(path, changed)


@functools.cache
def _parsed(path: str, changed: int) -> Settings:
    """The content of a YAML file; a plan of many networks asks for the same one thousands of times."""
    return whole_numbers(read_yaml(Path(path).read_text()))


def read_superclasses(path: Any, where: str) -> dict[str, list[str]]:
    """The names of the classes in each superclass, from a YAML file.

    Raises:
        SettingError: there is no such file, or it holds something else.
    """
    file = Path(path) if Path(path).is_absolute() else CONFIG.parent / path
    if not file.is_file():
        raise SettingError(
            f"dataset.superclasses = {path}: there is no such file. It must name a YAML file that maps each superclass to a "
            f"list of its classes, such as config/superclasses/cifar100.yaml. Set in {where}."
        )
    try:
        content = _parsed(str(file), file.stat().st_mtime_ns)
    except YAMLError as error:
        raise SettingError(f"dataset.superclasses = {path}: {' '.join(str(error).split())}. Set in {where}.") from error
    if not isinstance(content, dict) or not all(isinstance(members, list) for members in content.values()):
        raise SettingError(f"dataset.superclasses = {path}: must map each superclass to a list of its classes. Set in {where}.")
    return {str(name): [str(member) for member in members] for name, members in content.items()}


def compose_experiment(name: str, overrides: tuple[str, ...] = ()) -> Settings:
    """The composed settings of one experiment or published table; see `compose_experiments`."""
    return next(compose_experiments([name], overrides))


def compose_experiments(names: list[str], overrides: tuple[str, ...] = ()) -> Iterator[Settings]:
    """The composed settings of experiments or published tables, one after the other, with `overrides` in Hydra's syntax.

    Raises:
        SettingError: no such experiment, or Hydra cannot compose it.
    """
    known = {*experiment_names(), *paper_names()}
    for override in overrides:
        group, _, chosen = override.lstrip("+").partition("=")
        if group in ("experiment", "paper"):
            raise SettingError(
                f"{override}: an experiment or a published table is chosen by --config experiments=[{chosen}] or paper={chosen}, "
                "not by an override. Set in the command line."
            )
    state_of = _reader_of_states(overrides)
    for name in names:
        if name not in known:
            raise SettingError(
                f"experiment = {name}: there is no such experiment. Allowed: {', '.join(experiment_names())}. "
                f"Set by: snakemake --config experiments=[NAME]; a new one is a file config/experiment/{name}.yaml."
            )
        cache = CACHE / f"settings-{state_of(name)}.json"
        settings = read_cache(cache)
        if settings is None:
            settings = _compose(name, overrides)
            write_cache(cache, settings)
        yield settings


def _reader_of_states(overrides: tuple[str, ...]) -> Callable[[str], str]:
    """A function that gives a hash of all that the composed settings of an experiment depend on. `config/` is read once.

    What Hydra composes is named in a text that it has read: so these are the overrides, the experiment's own file, `config.yaml`,
    and each file whose name is a word of one of these.
    """
    files: dict[str, bytes] = {}
    for path in sorted(CONFIG.rglob("*.yaml")):
        content = f"{path.relative_to(CONFIG)}\0".encode() + path.read_bytes() + b"\0"
        files[path.stem] = files.get(path.stem, b"") + content

    @functools.cache
    def named_in(content: bytes) -> set[str]:
        # An interpolation can name any.
        return files.keys() & (files if b"${" in content else WORD.findall(content.decode(errors="replace")))

    own = json.dumps(overrides).encode()
    always = {"config", *named_in(own), *(name for name in files if not WORD.fullmatch(name))}

    def state(name: str) -> str:
        found, waiting = set(), {name} | always
        while waiting:
            found |= waiting
            waiting = set().union(*(named_in(files[each]) for each in waiting)) - found
        return hashlib.sha256(b"".join([name.encode(), own, *(files[each] for each in sorted(found))])).hexdigest()[:16]

    return state


def lenient(override: str) -> str:
    """An override that may also add a key: whether the key is allowed is checked later, with a better message than Hydra's."""
    key = override.partition("=")[0]
    plain = (
        key and "=" in override and key[0] not in "+~" and "@" not in key and key not in (*GROUPS, "experiment", "paper", "scale")
    )
    return f"++{override}" if plain else override


def _compose(name: str, overrides: tuple[str, ...]) -> Settings:
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # Hydra takes the setting `claims` for the folder of that name, and would choose one of its files.
    claims = [override for override in overrides if override.lstrip("+").startswith("claims=")]
    others = [lenient(override) for override in overrides if override not in claims]
    try:
        with initialize_config_dir(str(CONFIG), version_base="1.3"):
            composed = compose("config", [f"{group_of(name)}={name}", *others])
        settings = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        for parsed in OverridesParser.create().parse_overrides(claims):
            settings["claims"] = parsed.value()
        return whole_numbers(settings)
    except (HydraException, OmegaConfBaseException, ValueError, YAMLError) as error:
        where = f"the command line ({' '.join(overrides)}) or " if overrides else ""
        cause = f" {error.__cause__}" if error.__cause__ else ""
        text = " ".join(f"{error}{cause}".split()).partition(" Config search path:")[0]
        file = f"config/{group_of(name)}/{name}.yaml"
        raise SettingError(f"experiment {name} cannot be composed: {text}. Set in {where}{file}.") from error


def resolve_group(group: str, base: Settings, change: Any, where: str) -> Settings:
    """`base` (one member of a group) after the change that a lineage or a patriarch asks for.

    `change` is None, the name of another member, or a mapping; a mapping that has a `name` starts from that member.
    """
    if change is None:
        return base
    if isinstance(change, str):
        return load_group(group, change, where)
    if not isinstance(change, dict):
        raise SettingError(f"{group} = {change}: must be a name or a mapping. Set in {where}.")
    start = load_group(group, change["name"], where) if change.get("name", base["name"]) != base["name"] else base
    return {**start, **change}


def pick(value: Any, generation: int, generations: int, what: str, where: str) -> Any:
    """The value for one generation: of a list its entry (one per generation, from 1), of anything else itself."""
    if not isinstance(value, list):
        return value
    if len(value) != generations:
        raise SettingError(
            f"{what} = {value}: a list must have one value for each of the {generations} generations, this one has "
            f"{len(value)}. Set in {where}."
        )
    if generation == 0:
        raise SettingError(
            f"{what} = {value}: a list has one value per generation, from generation 1; the patriarch (generation 0) "
            f"needs its own. Set patriarch.{what} in {where}."
        )
    return value[generation - 1]


def _change(key: str, value: Any, usual: Any) -> str:
    """A setting that is not as usual; of the networks or objectives that a member of a group is made of, their names."""
    if key == "networks":
        return "-".join(network["name"] for network in value)
    if key == "terms":
        return "-".join(value)
    if key == "alone":
        return value["name"] if value["name"] != usual["name"] else ""
    return "" if key in ("needs", "takes") else f"{key.strip('_')}{value}"


def group_label(group: str, settings: Settings) -> str:
    """A readable name of `settings`: the group member's name and what differs from it."""
    original = member(group, settings["name"])
    changes = [_change(key, value, original.get(key)) for key, value in sorted(settings.items()) if original.get(key) != value]
    text = "-".join([settings["name"], *filter(None, changes)])
    return "".join(c if c.isalnum() or c in "._-" else "" for c in text)[:80]
