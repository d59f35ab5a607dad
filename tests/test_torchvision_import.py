"""Importing torchvision, beside a PyTorch that it was built for or another."""

from gendistill.data.torchvision_import import import_torchvision
from tests.small_data import SOURCE, run_python


def test_torchvision_can_be_imported_again_and_again():
    first = import_torchvision()
    assert first.datasets.CIFAR10.__name__ == "CIFAR10"
    assert import_torchvision() is first


def test_beside_a_matching_torchvision_nothing_is_declared(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("MARK = 'fake'")
    (tmp_path / "torchvision/datasets.py").write_text("")
    code = """
import sys
from gendistill.data.superclasses import apply_superclasses
from gendistill.data.torchvision_import import import_torchvision
module = import_torchvision()
print(module.MARK, module is sys.modules["torchvision"], "torch" in sys.modules)
import torch
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
"""
    assert run_python(code, tmp_path, SOURCE).splitlines() == ["fake True False", "False False"]
