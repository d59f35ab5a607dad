"""Which steps of two ancestries correspond: those of one kind and generation."""

from gendistill.provenance.origins import Origin, generation_of

NETWORKS = ("patriarch", "generation")
DATA = ("dataset", "text")
# A step of the one ancestry and one of the other, as `kind/id`; None where there is none.
Pair = tuple[str | None, str | None]


def pair_up(one: str, other: str, first: dict[str, Origin], second: dict[str, Origin]) -> list[Pair]:
    """Each step of an ancestry with the one of another that has its place there; None where there is none.

    Args:
        one: the step that the ancestry `first` is of.
        other: the step that `second` is of. If both are networks, or of one kind, they correspond, of whatever generations.
        first: steps by name, in order.
        second: steps by name, in order.
    """
    found = {one: other} if _family(first[one]) == _family(second[other]) else {}
    left = {name: _place(origin, second) for name, origin in second.items() if name not in found.values()}
    # The very same step first, then one of the same name but for the hash of its spec, then any in the same place.
    for key in (lambda name: name, lambda name: name.rpartition("-")[0], lambda name: ""):
        for name, origin in first.items():
            place = _place(origin, first)
            match = next((n for n, p in left.items() if p == place and key(n) == key(name)), None)
            if match and name not in found:
                found[name] = match
                del left[match]
    return [*((name, found.get(name)) for name in first), *((None, name) for name in left)]


def _place(origin: Origin, origins: dict[str, Origin]) -> tuple[str, int]:
    return _family(origin), generation_of(origin, origins)


def _family(origin: Origin) -> str:
    return "network" if origin.kind in NETWORKS else "data" if origin.kind in DATA else origin.kind
