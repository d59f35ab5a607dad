"""An objective fitted to its two networks: the layers that it looks at are found, its own weights are made, shapes are checked."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.networks.joint import Joint
from gendistill.networks.taps import FEATURES, forward_with_taps, layer_at, tap_paths
from gendistill.networks.trained import Description
from gendistill.training.objective import LABELS, Method, Objective, Terms, named_by
from gendistill.training.teacher import gradient_by_input

# What a method may need of the student, and of the teacher.
MAPS, FEATURES_OF, WEIGHTS = ("maps", "teacher_maps"), ("features", "teacher_features"), ("weights", "teacher_weights")
# Images that everything is tried on once, before training.
TRIED = 2


@dataclass(frozen=True)
class FittedMethod:
    """A method, and what it is told of.

    Attributes:
        method: as the settings say.
        paths: of the tapped layers of student and teacher.
        weights: of these layers, where the method needs them.
        parts: the method's own weights, if it has some.
    """

    method: Method
    paths: tuple[list[str], list[str]] = ((), ())
    weights: tuple[list[Tensor], list[Tensor]] = ((), ())
    parts: nn.Module | None = None

    def terms(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, given: dict[str, Any], first: bool
    ) -> dict[str, Tensor]:
        """The scalars that add up to the method's share of the loss, by name.

        Args:
            logits: float32 (B, K).
            labels: int64 (B,).
            teacher_logits: float32 (B, K), or None.
            given: what any method may need, by name; `seen`: what the layers of student and teacher put out, by path.
            first: whether this is the first stage, in which only methods that have one count.
        """
        method = self.method
        loss = method.first_loss if first else method.loss
        if loss is None:
            return {}
        needed = self._needed(given)
        found = loss(logits, labels, teacher_logits, **(named_by(loss, needed) if first else needed))
        found = {"": found} if isinstance(found, Tensor) else found
        if method.name:
            return {method.name: method.weight * sum(found.values())}
        return {name or "loss": value for name, value in found.items()}

    def _needed(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the method needs, by name; what comes from layers as float32."""
        known = {**given, "parts": self.parts}
        for of, seen in enumerate(given["seen"]):
            known[WEIGHTS[of]] = [weight.float() for weight in self.weights[of]]
            if MAPS[of] in self.method.needs:
                known[MAPS[of]] = [seen[path].float() for path in self.paths[of]]
            if FEATURES_OF[of] in self.method.needs:
                known[FEATURES_OF[of]] = seen[FEATURES].float()
        return {name: known[name] for name in self.method.needs}


@dataclass(frozen=True)
class Fitted:
    """An objective fitted to its networks.

    Attributes:
        objective: as the settings say.
        methods: its methods.
        terms: the names of what its loss is made of, in the first stage and after it.
    """

    objective: Objective
    methods: tuple[FittedMethod, ...]
    terms: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def loss(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, given: dict[str, Any], first: bool = False
    ) -> Terms:
        """The terms of all methods, which add up to the loss; see `FittedMethod.terms`."""
        return {
            name: value for each in self.methods for name, value in each.terms(logits, labels, teacher_logits, given, first).items()
        }

    def paths(self, of: int) -> list[str]:
        """The layers of the student (0) or of the teacher (1) that have to be listened to."""
        found = [path for each in self.methods if MAPS[of] in each.method.needs for path in each.paths[of]]
        return found + [FEATURES] * (FEATURES_OF[of] in self.objective.needs)

    def parts(self) -> nn.ModuleList:
        """The methods' own weights."""
        return nn.ModuleList(each.parts for each in self.methods if each.parts is not None)


