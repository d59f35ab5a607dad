"""Import torchvision beside a PyTorch of another build."""

import sys
from types import ModuleType


def import_torchvision() -> ModuleType:
    """torchvision, with its data sets.

    A CUDA build of torchvision cannot load its compiled operators beside a CPU build of PyTorch, and then fails to import
    because it registers shape rules for two of them. Data sets and transforms need neither: declaring the two schemas lets
    it import. With builds that match, the first import succeeds and nothing else happens.
    """
    try:
        import torchvision.datasets
    except RuntimeError:
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        # The declarations last as long as the object does.
        import_torchvision.library = library
        import torchvision.datasets
    return torchvision
