"""An objective as the loop asks for it: one method, or a weighted sum of several, with what each needs to be told."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from gendistill.softlabels.extent import first_epochs
from gendistill.targets import arguments_of, instantiate, module_of

GROUPS = "groups"
Shape = tuple[int, ...]
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Method:
    """What is minimised, or one term of it.

    Attributes:
        name: of the term; empty for the only one.
        weight: of the term.
        loss: (logits, labels, teacher_logits, **what it needs) -> scalar, or scalars by name.
        needs: what else `loss` takes; see `gendistill.objectives`.
        taps: which layers the maps, or weights, are of.
        first_loss: minimised in the first stage; None if there is none.
        check: raises SettingError if the layers of student and teacher can't be matched.
        parts: makes weights of the method's own from the shapes of the layers of both.
    """

    loss: Callable[..., Tensor | Terms]
    needs: tuple[str, ...] = ()
    name: str = ""
    weight: float = 1.0
    taps: Any = GROUPS
    first_loss: Callable[..., Tensor | Terms] | None = None
    check: Callable[[list[Shape], list[Shape]], None] | None = None
    parts: Callable[[list[Shape], list[Shape]], nn.Module] | None = None


@dataclass(frozen=True)
class Objective:
    """What a network minimises: the sum of some methods.

    Attributes:
        methods: at least one.
        distil_until: share of the epochs after which plain cross-entropy with the labels takes its place.
        first_epochs: how many a first stage takes, before the others.
    """

    methods: tuple[Method, ...]
    distil_until: float = 1.0
    first_epochs: int = 0

    @property
    def needs(self) -> set[str]:
        """What any of the methods needs."""
        return {need for method in self.methods for need in method.needs}


def label_loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> Tensor:
    """Cross-entropy with the labels; no method is imported here, so that an edited one concerns its own users only."""
    return nn.functional.cross_entropy(logits, labels)


LABELS = Objective((Method(label_loss),))


def read_objective(settings: dict[str, Any], epochs: int) -> Objective:
    """The objective of the settings of its group, for a training of so many epochs."""
    terms = settings.get("terms")
    methods = [_method(own, key) for key, own in terms.items()] if terms else [_method(settings, "")]
    return Objective(tuple(methods), settings.get("distil_until", 1.0), first_epochs(settings, epochs))


def _method(settings: dict[str, Any], name: str) -> Method:
    module, arguments = module_of(settings), arguments_of(settings)

    def beside(function: str) -> Any:
        """A function beside the loss, with those settings that it names."""
        found = getattr(module, function, None)
        return found and _with(found, arguments)

    return Method(
        loss=_with(instantiate(settings).func, arguments),
        needs=tuple(settings.get("needs", ())),
        name=name,
        weight=settings.get("weight", 1.0),
        taps=settings.get("taps", GROUPS),
        first_loss=beside("first_loss") if settings.get("first_stage") else None,
        check=beside("check"),
        parts=beside("parts") if "parts" in settings.get("needs", ()) else None,
    )


def _with(function: Callable[..., Any], arguments: dict[str, Any]) -> Callable[..., Any]:
    return partial(function, **named_by(function, arguments))


def named_by(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values` that are arguments of a function."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if name in names}
