"""A recipe's settings against overfitting, and which of them leave the dumped soft labels exactly the teacher's.

The store holds the teacher's logits on every view, a crop mirrored or not, of every image (`data.views`). It stays exact as
long as the student is shown nothing else:

- dropout, spatial_dropout, drop_block: act within the student, in training. The teacher runs in eval mode, without them, and sees
  the same views, so its logits are those in the store.
- cutout: a square can lie at each of the H W pixels, so each view becomes H W views: 162 x 1,024 of a CIFAR image. They are
  finite and can be drawn again, but hardly two epochs show the same one: a dump would be as long as the training.
- auto_augment: 25 pairs of operations, each done or not, in both directions, on top of each view; as with cutout, hardly two epochs
  show the same one.
- mixup: an image is mixed with any other, by a share that is a real number: no finite number of views.
"""

from typing import Any

# The settings that any recipe for images can have besides those in its file, with the values that mean what is done without.
OFF: dict[str, Any] = {
    "cutout": 0,
    "mixup": 0.0,
    "auto_augment": None,
    "dropout": 0.0,
    "spatial_dropout": 0.0,
    "drop_block": 0.0,
    "drop_block_size": 7,
}
# Those of them that change what a network is shown.
NOT_STORED = {
    "cutout": "cuts a square out of each view",
    "auto_augment": "changes each view by a random policy",
    "mixup": "mixes each image with another",
}


def why_online(recipe: dict[str, Any]) -> str:
    """Why a student of this recipe needs its teacher online; empty if dumped soft labels are exactly the teacher's."""
    recipe = {**OFF, **recipe}
    found = [f"recipe.{name} = {recipe[name]} {what}" for name, what in NOT_STORED.items() if recipe[name] != OFF[name]]
    return f"{' and '.join(found)}, and no store has the teacher's outputs on that" if found else ""
