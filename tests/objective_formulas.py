"""What the tests of objectives compute in NumPy float64, and how they take gradients by finite differences."""

import numpy as np
import torch


def draw(*shapes, seed=0):
    """Normal numbers of each shape."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape) for shape in shapes]


def outputs(batch=3, classes=5, seed=7):
    """Logits, labels and the teacher's logits."""
    z, t = draw((batch, classes), (batch, classes), seed=seed)
    return z, np.random.default_rng(seed).integers(classes, size=batch), t


def tensors(*arrays):
    return [torch.tensor(array) for array in arrays]


def log_softmax(z):
    return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))


def cross_entropy(z, y):
    return -np.mean(log_softmax(z)[np.arange(len(y)), y])


def soft_cross_entropy(z, t, temperature):
    """Without the factor T^2."""
    return -np.mean(np.sum(np.exp(log_softmax(t / temperature)) * log_softmax(z / temperature), axis=1))


def slopes(function, array, step=1e-6):
    """The gradient of a scalar function by an array, which it may read elsewhere, by central differences."""
    found = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + step
        above = function()
        array[place] = kept - step
        found[place] = (above - function()) / (2 * step)
        array[place] = kept
    return found
