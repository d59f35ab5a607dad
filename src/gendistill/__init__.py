"""gendistill: train neural networks in generations by knowledge distillation."""

__version__ = "0.1.0"