def fit_objective(
    objective: Objective, network: nn.Module, teacher: nn.Module | None, description: Description, device: torch.device, key: int
) -> Fitted:
    """Find the layers, make the methods' own weights, and try all of it once, before any training.

    Args:
        objective: as the settings say.
        network: that learns.
        teacher: that runs beside it, if its layers or gradients are asked for.
        description: of the network.
        device: of both.
        key: of what the methods' own weights are drawn from.

    Raises:
        SettingError: a layer is not there, or shapes of student and teacher do not match.
    """
    fitted = Fitted(objective, tuple(_with_paths(method, network, teacher) for method in objective.methods))
    images = torch.zeros(TRIED, *description.shape, device=device)
    labels = torch.zeros(TRIED, dtype=torch.int64, device=device)
    # What a joint network gives its objective it gives in training only, where batch norm counts what it sees.
    buffers = [buffer.clone() for buffer in network.buffers()] if isinstance(network, Joint) else []
    network.train(bool(buffers))
    logits, given = look(network, fitted, images, key)
    teacher_seen: dict[str, Tensor] = {}
    if teacher is not None:
        _, teacher_seen = forward_with_taps(teacher, images, fitted.paths(1))
        teacher_seen = {path: found.detach() for path, found in teacher_seen.items()}
        given["teacher_input_gradient"] = gradient_by_input(teacher, images, labels)
    given |= {"seen": (given["seen"], teacher_seen), "images": labels, "epoch": 0, "key": key}
    if "parts" in objective.needs:
        torch.manual_seed(key % 2**63)
    fitted = replace(fitted, methods=tuple(_with_parts(each, given["seen"], device) for each in fitted.methods))
    own = fitted.parts().eval()
    terms = tuple(
        tuple(fitted.loss(logits.float(), labels, torch.zeros_like(logits, dtype=torch.float32), given, first))
        for first in (True, False)
    )
    own.train()
    network.train()
    for buffer, before in zip(network.buffers(), buffers, strict=False):
        buffer.copy_(before)
    return replace(fitted, terms=terms)


def look(network: nn.Module, fitted: Fitted, images: Tensor, key: int) -> tuple[Tensor, dict[str, Any]]:
    """Logits (B, K) of normalised images, and what else the methods need of the network, from one pass.

    Args:
        network: the student.
        fitted: what is asked of it.
        images: float32 (B, C, H, W).
        key: of 64 bits, for what a joint network draws.
    """
    if "input" in fitted.objective.needs:
        images = images.detach().requires_grad_()
    if isinstance(network, Joint):
        outputs = network.outputs(images, key)
        return outputs.pop("logits"), {"seen": {}, "input": images, **outputs}
    paths = fitted.paths(0)
    logits, seen = forward_with_taps(network, images, paths) if paths else (network(images), {})
    return logits, {"seen": seen, "input": images}


def _with_paths(method: Method, network: nn.Module, teacher: nn.Module | None) -> FittedMethod:
    wanted = [{MAPS[of], WEIGHTS[of]} & set(method.needs) for of in (0, 1)]
    networks = (network, teacher)
    paths = tuple(tap_paths(networks[of], method.taps, ("student", "teacher")[of]) if wanted[of] else [] for of in (0, 1))
    weights = tuple(
        [layer_at(networks[of], path).weight for path in paths[of]] if WEIGHTS[of] in method.needs else [] for of in (0, 1)
    )
    return FittedMethod(method, paths, weights)


def _with_parts(fitted: FittedMethod, seen: tuple[dict[str, Tensor], dict[str, Tensor]], device: torch.device) -> FittedMethod:
    """With the method's own weights, once it has been found that student and teacher match."""
    if fitted.weights[0]:
        shapes = [[tuple(weight.shape) for weight in weights] for weights in fitted.weights]
    else:
        shapes = [[tuple(seen[of][path].shape[1:]) for path in paths if path in seen[of]] for of, paths in enumerate(fitted.paths)]
    if fitted.method.check:
        fitted.method.check(*shapes)
    return replace(fitted, parts=fitted.method.parts(*shapes).to(device)) if fitted.method.parts else fitted


BY_LABELS = Fitted(LABELS, (FittedMethod(LABELS.methods[0]),), ((), ("loss",)))
