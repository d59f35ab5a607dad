"""gendistill: train neural networks in generations by knowledge distillation."""
