"""Weights that a network does not draw anew: layers that it shares with its teacher, and those that fine-tuning starts from."""

from torch import nn

from gendistill.errors import SettingError, UserError


def share_layers(network: nn.Module, teacher: nn.Module, layers: list[str]) -> None:
    """Copy the named layers (such as `stem`, `classifier`) from the teacher, and freeze them (BAN section 4.1).

    Raises:
        SettingError: a layer of the teacher has another shape.
    """
    for name in layers:
        try:
            network.get_submodule(name).load_state_dict(teacher.get_submodule(name).state_dict())
        except RuntimeError as error:
            raise SettingError(
                f"network.shares = {layers}: the layer {name} of the student has another shape than the teacher's ({error}). "
                "Set network.shares to [], or match the student to its teacher."
            ) from error
        network.get_submodule(name).requires_grad_(False)


def start_from(network: nn.Module, trained: nn.Module) -> None:
    """Start from the weights of a trained network, all layers but the classifier.

    Raises:
        UserError: the networks differ, or were fed images with another number of channels.
    """
    # A network with exits has several.
    weights = {name: weight for name, weight in trained.state_dict().items() if "classifier" not in name.split(".")}
    own = {name: weight for name, weight in network.state_dict().items() if "classifier" in name.split(".")}
    try:
        network.load_state_dict(weights | own)
    except RuntimeError as error:
        raise UserError(f"the network to fine-tune does not fit the data set that it is fine-tuned on: {error}") from error
